# SPDX-License-Identifier: Apache-2.0
"""The ways to the ledger and to the providers, and the only place that knows their credentials.

Headers that speak of one connection, of the gateway, or of the caller's identity stay here; the
provider's own credential goes in. Redirects are not followed: a credential must not go elsewhere.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import BinaryIO, Final

from sealtrail.providers.google import openai_path
from sealtrail.receipt import RECEIPT_MAX
from sealtrail.wire import Answer, AnswerTooLarge, checked_url, client_headers
from sealtrail_gateway.callers import OWN_HEADERS
from sealtrail_gateway.codings import Decoder, TooMuch, Undecodable
from sealtrail_gateway.http1 import Broken, Fields, Link
from sealtrail_gateway.pool import Address, Pool
from sealtrail_gateway.settings import Upstream
from sealtrail_gateway.spool import size_of

#: RFC 9110 section 7.6.1, and what names the caller, another host or another method.
_STAYS: Final = OWN_HEADERS | {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
    "te", "trailer", "transfer-encoding", "upgrade", "host", "content-length", "authorization",
    "x-api-key", "x-goog-api-key", "api-key", "cookie", "forwarded", "x-forwarded-for",
    "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "accept-encoding", "expect",
    "x-http-method-override", "x-http-method", "x-method-override",
}  # fmt: skip

#: Of an answer: what the gateway decides itself.
_ANSWER_STAYS: Final = frozenset(
    {b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"content-encoding",
     b"set-cookie", b"trailer", b"upgrade", b"proxy-authenticate", b"date", b"server",
     b"proxy-connection", b"te",
     b"x-audit-event-id",  # Which attempt it is, nobody else says.
     b"alt-svc"}  # Another way to the provider would lead past the gateway.
)  # fmt: skip

#: What says how a request is read goes on with it, whatever its sender says of it.
_CONTENT: Final = frozenset({"content-type", "content-encoding"})

#: Nothing that may stand within a line of a header.
_LINE_END: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_PIECE: Final = 256 * 1024
_HEADS_MAX: Final = 64

#: Requests to the ledger and to one provider that may be under way at once.
_TO_LEDGER: Final = 256
_TO_UPSTREAM: Final = 512


class Line:
    """One ledger under one URL, spoken to with one token, in one event loop."""

    def __init__(self, url: str, token: str, *, timeout_s: float) -> None:
        """Raises ValueError for an address or a token that is none. url: also `unix:/path`."""
        self._address = Address.parse(url if url.startswith("unix:/") else checked_url(url))
        self._own = client_headers(token)
        self._timeout_s = timeout_s
        self._pool: Pool | None = None  # Made where an event loop runs.
        self._heads: dict[tuple[str, str, tuple[tuple[str, str], ...]], bytes] = {}

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.close()

    async def once(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> Answer | None:
        """Send one request, as `sealtrail.async_recorder.Once` has it."""
        if self._pool is None:
            self._pool = Pool(self._address, most=_TO_LEDGER)
        request = b"%b%d\r\n\r\n%b" % (
            self._head(method, path, headers),
            len(content or b""),
            content or b"",
        )
        until = asyncio.get_running_loop().time() + self._timeout_s
        answer, again = await self._try(self._pool, method, request, until, fresh=False)
        if again:
            # Closed by the ledger while nobody used it. Every request to it may be sent twice.
            answer, _ = await self._try(self._pool, method, request, until, fresh=True)
        return answer

    async def _try(
        self, pool: Pool, method: str, request: bytes, until: float, *, fresh: bool
    ) -> tuple[Answer | None, bool]:
        """Return the answer, if there is one, and whether a new connection would be worth it."""
        try:
            link = await pool.take(until=until, fresh=fresh)
        except OSError:
            return None, False
        try:
            left_s = until - asyncio.get_running_loop().time()
            link.begin(max(left_s, 0), of_silence=False, method=method)
            link.write(request)
            body = await link.whole(RECEIPT_MAX)
            return Answer(status=link.status, headers=_plain(link.headers), body=body), False
        except Broken as broken:
            if broken.code == "too-large":
                raise AnswerTooLarge from None
            return None, broken.unheard
        finally:
            pool.give(link)

    def _head(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        """Return a request's header up to the length of its body. Few differ, so they are kept."""
        kind = (method, path, tuple(headers.items()))
        found = self._heads.get(kind)
        if found is None:
            found = head(self._address, method, path, {**self._own, **headers})
            found += b"content-length: "
            if len(self._heads) < _HEADS_MAX:
                self._heads[kind] = found
        return found


