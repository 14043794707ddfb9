# SPDX-License-Identifier: GPL-3.0-or-later
"""Small copies and perceptual hashes, also of files that nobody painted."""

import io
import struct
import zlib

import imagehash
import pytest
from archiving import picture
from PIL import Image

from ledger.archive.picture import PREVIEW_PIXELS, look_at

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


def distance(one, other):
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()
