# SPDX-License-Identifier: Apache-2.0
"""Transports for SDKs that speak through `httpx` or `httpx2`, whichever the program has.

    client = trail.watch(OpenAI())                       a copy of the client, by its public options
    OpenAI(http_client=httpx2.Client(transport=trail.transport(httpx2.HTTPTransport(proxy=...))))

Neither library is imported here; the one that the program uses is taken from the object it gave.
An SDK may repeat a request by itself: each repetition is an attempt of its own, but not after an
outcome that could not be recorded. Nothing that is raised here is one of the libraries' own errors,
which SDKs would retry.
"""

import asyncio
import inspect
import sys
from collections.abc import AsyncIterator, Iterator
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from sealtrail.begun import begun
from sealtrail.providers.exchange import Provider, StreamReader
from sealtrail.providers.registry import READERS, compatible, reader, reader_for
from sealtrail.watched import EVENT_ID, Exchange, Watch

if TYPE_CHECKING:
    from sealtrail.trail import Trail

#: HTTP libraries, and what of theirs a program may bring.
_LIBRARIES: Final = ("httpx2", "httpx")
_KINDS: Final = ("BaseTransport", "AsyncBaseTransport", "Client", "AsyncClient")

#: Where a watched client's WebSockets lead: they go past its transport, so no model may hear them.
#: Neither the scheme nor the name is anything (RFC 6761 §6.4); the program's error shows them.
_NOWHERE: Final = "unrecorded://websockets-cannot-go-on-record.invalid"

#: SDKs whose clients are copied with another HTTP client by `with_options`.
_COPIED: Final = {"openai": "openai", "anthropic": "anthropic"}


def watched(
    trail: "Trail", client: Any, *, provider: str | None = None, allow: frozenset[str] = frozenset()
) -> Any:
    """Return a copy of an SDK's client whose calls are recorded. Raises TypeError for others.

    provider: whose models it calls, if the address does not tell. A pipeline of diffusers is
    returned itself.
    """
    if any(base.__module__.startswith("diffusers.") for base in type(client).__mro__):
        return import_module("sealtrail.diffusers").watched_pipeline(trail, client)
    sdk = type(client).__module__.partition(".")[0]
    if sdk not in _COPIED:
        raise TypeError(
            "this client is not known; give its constructor an HTTP client with trail.transport(…)"
        )
    module = sys.modules[sdk]
    is_async = inspect.iscoroutinefunction(client.close)
    made = module.DefaultAsyncHttpxClient if is_async else module.DefaultHttpxClient
    library = _library_of(made)
    inner = library.AsyncHTTPTransport if is_async else library.HTTPTransport
    limits = getattr(module, "DEFAULT_CONNECTION_LIMITS", None)
    plain = inner() if limits is None else inner(limits=limits)
    found = _reader(provider, str(client.base_url.host), _COPIED[sdk])
    outer = transport(trail, plain, reader_=found, allow=allow)
    options: dict[str, Any] = {"http_client": made(transport=outer)}
    if "websocket_base_url" in inspect.signature(client.with_options).parameters:
        options["websocket_base_url"] = _NOWHERE
    return client.with_options(**options)


def transport(
    trail: "Trail",
    inner: Any,
    *,
    reader_: Provider,
    allow: frozenset[str] = frozenset(),
) -> Any:
    """Return a transport that records what goes through `inner`, a transport of either library."""
    library = _library_of(type(inner))
    is_async = hasattr(inner, "handle_async_request")
    chosen = _async_class(library.__name__) if is_async else _sync_class(library.__name__)
    return chosen(Watch(trail, reader_, allow), inner)


def reader_named(provider: str) -> Provider:
    """Return the reader of a provider; one that is not known speaks OpenAI's format."""
    return reader(provider) if provider in READERS else compatible(provider)


def _reader(provider: str | None, host: str, sdk: str) -> Provider:
    if provider is not None:
        return reader_named(provider)
    return reader_for(host) or reader(sdk)


def _library_of(kind: type) -> ModuleType:
    """Return `httpx` or `httpx2`, whichever a class comes from."""
    for library in (sys.modules.get(name) for name in _LIBRARIES):
        known = tuple(getattr(library, name) for name in _KINDS if hasattr(library, name))
        if library is not None and issubclass(kind, known):
            return library
    raise TypeError("this is no transport of httpx or httpx2")


def _is_stream(response: Any) -> bool:
    kind: str = response.headers.get("content-type", "")
    return response.status_code < 300 and kind.startswith("text/event-stream")


def _answer(library: Any, response: Any, exchange: Exchange, content: Any) -> Any:
    """Return a response with other content, that names its attempt."""
    headers = [
        (name, value)
        for name, value in response.headers.multi_items()
        if name.lower() not in {"content-length", "content-encoding", "transfer-encoding"}
    ]
    headers.append((EVENT_ID, exchange.attempt.event_id))
    named = {"content": content} if isinstance(content, bytes) else {"stream": content}
    return library.Response(
        response.status_code, headers=headers, extensions=dict(response.extensions), **named
    )


