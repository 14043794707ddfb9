# SPDX-License-Identifier: Apache-2.0
"""The way to the providers, and the only place that knows their credentials.

Headers that speak of one connection, of the gateway, or of the caller's identity stay here; the
provider's own credential goes in. Redirects are not followed: a credential must not go elsewhere.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import httpx2

from sealtrail_gateway.callers import OWN_HEADERS
from sealtrail_gateway.settings import Upstream

#: RFC 9110 section 7.6.1, and what names the caller or another host.
_STAYS: Final = OWN_HEADERS | {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
    "te", "trailer", "transfer-encoding", "upgrade", "host", "content-length", "authorization",
    "x-api-key", "x-goog-api-key", "api-key", "cookie", "forwarded", "x-forwarded-for",
    "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "accept-encoding",
}  # fmt: skip

#: Of an answer: what the gateway decides itself.
_ANSWER_STAYS: Final = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding",
     "set-cookie", "trailer", "upgrade", "proxy-authenticate", "date", "server"}
)  # fmt: skip


class UpstreamFailed(Exception):  # noqa: N818 - an answer, not an accident
    """The provider could not be reached, or fell silent. code: `timeout`, `connection`."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the upstream gave no answer: {code}")
        self.code = code


class Reply:
    """An answer whose head has come; its body is read in pieces."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers: Mapping[str, str] = {
            name.lower(): value for name, value in response.headers.items()
        }

    @property
    def is_stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    def passed_on(self) -> list[tuple[bytes, bytes]]:
        """Return the header fields that go on to the caller."""
        return [
            (name.lower(), value)
            for name, value in self._response.headers.raw
            if name.lower().decode("latin-1") not in _ANSWER_STAYS
        ]

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises UpstreamFailed."""
        try:
            async for piece in self._response.aiter_bytes():
                yield piece
        except httpx2.TimeoutException:
            raise UpstreamFailed("timeout") from None
        except httpx2.HTTPError:
            raise UpstreamFailed("connection") from None


class Upstreams:
    """Connections to all providers."""

    def __init__(self, *, timeout_s: float, connections: int = 512) -> None:
        self._client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(timeout_s, connect=10.0, pool=30.0),
            follow_redirects=False,
            trust_env=False,
            limits=httpx2.Limits(
                max_connections=connections, max_keepalive_connections=connections
            ),
        )

    async def close(self) -> None:
        await self._client.aclose()

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
        request = self._client.build_request(
            method,
            upstream.url + target,
            headers=_sent(upstream, headers, size),
            content=content if size else None,
        )
        try:
            response = await self._client.send(request, stream=True)
        except httpx2.TimeoutException:
            raise UpstreamFailed("timeout") from None
        except httpx2.HTTPError:
            raise UpstreamFailed("connection") from None
        try:
            yield Reply(response)
        finally:
            await response.aclose()


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
