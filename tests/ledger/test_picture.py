# SPDX-License-Identifier: GPL-3.0-or-later
"""Small copies and perceptual hashes, also of files that nobody painted."""

import io
import struct
import zlib

import imagehash
import numpy as np
import pytest
from archiving import picture
from PIL import Image

from ledger.archive.picture import PREVIEW_PIXELS, look_at
from ledger.archive.pixels import pixel_digest
from ledger.similar.hashes import Hash
from sealtrail.content import content_of

MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}


@pytest.mark.parametrize("form", MEDIA_TYPES)
def test_the_hash_is_the_one_that_others_print(form):
    """So a fingerprint from here can be compared with anybody's pHash."""
    data = picture(700, 500, seed=7, form=form)

    found = look_at([data[:1000], data[1000:]], MEDIA_TYPES[form])

    assert found.fingerprint.hex() == str(imagehash.phash(Image.open(io.BytesIO(data))))
    assert (found.width, found.height) == (700, 500)
    with Image.open(io.BytesIO(found.preview)) as small:
        assert small.format == "JPEG"
        assert max(small.size) == PREVIEW_PIXELS


def test_a_picture_that_was_scaled_and_recompressed_is_near():
    """That is what the hash is for; another picture is far."""
    data = picture(640, 480, seed=3)
    small = io.BytesIO()
    Image.open(io.BytesIO(data)).resize((200, 150)).save(small, "JPEG", quality=50)

    first = look_at([data], "image/png").fingerprint
    near = look_at([small.getvalue()], "image/jpeg").fingerprint
    far = look_at([picture(640, 480, seed=4)], "image/png").fingerprint

    assert distance(first, near) <= 6 < distance(first, far)


def test_the_copy_says_nothing_of_where_the_picture_was_taken():
    """Metadata stays in the original; the copy is turned upright by it."""
    exif = Image.Exif()
    exif[0x0112] = 6  # Turned by a quarter.
    exif[0x010E] = "the house of witness 7"
    data = io.BytesIO()
    Image.open(io.BytesIO(picture(300, 200))).convert("RGB").save(data, "JPEG", exif=exif)
    assert b"witness 7" in data.getvalue()

    found = look_at([data.getvalue()], "image/jpeg")

    with Image.open(io.BytesIO(found.preview)) as small:
        assert small.size == (171, 256)
        assert not small.getexif()
    assert b"witness 7" not in found.preview


def bomb():
    """A PNG of a few hundred bytes that says it has 60,000 x 60,000 pixels."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"", "image/png"),
        (b"no picture at all", "image/png"),
        (bomb(), "image/png"),
        (picture()[:300], "image/png"),
        (picture(form="JPEG"), "image/png"),
        (picture(form="TIFF"), "image/tiff"),
        (b"%PDF-1.7", "application/pdf"),
    ],
    ids=["empty", "text", "bomb", "cut", "another format", "a format we leave", "no picture"],
)
def test_what_cannot_be_decoded_has_no_preview(data, media_type):
    """It is archived all the same, and harms nobody on the way."""
    assert look_at([data], media_type) is None


@pytest.mark.parametrize("level", [0, 1, 50, 127, 128, 255])
def test_an_even_area_has_no_hash_of_its_rounding(level):
    """What is left of a sum is no frequency: the hash is the one that others print, and flat."""
    image = Image.new("L", (64, 48), level)

    found = Hash("phash", look_at([saved(image)], "image/png").fingerprint)

    assert found.data.hex() == str(imagehash.phash(image))
    assert found.flat


@pytest.mark.parametrize("clear", [None, 257])
def test_sixteen_bits_of_grey_are_looked_at_by_their_upper_eight(clear):
    """A scan, or a depth map; cut off at 255, as the library does, nearly all of it is white."""
    grey = Image.open(io.BytesIO(picture(320, 240, seed=8))).convert("L")
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    facts = {} if clear is None else {"transparency": clear}

    plain, deep = (look_at([data], "image/png") for data in (saved(grey), saved(wide, **facts)))

    assert deep.fingerprint == plain.fingerprint
    assert deep.image_code == plain.image_code
    assert deep.preview == plain.preview


def test_sixteen_bits_of_grey_have_the_pixels_of_their_upper_eight():
    """Two scans of one size do not pass for the same picture, nor one for another than itself."""
    grey = Image.open(io.BytesIO(picture(320, 240, seed=8))).convert("L")
    other = Image.open(io.BytesIO(picture(320, 240, seed=9))).convert("L")
    wide, wide_other = (
        Image.fromarray(np.asarray(one).astype(np.uint16) * 257) for one in (grey, other)
    )

    digest = pixel_digest(saved(wide), "image/png")

    assert digest == pixel_digest(saved(grey), "image/png")
    assert digest != pixel_digest(saved(wide_other), "image/png")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_client_and_the_ledger_have_one_pixel_digest(mode):
    """Else what a client records of its own picture is never found by the file."""
    plain = Image.open(io.BytesIO(picture(96, 64, seed=8))).convert("L")
    deep = Image.fromarray(np.asarray(plain).astype(np.uint16) * 200)
    image = deep if mode == deep.mode else plain.convert(mode)

    sent = content_of(image)

    assert sent.pixel_sha256 == f"sha256:{pixel_digest(sent.data, sent.mime).hex()}"


def saved(image, **facts):
    data = io.BytesIO()
    image.save(data, "PNG", **facts)
    return data.getvalue()


def distance(one, other):
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()
