# SPDX-License-Identifier: GPL-3.0-or-later
"""The body of an upload on its way from the connection into the archive's spool.

The connection belongs to the event loop, the spool to a thread. Pieces are handed over one by one,
so that neither a fast client nor a slow disk makes anybody hold more than one of them. Uploads have
threads of their own: as many slow ones as there can be take no request's turn.
"""

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from fastapi import Request

from api.problems import BodyLost
from ledger.archive.artifacts import Artifacts
from ledger.archive.rows import Artifact
from ledger.errors import FieldError, MalformedEvent, Overloaded, Refused

UPLOADS_MAX: Final = 8

#: A client brings so many bytes, or the end, in so many seconds; else it loses the connection.
PIECE: Final = 256 * 1024
PIECE_S: Final = 30.0

#: And has this long for one request; what is here then is kept, and the next one goes on.
REQUEST_S: Final = 1_800.0

_MEDIA_TYPE: Final = "application/offset+octet-stream"
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,9}")

_threads = ThreadPoolExecutor(UPLOADS_MAX, thread_name_prefix="upload")
_places = threading.BoundedSemaphore(UPLOADS_MAX)


class UploadTypeRefused(Refused):
    """The body of an upload is called application/offset+octet-stream (tus 1.0)."""

    status = 415
    problem = "upload-type"


async def receive(
    request: Request, arrange: Callable[[], tuple[Artifacts, Artifact]]
) -> tuple[Artifacts, Artifact]:
    """Take the body of a request into the upload that `arrange` allows; returns how it is then.

    arrange: runs in the thread, before anything of the body is taken.
    """
    offset = _offset(request)
    loop = asyncio.get_running_loop()
    if not _places.acquire(blocking=False):
        raise Overloaded("as many uploads as this server takes are under way; send it again")
    body = Incoming(request, loop)

    def work() -> tuple[Artifacts, Artifact]:
        try:
            artifacts, one = arrange()
            return artifacts, artifacts.append(one.artifact_id, offset, body.pieces())
        finally:
            _places.release()

    # Shielded: a thread cannot be broken off. It ends with the body, which has limits of its own.
    return await asyncio.shield(loop.run_in_executor(_threads, work))


class Incoming:
    """A request's body, read in the event loop and given out in a thread."""

    def __init__(self, request: Request, loop: asyncio.AbstractEventLoop) -> None:
        self._stream, self._loop = request.stream(), loop
        self._until = loop.time() + REQUEST_S

    def pieces(self) -> Iterator[bytes]:
        """Yield the body; raises BodyLost if it stops coming."""
        while True:
            future = asyncio.run_coroutine_threadsafe(self._next(), self._loop)
            piece = future.result()
            if not piece:
                return
            yield piece

    async def _next(self) -> bytes:
        """Return the next PIECE bytes, or what is left of the body; empty at its end."""
        waiting = bytearray()
        try:
            async with asyncio.timeout(min(PIECE_S, self._until - self._loop.time())):
                async for chunk in self._stream:
                    waiting += chunk
                    if len(waiting) >= PIECE:
                        break
        except TimeoutError:
            raise BodyLost("the body came too slowly; what arrived is kept") from None
        except Exception as error:  # The framework's own, for a connection that is gone.
            raise BodyLost("the connection ended before the body was complete") from error
        return bytes(waiting)


def _offset(request: Request) -> int:
    """Return from where on the client sends; raises for what is no upload."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != _MEDIA_TYPE:
        raise UploadTypeRefused
    text = request.headers.get("upload-offset", "")
    if not _NUMBER.fullmatch(text):
        told = "how many bytes are here already: ask with HEAD"
        raise MalformedEvent(errors=[FieldError("/headers/upload-offset", "whole-number", told)])
    return int(text)