@cache
def _sync_stream(name: str) -> Any:
    library: Any = import_module(name)

    class Stream(library.SyncByteStream):  # type: ignore[misc]
        """A stream whose terminal event goes on once the outcome is on record."""

        def __init__(self, watch: Watch, exchange: Exchange, response: Any) -> None:
            self._watch, self._exchange, self._response = watch, exchange, response
            self._reader: StreamReader = watch.reader.stream(exchange.asked)

        def __iter__(self) -> Iterator[bytes]:
            try:
                for piece in self._response.stream:
                    yield self._reader.feed(piece)
                    if self._reader.ended:
                        break
            except Exception:
                self._end(aborted=True)
                raise
            self._end(aborted=False)
            yield self._reader.rest()

        def close(self) -> None:
            self._response.close()
            self._end(aborted=True)

        def _end(self, *, aborted: bool) -> None:
            if self._exchange.ended:
                return
            status, headers = self._response.status_code, dict(self._response.headers)
            self._watch.end(self._exchange, self._reader.told(status, headers, aborted=aborted))

    return Stream


@cache
def _sync_class(name: str) -> Any:
    library: Any = import_module(name)

    class Transport(library.BaseTransport):  # type: ignore[misc]
        """Records what goes through another transport."""

        def __init__(self, watch: Watch, inner: Any) -> None:
            self._watch, self._inner = watch, inner

        def handle_request(self, request: Any) -> Any:
            if not self._watch.is_call(request.method, request.url.path):
                return self._inner.handle_request(request)
            request.headers["accept-encoding"] = "identity"
            body = request.read()
            exchange = self._watch.begin(request.url.path, dict(request.headers), body)
            try:
                response = self._inner.handle_request(request)
                if _is_stream(response):
                    stream = _sync_stream(name)(self._watch, exchange, response)
                    return _answer(library, response, exchange, stream)
                content = response.read()
            except BaseException as problem:
                if not exchange.ended:
                    self._watch.failed(exchange, problem)
                raise
            response.close()
            told = (response.status_code, dict(response.headers), content)
            self._watch.answered(exchange, *told)
            return _answer(library, response, exchange, content)

        def close(self) -> None:
            self._inner.close()

    return Transport


@cache
def _async_stream(name: str) -> Any:
    library: Any = import_module(name)

    class Stream(library.AsyncByteStream):  # type: ignore[misc]
        """A stream whose terminal event goes on once the outcome is on record."""

        def __init__(self, watch: Watch, exchange: Exchange, response: Any) -> None:
            self._watch, self._exchange, self._response = watch, exchange, response
            self._reader: StreamReader = watch.reader.stream(exchange.asked)

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for piece in self._response.stream:
                    yield self._reader.feed(piece)
                    if self._reader.ended:
                        break
            except Exception:
                await self._end(aborted=True)
                raise
            await self._end(aborted=False)
            yield self._reader.rest()

        async def aclose(self) -> None:
            await self._response.aclose()
            await self._end(aborted=True)

        async def _end(self, *, aborted: bool) -> None:
            if self._exchange.ended:
                return
            status, headers = self._response.status_code, dict(self._response.headers)
            told = self._reader.told(status, headers, aborted=aborted)
            # Shielded: a call that nobody waits for any more has an outcome, too.
            await asyncio.shield(asyncio.to_thread(self._watch.end, self._exchange, told))

    return Stream


@cache
def _async_class(name: str) -> Any:
    library: Any = import_module(name)

    class Transport(library.AsyncBaseTransport):  # type: ignore[misc]
        """Records what goes through another transport."""

        def __init__(self, watch: Watch, inner: Any) -> None:
            self._watch, self._inner = watch, inner

        async def handle_async_request(self, request: Any) -> Any:
            if not self._watch.is_call(request.method, request.url.path):
                return await self._inner.handle_async_request(request)
            request.headers["accept-encoding"] = "identity"
            body = await request.aread()
            asked = (request.url.path, dict(request.headers), body)
            exchange = await begun(lambda: self._watch.begin(*asked), self._watch.failed)
            try:
                response = await self._inner.handle_async_request(request)
                if _is_stream(response):
                    stream = _async_stream(name)(self._watch, exchange, response)
                    return _answer(library, response, exchange, stream)
                content = await response.aread()
            except BaseException as problem:
                if not exchange.ended:
                    failed = asyncio.to_thread(self._watch.failed, exchange, problem)
                    await asyncio.shield(failed)
                raise
            await response.aclose()
            told = (response.status_code, dict(response.headers), content)
            await asyncio.shield(asyncio.to_thread(self._watch.answered, exchange, *told))
            return _answer(library, response, exchange, content)

        async def aclose(self) -> None:
            await self._inner.aclose()

    return Transport
