# SPDX-License-Identifier: GPL-3.0-or-later
"""A small copy and a perceptual hash of a picture, made where a hostile file can do no harm.

    python -m ledger.archive.picture        picture on stdin; JSON line and JPEG on stdout

Decoders of pictures are where attackers look for mistakes, so one decodes in a process of its own:
no keys, no connections, no environment, a bounded share of memory and of time. The copy is at most
256 pixels wide and high and holds none of the file's metadata. The hash is the 64-bit pHash that
`imagehash` prints: 32 x 32 grey, discrete cosine transform, which of the lowest 8 x 8 frequencies
exceed their median (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions",
2010, §3.2.1). The other is the ISCC Image-Code of 256 bits (ISO 24138), which tells pictures apart
that the short one confuses: upright, on white where it is transparent, without an even border,
32 x 32 grey.
"""

import io
import json
import logging
import math
import resource
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

log = logging.getLogger("sealtrail.archive")

#: A larger file is archived and gets no preview.
INPUT_MAX: Final = 64 * 2**20

#: So are other formats: each further decoder is one more that may be wrong.
MEDIA_TYPES: Final = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
}

PREVIEW_PIXELS: Final = 256
PIXELS_MAX: Final = 64_000_000
_REDUCED: Final = 16_000_000
_SAME: Final = 24  #: Levels of 256 by which a border's pixels may differ.
_REDUCIBLE: Final = ("L", "LA", "RGB", "RGBA", "CMYK")
_MEMORY: Final = 2**30
_CPU_S: Final = 20
_WALL_S: Final = 60
_OUTPUT_MAX: Final = 2**20
_SIDE: Final = 32
_LOW: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What routine work sees of a picture."""

    preview: bytes  #: JPEG, at most 256 x 256.
    fingerprint: bytes  #: pHash, 8 bytes.
    image_code: bytes  #: ISCC Image-Code, 32 bytes.
    width: int
    height: int


def look_at(content: Iterable[bytes], media_type: str) -> Picture | None:
    """Return a picture's small copy and hash; None for what is none, or none that we decode."""
    format_ = MEDIA_TYPES.get(media_type)
    data = bytearray()
    if format_ is None:
        return None
    for piece in content:
        data += piece
        if len(data) > INPUT_MAX:
            return None
    try:
        return _parsed(run_alone("ledger.archive.picture", format_, data))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        # Archived all the same: the bytes are evidence, whatever they are.
        log.warning("an archived picture has no preview: %s", type(error).__name__)
        return None


def run_alone(module: str, format_: str, data: bytes | bytearray) -> bytes:
    """Run a decoder of ours in a process without environment or connections; what it printed.

    The module confines itself before it looks at `data`. Raises OSError, SubprocessError.
    """
    done = subprocess.run(
        [sys.executable, "-I", "-m", module, format_],
        input=data,
        capture_output=True,
        check=True,
        timeout=_WALL_S,
        env={},
        close_fds=True,
    )
    return done.stdout


def _parsed(output: bytes) -> Picture:
    """Read what the other process said, believing nothing: a decoder may have been taken over."""
    line, _, preview = output.partition(b"\n")
    if len(output) > _OUTPUT_MAX or not preview.startswith(b"\xff\xd8"):
        raise ValueError("not a preview")
    said = json.loads(line)
    width, height, fingerprint = said["width"], said["height"], bytes.fromhex(said["phash"])
    code = bytes.fromhex(said["iscc"])
    if (len(fingerprint), len(code)) != (8, 32) or not (
        isinstance(width, int) and isinstance(height, int)
    ):
        raise ValueError("not a preview")
    return Picture(
        preview=preview, fingerprint=fingerprint, image_code=code, width=width, height=height
    )


# What follows runs in the other process.


def confine() -> None:
    """Take from this process what a decoder does not need."""
    for limit, value in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_CPU, _CPU_S),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))


def library() -> Any:
    """Return the library that decodes, with bounds of ours."""
    from PIL import Image, PngImagePlugin  # noqa: PLC0415 - in this process only

    Image.preinit()
    Image.MAX_IMAGE_PIXELS = PIXELS_MAX // 2  # It refuses twice as many.
    # A workflow or a colour profile of more than 1 MiB hides no picture: memory is bounded anyway.
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = INPUT_MAX
    return Image


