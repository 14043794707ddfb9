# SPDX-License-Identifier: Apache-2.0
"""Pictures as bytes, and the two digests by which a picture is known.

The digest of the file says which bytes were handed on; the digest of the pixels stays the same
when somebody saves the picture again in another lossless format.
"""

import hashlib
import io

from PIL import Image


def digest(data: bytes) -> str:
    """`sha256:` and 64 digits, as every digest in an event is written."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def pixel_digest(picture: Image.Image) -> str:
    """The digest of the decoded raster: RGB, 8 bits each, row by row from the top."""
    return digest(picture.convert("RGB").tobytes())


def png(picture: Image.Image) -> bytes:
    """The picture as a PNG file without times or comments; equal pixels give equal bytes."""
    out = io.BytesIO()
    picture.save(out, format="PNG", optimize=False, compress_level=6)
    return out.getvalue()
