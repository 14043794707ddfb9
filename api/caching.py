# SPDX-License-Identifier: GPL-3.0-or-later
"""How long an answer may be kept by whom, and answers that a client need not fetch twice.

An entry is kept by no cache that would show it a second time without asking: each look is recorded.
Its strong ETag saves the bytes, never the question. Source: RFC 9110 §8.8, §13; RFC 9111; RFC 8246.
"""

from typing import Final

from fastapi import Request, Response

FOREVER: Final = "public, max-age=31536000, immutable"
BRIEFLY: Final = "public, max-age=1"
EACH_TIME: Final = "private, no-cache"


def tagged(request: Request, data: bytes, *, tag: str, media_type: str, cache: str) -> Response:
    """Return `data` under a strong ETag, or 304 if the client has just that.

    tag: what names these bytes, of an ETag's characters, such as a hash in hex.
    """
    headers = {"etag": f'"{tag}"', "cache-control": cache}
    if f'"{tag}"' in _held(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=media_type, headers=headers)


def _held(header: str) -> list[str]:
    """Return the ETags that a client says it has; a weak one names the same bytes here."""
    return [one.strip().removeprefix("W/") for one in header.split(",")]
