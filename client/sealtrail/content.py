# SPDX-License-Identifier: Apache-2.0
"""Bytes, files, texts and pictures as an entry names them: by digest, size and kind.

A picture object of Pillow is hashed as the PNG that it would be saved as, and its decoded raster
by itself; both are recorded, because re-encoding changes the one and not the other. Pillow is
looked at only if the program has it already.
"""

import io
import mimetypes
import os
import sys
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

_PIECE: Final = 1 << 20

#: The first bytes of what models put out most.
_MAGIC: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
)
UNKNOWN: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What one thing is made of. size: bytes."""

    sha256: str
    size: int
    mime: str
    pixel_sha256: str | None = None
    width: int | None = None
    height: int | None = None
    data: bytes | None = field(default=None, repr=False)


def content_of(thing: Any, *, mime: str | None = None) -> Content:
    """Return the digests of bytes, a text, a file's path or a Pillow image.

    A `sha256:` text of 71 characters is a digest that was computed before, of unknown size.
    Raises TypeError for anything else, OSError for a file that cannot be read.
    """
    if isinstance(thing, (bytes, bytearray, memoryview)):
        return _of_bytes(bytes(thing), mime)
    if isinstance(thing, str):
        if is_digest(thing):
            return Content(sha256=thing, size=0, mime=mime or UNKNOWN)
        return _of_bytes(thing.encode(errors="replace"), mime or "text/plain")
    if isinstance(thing, os.PathLike):
        return _of_file(Path(thing), mime)
    if _is_picture(thing):
        return _of_picture(thing)
    raise TypeError("this is neither bytes, a text, a path nor a Pillow image")


def named_file(thing: Any) -> Any:
    """Return a thing where files are meant: a text is the name of one then, if it is no digest."""
    return Path(thing) if isinstance(thing, str) and not is_digest(thing) else thing


def is_digest(text: str) -> bool:
    digits = text.removeprefix("sha256:")
    return len(text) == 71 and len(digits) == 64 and set(digits) <= set("0123456789abcdef")


def digest_text(data: bytes) -> str:
    return f"sha256:{sha256(data).hexdigest()}"


def kind_of(mime: str) -> str:
    """Return the word that `asset.type` and `inputs[].type` have for a media type."""
    family = mime.partition("/")[0]
    return family if family in {"image", "audio", "video", "text"} else "file"


def _of_bytes(data: bytes, mime: str | None) -> Content:
    return Content(
        sha256=digest_text(data), size=len(data), mime=mime or _sniff(data) or UNKNOWN, data=data
    )


def _of_file(path: Path, mime: str | None) -> Content:
    """Hash a file in pieces; it may be larger than memory."""
    running, size, head = sha256(), 0, b""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            head = head or piece[:16]
            running.update(piece)
            size += len(piece)
    mime = mime or _sniff(head) or mimetypes.guess_type(path.name)[0] or UNKNOWN
    return Content(sha256=f"sha256:{running.hexdigest()}", size=size, mime=mime)


def _of_picture(picture: Any) -> Content:
    out = io.BytesIO()
    picture.save(out, format="PNG")
    data = out.getvalue()
    return Content(
        sha256=digest_text(data),
        size=len(data),
        mime="image/png",
        pixel_sha256=digest_text(_eight_bits(picture).convert("RGB").tobytes()),
        width=picture.width,
        height=picture.height,
        data=data,
    )


def _eight_bits(picture: Any) -> Any:
    """Return a picture of 16 bits of grey with the upper 8 of them, as a ledger decodes it.

    The library cuts off what exceeds 255, so that nearly every such picture would be white.
    """
    if not picture.mode.startswith("I;16"):
        return picture
    return picture.convert("I").point([value >> 8 for value in range(2**16)], "L")


def _is_picture(thing: Any) -> bool:
    pillow = sys.modules.get("PIL.Image")  # Who has such an object has imported it.
    return pillow is not None and isinstance(thing, pillow.Image)


def _sniff(head: bytes) -> str | None:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((mime for magic, mime in _MAGIC if head.startswith(magic)), None)
