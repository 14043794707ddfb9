# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every answer of the framework's routes, whatever the route.

HEAD is answered as GET without its body. Public documents may be read by any web page. An answer
that says nothing about caching is kept by nobody, and one that depends on the token says so. Bodies
are read and parsed strictly before a route sees them. A mistake of ours becomes a problem document
and one line in the log, neither of which quotes the request.
"""

import asyncio
import re
from typing import Final

from api import body, problems
from api.body import Asgi, Message, Receive, Scope, Send
from api.problems import Headers
from ledger.errors import FieldError, LedgerError, MalformedEvent, Unauthenticated

#: The largest body that a route of the framework takes whole: a request for a packet. Uploads are
#: taken piece by piece (api/uploads.py).
BODY_MAX: Final = 8 * 1024 * 1024
_WITH_BODY: Final = re.compile(
    r"/v1(?:/books/[^/]*)?/(?:packets|cap-packs|events:search|redacted:search"
    r"|assets:lineage|usage|(?:alerts|artifacts|holds|erasures|retrievals)(?:/.*)?)"
)

_PUBLIC: Final = re.compile(
    r"/(?:v1/(?:books/[^/]*/)?)?(?:checkpoint|tile/[0-9]+/.*)"
    r"|/v1/(?:books/[^/]*/)?(?:consistency(?:/receipt)?|proofs/(?!absence).*|anchors/.*)"
    r"|/\.well-known/sealtrail/trust\.json|/openapi\.json|/schemas/.*"
)
#: The unprefixed paths are those of the token's own Book: a cache must tell callers apart.
_NAMED: Final = re.compile(r"/v1/books/.*|/\.well-known/.*|/openapi\.json|/schemas/.*")


class Door:
    """Stands between the server and the framework's application."""

    def __init__(self, application: Asgi) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        answer = _Answer(scope["path"], send)
        try:
            _check_address(scope)
            if scope["method"] == "HEAD":
                scope = {**scope, "method": "GET"}  # The server leaves the body out.
            elif scope["method"] == "POST" and _WITH_BODY.fullmatch(scope["path"]):
                scope, receive = await _read(scope, receive)
            await self._application(scope, receive, answer.send)
        except LedgerError as error:
            await answer.refuse(error)
        except Exception as error:  # noqa: BLE001 - the framework raises its bugs after answering
            await answer.refuse(problems.unexpected(error))


class _Answer:
    """One answer on its way out, with the headers that every answer gets."""

    def __init__(self, path: str, send: Send) -> None:
        self._path, self._send = path, send
        self._started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            message = {**message, "headers": [*message["headers"], *self._more(message["headers"])]}
        await self._send(message)

    async def refuse(self, error: LedgerError) -> None:
        """Send a problem document, unless the answer has begun: then its end is missing."""
        if self._started:
            return
        status, headers, data = problems.response(error)
        headers.append((b"content-length", str(len(data)).encode()))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": data})

    def _more(self, headers: Headers) -> Headers:
        more = [(b"x-content-type-options", b"nosniff")]
        if _PUBLIC.fullmatch(self._path):
            more.append((b"access-control-allow-origin", b"*"))
        if not _NAMED.fullmatch(self._path):
            more.append((b"vary", b"authorization"))
        if all(name != b"cache-control" for name, _ in headers):
            more.append((b"cache-control", b"no-store"))
        return more


def _check_address(scope: Scope) -> None:
    """Raise MalformedEvent for a NUL in the address: no name has one, and PostgreSQL takes none."""
    if b"%00" in scope.get("query_string", b""):
        told = "no parameter holds the character NUL"
        raise MalformedEvent(errors=[FieldError("/query", "nul", told)])


async def _read(scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
    """Read and check a body, and name it what it is, whatever its sender called it."""
    headers = scope["headers"]
    if all(name != b"authorization" for name, _ in headers):
        raise Unauthenticated  # Before eight megabytes of nobody's are parsed.
    data = await body.read(scope, receive, BODY_MAX)
    await asyncio.to_thread(body.parse, data)
    headers = [(name, value) for name, value in headers if name != b"content-type"]
    headers.append((b"content-type", b"application/json"))
    return {**scope, "headers": headers}, body.again(data, receive)