def eight_bits(image: Any, pil: Any) -> Any:
    """Return a picture of 16 bits of grey with the upper 8 of them, as the library does in colour.

    Of grey it cuts off what exceeds 255, so that nearly every such picture would be white.
    """
    if not image.mode.startswith("I;16"):
        return image
    wide = image.convert("I")
    grey = wide.point([value >> 8 for value in range(2**16)], "L")
    clear = image.info.get("transparency")
    if not isinstance(clear, int):
        return grey
    return pil.merge("LA", (grey, wide.point([255 * (v != clear) for v in range(2**16)], "L")))


def _main(format_: str) -> None:
    import iscc_lib  # noqa: PLC0415 - in this process only
    from PIL import ImageChops, ImageOps  # noqa: PLC0415

    Image = library()  # noqa: N806 - as everybody calls it
    data = sys.stdin.buffer.read(INPUT_MAX + 1)
    confine()
    with Image.open(io.BytesIO(data), formats=[format_]) as image:
        width, height = image.size
        if width * height > PIXELS_MAX:
            raise ValueError("too many pixels")
        upright = eight_bits(ImageOps.exif_transpose(image), Image)
        fingerprint = _phash(upright.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS))
        plain = upright
        if width * height > _REDUCED:  # What follows holds several copies of it.
            plain = upright if upright.mode in _REDUCIBLE else upright.convert("RGBA")
            plain = plain.reduce(2)
        plain = _trimmed(_on_white(plain, Image), ImageChops, Image).convert("L")
        grey = plain.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC).tobytes()
        code = iscc_lib.iscc_decode(iscc_lib.gen_image_code_v0(grey, bits=256)["iscc"])[-1]
        small = upright.convert("RGB")
        small.thumbnail((PREVIEW_PIXELS, PREVIEW_PIXELS))
    said = {"width": width, "height": height, "phash": fingerprint.hex(), "iscc": code.hex()}
    preview = io.BytesIO()
    # A new picture: nothing of the file's metadata, such as where it was taken, comes along.
    Image.frombytes("RGB", small.size, small.tobytes()).save(preview, "JPEG", quality=60)
    sys.stdout.buffer.write(json.dumps(said).encode() + b"\n" + preview.getvalue())


def _on_white(image: Any, pil: Any) -> Any:
    """Return a picture without transparency, as one sees it on paper."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    seen = image.convert("RGBA")
    paper = pil.new("RGBA", seen.size, "white")
    return pil.alpha_composite(paper, seen).convert("RGB")


def _trimmed(image: Any, chops: Any, pil: Any) -> Any:
    """Return a picture without a border of about the colour of its first pixel.

    About: compression leaves no border even, and a border that is cut off once and once not moves
    all that is inside.
    """
    border = pil.new(image.mode, image.size, image.getpixel((0, 0)))
    apart = chops.difference(image, border).convert("L")
    inside = apart.point([0] * _SAME + [255] * (256 - _SAME)).getbbox()
    return image if inside is None else image.crop(inside)


def _phash(grey: Any) -> bytes:
    """Return the pHash of a grey picture of 32 x 32: 8 bytes."""
    values = grey.tobytes()
    cosines = [
        [math.cos(math.pi * k * (2 * n + 1) / (2 * _SIDE)) for n in range(_SIDE)]
        for k in range(_LOW)
    ]
    rows = [values[i * _SIDE : (i + 1) * _SIDE] for i in range(_SIDE)]
    # First along the columns, then along the rows; the scale does not move the median.
    down = [
        [sum(cosine[y] * rows[y][x] for y in range(_SIDE)) for x in range(_SIDE)]
        for cosine in cosines
    ]
    # Rounded: where nothing is to be seen, what is left of a sum is no frequency.
    low = [
        round(sum(cosine[x] * line[x] for x in range(_SIDE)), 6)
        for line in down
        for cosine in cosines
    ]
    middle = median(low)
    bits = "".join("1" if one > middle else "0" for one in low)
    return int(bits, 2).to_bytes(8, "big")


if __name__ == "__main__":
    _main(sys.argv[1])