class UpstreamFailed(Exception):  # noqa: N818 - an answer, not an accident
    """The provider could not be reached, or fell silent. code: `timeout`, `connection`."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the upstream gave no answer: {code}")
        self.code = code


class Reply:
    """An answer whose head has come; its body is read whole, or in pieces, without its coding."""

    def __init__(self, link: Link) -> None:
        """Raises UpstreamFailed for an answer in a coding that is not read here."""
        self._link = link
        self.status = link.status
        self.headers = _plain(link.headers)
        try:
            self._decoder = Decoder.of(link.headers)
        except Undecodable:
            # What cannot be read cannot be put on record, so it is not released.
            raise UpstreamFailed("encoding") from None

    @property
    def is_stream(self) -> bool:
        return self.media_type == "text/event-stream"

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def passed_on(self) -> Fields:
        """Return the header fields that go on to the caller."""
        fields = [(name.lower(), value) for name, value in self._link.headers]
        stays = _ANSWER_STAYS | _nominated(v for name, v in fields if name == b"connection")
        return [field for field in fields if field[0] not in stays]

    def hasten(self, seconds: float) -> None:
        """Allow so much silence from now on, if it is less than before."""
        self._link.hasten(seconds)

    async def whole(self, at_most: int) -> bytes:
        """Return the whole body. Raises UpstreamFailed, also for one of more bytes."""
        try:
            data = await self._link.whole(at_most)
            return data if self._decoder is None else self._decoder.whole(data, at_most)
        except (Broken, TooMuch, Undecodable) as problem:
            raise _failed(problem) from None

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises UpstreamFailed."""
        try:
            while piece := await self._link.piece():
                if self._decoder is None:
                    yield piece
                    continue
                for part in self._decoder.parts(piece):
                    yield part
            if self._decoder is not None:
                self._decoder.end()
        except (Broken, Undecodable) as problem:
            raise _failed(problem) from None


def _failed(problem: Broken | TooMuch | Undecodable) -> UpstreamFailed:
    if isinstance(problem, Undecodable):
        return UpstreamFailed("encoding")
    if isinstance(problem, TooMuch) or problem.code == "too-large":
        return UpstreamFailed("answer-too-large")
    return UpstreamFailed(problem.code)


def _nominated(values: Iterable[bytes]) -> set[bytes]:
    """Return the fields that are for one connection only, as its sender says (RFC 9110 §7.6.1)."""
    return {name.strip().lower() for value in values for name in value.split(b",")}


class Upstreams:
    """Connections to all providers."""

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._pools: dict[str, Pool] = {}

    async def close(self) -> None:
        for pool in self._pools.values():
            pool.close()

    @asynccontextmanager
    async def send(
        self,
        upstream: Upstream,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str],
        body: BinaryIO,
    ) -> AsyncIterator[Reply]:
        """Send a request and yield its reply. Raises UpstreamFailed.

        target: path and query, spelled as they go on. body: sent from its beginning.
        """
        size = size_of(body)
        try:
            pool = self._pool(upstream)
            request = head(
                pool.address, method, target, _sent(upstream, method, target, headers, size)
            )
            link = await pool.take()
        except TimeoutError:
            raise UpstreamFailed("timeout") from None
        except (OSError, ValueError):
            raise UpstreamFailed("connection") from None
        try:
            link.begin(self._timeout_s, of_silence=True, method=method)
            await _write(link, request + b"\r\n", body)
            await link.head()
            if not 200 <= link.status < 600:
                raise UpstreamFailed("status")  # None that a caller could be told.
            if 300 <= link.status < 400 and (link.status != 304 or method not in _BODILESS):
                # Whoever followed it would be past this gateway, with an answer nobody recorded.
                raise UpstreamFailed("redirect")
            yield Reply(link)
        except Broken as broken:
            raise UpstreamFailed(broken.code) from None
        finally:
            pool.give(link)

    def _pool(self, upstream: Upstream) -> Pool:
        found = self._pools.get(upstream.url)
        if found is None:
            found = Pool(Address.parse(upstream.url), most=_TO_UPSTREAM)
            self._pools[upstream.url] = found
        return found


async def _write(link: Link, request: bytes, body: BinaryIO) -> None:
    """Send header and body; the rest of it is kept back from who has answered already."""
    body.seek(0)
    piece = body.read(_PIECE)
    link.write(request + piece)
    while len(piece) == _PIECE and (piece := body.read(_PIECE)):
        if not await link.room():
            link.spoil()
            return
        link.write(piece)


def head(address: Address, method: str, target: str, fields: Mapping[str, str]) -> bytes:
    """Return a request's header without its end. Raises ValueError for what would be two.

    target: path and query, spelled as they are sent.
    """
    lines = [f"{method} {address.base}{target} HTTP/1.1", f"host: {address.authority}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    if _LINE_END.search("".join(lines)):
        raise ValueError("a header field would not be one line")
    return "\r\n".join([*lines, ""]).encode("latin-1")


def _plain(headers: Fields) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


def _sent(
    upstream: Upstream, method: str, target: str, headers: Mapping[str, str], size: int
) -> dict[str, str]:
    own = _nominated([headers.get("connection", "").encode("latin-1")])
    stays = _STAYS | {name.decode("latin-1") for name in own}
    kept = {name: value for name, value in headers.items() if name not in stays - _CONTENT}
    kept["accept-encoding"] = "identity"
    if size or method not in _BODILESS:
        kept["content-length"] = str(size)
    if not upstream.credential:
        return kept
    if upstream.reader == "anthropic":
        kept["x-api-key"] = upstream.credential
    elif upstream.reader == "google" and openai_path(target.partition("?")[0]) is None:
        kept["x-goog-api-key"] = upstream.credential
    else:
        kept["authorization"] = f"Bearer {upstream.credential}"
    return kept
