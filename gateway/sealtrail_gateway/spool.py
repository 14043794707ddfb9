# SPDX-License-Identifier: Apache-2.0
"""Requests on their way: whole before the attempt is recorded, and never whole in memory.

Up to a megabyte stays in memory; more lies in a file without a name, which is gone with the call.
"""

import io
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, BinaryIO, Final, cast

_IN_MEMORY: Final = 1024 * 1024

Receive = Callable[[], Awaitable[dict[str, Any]]]


class TooLarge(Exception):  # noqa: N818 - an answer, not an accident
    """The request is larger than the gateway takes."""


class CallerGone(Exception):  # noqa: N818 - an answer, not an accident
    """The caller went away before its request was whole."""


async def spooled(receive: Receive, at_most: int) -> BinaryIO:
    """Read a whole request. Raises TooLarge, CallerGone; close what is returned."""
    first, more = await _piece(receive)
    if not more and len(first) <= min(at_most, _IN_MEMORY):
        return io.BytesIO(first)
    with ExitStack() as stack:
        whole = stack.enter_context(tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY))
        file, size = cast("BinaryIO", whole), len(first)
        while size <= at_most:
            file.write(first)
            if not more:
                file.seek(0)
                stack.pop_all()  # From here on the caller closes it.
                return file
            first, more = await _piece(receive)
            size += len(first)
        raise TooLarge


async def _piece(receive: Receive) -> tuple[bytes, bool]:
    """Return the next piece of a request, and whether more of it comes."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise CallerGone
    return message.get("body", b""), message.get("more_body", False)


def size_of(file: BinaryIO) -> int:
    """Return the bytes of a spooled request."""
    at = file.tell()
    size = file.seek(0, 2)
    file.seek(at)
    return size
