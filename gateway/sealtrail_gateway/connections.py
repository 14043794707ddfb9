# SPDX-License-Identifier: Apache-2.0
"""The ways to the ledger and to the providers, and the only place that knows their credentials.

Headers that speak of one connection, of the gateway, or of the caller's identity stay here; the
provider's own credential goes in. Redirects are not followed: a credential must not go elsewhere.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import aiohttp

from sealtrail.receipt import RECEIPT_MAX
from sealtrail.wire import Answer, AnswerTooLarge, checked_url, client_headers
from sealtrail_gateway.callers import OWN_HEADERS
from sealtrail_gateway.settings import Upstream

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
    {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding",
     "set-cookie", "trailer", "upgrade", "proxy-authenticate", "date", "server"}
)  # fmt: skip

#: What the library would add by itself.
_OWN: Final = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
_PIECE: Final = 64 * 1024


class Line:
    """One ledger under one URL, spoken to with one token, in one event loop."""

    def __init__(self, url: str, token: str, *, timeout_s: float) -> None:
        """Raises ValueError for an address or a token that is none."""
        self._url = checked_url(url)
        self._headers = client_headers(token)
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None  # Made where an event loop runs.

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def once(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> Answer | None:
        """Send one request, as `sealtrail.async_recorder.Once` has it."""
        if self._session is None:
            self._session = _session(self._timeout, connections=256)
        body = bytearray()
        try:
            async with self._session.request(
                method,
                self._url + path,
                data=content,
                headers={**self._headers, **headers},
                allow_redirects=False,
                skip_auto_headers=_OWN,
            ) as response:
                async for piece in response.content.iter_chunked(_PIECE):
                    body += piece
                    if len(body) > RECEIPT_MAX:
                        raise AnswerTooLarge
                return Answer(
                    status=response.status, headers=_plain(response.headers), body=bytes(body)
                )
        except (TimeoutError, aiohttp.ClientError):
            return None


class UpstreamFailed(Exception):  # noqa: N818 - an answer, not an accident
    """The provider could not be reached, or fell silent. code: `timeout`, `connection`."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the upstream gave no answer: {code}")
        self.code = code


class Reply:
    """An answer whose head has come; its body is read in pieces."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = _plain(response.headers)

    @property
    def is_stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    def passed_on(self) -> list[tuple[bytes, bytes]]:
        """Return the header fields that go on to the caller."""
        return [
            (name.lower(), value)
            for name, value in self._response.raw_headers
            if name.lower().decode("latin-1") not in _ANSWER_STAYS
        ]

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises UpstreamFailed."""
        try:
            async for piece in self._response.content.iter_any():
                yield piece
        except TimeoutError:
            raise UpstreamFailed("timeout") from None
        except aiohttp.ClientError:
            raise UpstreamFailed("connection") from None


class Upstreams:
    """Connections to all providers."""

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def send(
        self,
        upstream: Upstream,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str],
        content: AsyncIterator[bytes],
        size: int,
    ) -> AsyncIterator[Reply]:
        """Send a request and yield its reply. target: path and query. Raises UpstreamFailed."""
        if self._session is None:
            self._session = _session(self._timeout, connections=512)
        request = self._session.request(
            method,
            upstream.url + target,
            headers=_sent(upstream, headers, size),
            data=content if size else None,
            allow_redirects=False,
            skip_auto_headers=_OWN,
        )
        try:
            response = await request
        except TimeoutError:
            raise UpstreamFailed("timeout") from None
        except aiohttp.ClientError:
            raise UpstreamFailed("connection") from None
        async with response:
            if 300 <= response.status < 400 and response.status != 304:
                # Whoever followed it would be past this gateway, with an answer nobody recorded.
                raise UpstreamFailed("redirect")
            yield Reply(response)


def _session(timeout: aiohttp.ClientTimeout, *, connections: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        timeout=timeout,
        connector=aiohttp.TCPConnector(limit=connections),
        cookie_jar=aiohttp.DummyCookieJar(),  # Cookies of one caller are not the next one's.
        auto_decompress=False,
        trust_env=False,
    )


def _plain(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _sent(upstream: Upstream, headers: Mapping[str, str], size: int) -> dict[str, str]:
    kept = {name: value for name, value in headers.items() if name not in _STAYS}
    kept["accept-encoding"] = "identity"
    if size:
        kept["content-length"] = str(size)
    if not upstream.credential:
        return kept
    if upstream.reader == "anthropic":
        kept["x-api-key"] = upstream.credential
    elif upstream.reader == "google":
        kept["x-goog-api-key"] = upstream.credential
    else:
        kept["authorization"] = f"Bearer {upstream.credential}"
    return kept
