# SPDX-License-Identifier: GPL-3.0-or-later
"""The digest of a picture's pixels, made where a hostile file can do no harm.

    python -m ledger.archive.pixels FORMAT      picture on stdin; 64 hexadecimal digits on stdout

    pixel digest = SHA-256(rows from the top, pixels from the left, 8 bits of red, green and blue)

A file that was saved again without loss has the same pixels and other bytes. Width, height and
transparency are not in it, nor is a turn that only the file's metadata ask for; of an animation it
is the first picture, and of 16 bits the upper 8. The decoder runs in a process of its own
(ledger.archive.picture says why).
"""

import io
import logging
import re
import subprocess
import sys
from hashlib import sha256
from typing import Final

from ledger.archive.picture import (
    INPUT_MAX,
    MEDIA_TYPES,
    PIXELS_MAX,
    confine,
    eight_bits,
    library,
    run_alone,
)

log = logging.getLogger("sealtrail.archive")

_ROWS: Final = 64
_HEX: Final = re.compile(rb"[0-9a-f]{64}")


def pixel_digest(data: bytes, media_type: str) -> bytes | None:
    """Return the 32 bytes of a picture's pixel digest; None for what is none that we decode."""
    format_ = MEDIA_TYPES.get(media_type)
    if format_ is None or len(data) > INPUT_MAX:
        return None
    try:
        told = run_alone("ledger.archive.pixels", format_, data)
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("a picture has no pixel digest: %s", type(error).__name__)
        return None
    # A decoder may have been taken over: what it says is a digest, or nothing.
    return bytes.fromhex(told.decode()) if _HEX.fullmatch(told) else None


# What follows runs in the other process.


def _main(format_: str) -> None:
    Image = library()  # noqa: N806 - as everybody calls it
    data = sys.stdin.buffer.read(INPUT_MAX + 1)
    confine()
    with Image.open(io.BytesIO(data), formats=[format_]) as image:
        if image.width * image.height > PIXELS_MAX:
            raise ValueError("too many pixels")
        plain = eight_bits(image, Image).convert("RGB")
    digest = sha256()
    for top in range(0, plain.height, _ROWS):
        bottom = min(top + _ROWS, plain.height)
        digest.update(plain.crop((0, top, plain.width, bottom)).tobytes())
    sys.stdout.write(digest.hexdigest())


if __name__ == "__main__":
    _main(sys.argv[1])
