# SPDX-License-Identifier: Apache-2.0
"""The gateway as an ASGI application: routes, health, and errors in each provider's own shape.

    /<upstream>/…   a call, recorded, or a harmless look, passed through; all else is refused
    /livez /readyz  for whoever runs it: ready means that a call would be recorded now

`X-Audit-Event-Id` on every answer names the attempt; `none` where nothing was recorded.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast
from urllib.parse import unquote_to_bytes

from sealtrail.providers.comfyui import ComfyUi
from sealtrail.providers.exchange import Provider
from sealtrail.providers.google import Google, is_readable
from sealtrail.providers.registry import reader
from sealtrail_gateway import spool
from sealtrail_gateway.callers import NobodyKnown, Register
from sealtrail_gateway.connections import Reply, UpstreamFailed
from sealtrail_gateway.pool import quoted_path, quoted_query
from sealtrail_gateway.queues import Queue, Whole
from sealtrail_gateway.relay import Incoming, Relay, Stopped, Under
from sealtrail_gateway.settings import Settings, Upstream
from sealtrail_gateway.streams import Pump, StreamBroken

log = logging.getLogger("sealtrail.gateway")

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Fields = list[tuple[bytes, bytes]]

EVENT_ID: Final = b"x-audit-event-id"


class Gateway:
    """The application. `ready` says whether the ledger would record now."""

    def __init__(
        self,
        settings: Settings,
        relay: Relay,
        ready: Callable[[], Awaitable[bool]],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        self._settings, self._relay = settings, relay
        self._ready, self.close = ready, close
        self._register = Register(settings)
        self._upstreams: dict[str, tuple[Upstream, Provider]] = {
            name: (one, reader(one.reader, named=name)) for name, one in settings.upstreams.items()
        }
        self._queues = {
            name: Queue(relay, found, settings.body_max)
            for name, (_, found) in self._upstreams.items()
            if isinstance(found, ComfyUi)
        }

    async def __call__(self, scope: Scope, receive: spool.Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            raise RuntimeError("the gateway speaks HTTP")  # A web socket is closed by the server.

    async def _live(self, receive: spool.Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _answer(self, scope: Scope, receive: spool.Receive, send: Send) -> None:
        path: str = scope["path"]
        if path == "/livez":
            await _plain(send, 200, {"status": "alive"})
            return
        if path == "/readyz":
            ready = await self._ready()
            status = {"status": "ready" if ready else "the ledger would not record"}
            await _plain(send, 200 if ready else 503, status)
            return
        name, _, rest = path.removeprefix("/").partition("/")
        known = self._upstreams.get(name)
        if known is None:
            await _plain(send, 404, {"code": "no-such-upstream", "status": 404})
            return
        upstream, found = known
        out = _Out(send, found)
        try:
            await self._carry(scope, receive, out, upstream, path="/" + rest)
        except Stopped as stop:
            await out.refuse(stop.status, stop.code, str(stop))
        except NobodyKnown as nobody:
            await out.refuse(nobody.status, nobody.code, str(nobody))
        except spool.TooLarge:
            await out.refuse(413, "too-large", "The request is larger than this gateway takes.")
        except spool.CallerGone:
            pass
        except Exception as error:  # noqa: BLE001 - answered, and told without values
            log.error("a call failed in the gateway: %s", type(error).__name__)  # noqa: TRY400
            await out.refuse(500, "gateway-error", "The gateway failed; nothing was released.")

    async def _carry(
        self,
        scope: Scope,
        receive: spool.Receive,
        out: "_Out",
        upstream: Upstream,
        *,
        path: str,
    ) -> None:
        found, method = out.reader, scope["method"]
        headers = _headers(scope["headers"])
        caller = self._register.who(method, scope["path"], headers)
        kind = found.kind(method, path)
        if kind == "unknown" or not _DOTS.isdisjoint(path.split("/")):
            message = "This path is not one that the gateway can put on record."
            raise Stopped(403, "not-recordable", message)
        query = scope["query_string"].decode("latin-1")
        if kind == "call" and isinstance(found, Google) and not is_readable(query, headers):
            message = "An answer in part, or in another format, cannot go on record."
            raise Stopped(403, "not-recordable", message)
        body = await spool.spooled(receive, self._settings.body_max)
        with body:
            incoming = Incoming(
                upstream=upstream,
                reader=found,
                method=method,
                path=path,
                target=_target(upstream, path, scope["query_string"]),
                headers=headers,
                body=body,
                caller=caller,
            )
            queue = self._queues.get(upstream.name)
            if queue is not None and queue.takes(method, path):
                await out.whole(await queue.answer(incoming))
                return
            gone = asyncio.ensure_future(_until_gone(receive))
            try:
                if kind == "harmless":
                    await self._pass(incoming, out)
                else:
                    await self._call(incoming, out, gone)
            finally:
                gone.cancel()

    async def _pass(self, incoming: Incoming, out: "_Out") -> None:
        """Pass a request through that calls no model."""
        try:
            async with self._relay.pass_through(incoming) as reply:
                await out.start(reply.status, reply.passed_on())
                async for piece in reply.pieces():
                    await out.more(piece)
                await out.end()
        except UpstreamFailed as failure:
            await out.refuse(502, f"upstream-{failure.code}", "The provider gave no answer.")

    async def _call(self, incoming: Incoming, out: "_Out", gone: "asyncio.Future[None]") -> None:
        under = await self._relay.begin(incoming)
        out.event_id = under.attempt.event_id
        pump = Pump(self._relay, under)
        task = cast("asyncio.Task[None]", asyncio.current_task())
        left = False

        def leave(_: object) -> None:
            nonlocal left
            left = task.cancel()

        gone.add_done_callback(leave)
        try:
            await self._answer_call(under, out, pump)
        except asyncio.CancelledError:
            # The caller went away, or the server is told to stop: the call has an outcome, too.
            await asyncio.shield(pump.abandon())
            if not left or task.uncancel():
                raise
        except Stopped:
            raise
        except Exception:
            # A fault of ours, such as a reader's: what was called has an outcome all the same.
            await asyncio.shield(pump.abandon("gateway-error"))
            raise
        finally:
            gone.remove_done_callback(leave)

    async def _answer_call(self, under: Under, out: "_Out", pump: Pump) -> None:
        try:
            async with self._relay.reply(under) as reply:
                # Some servers name another type, or none, for the events that they were asked for.
                unnamed = under.asked.stream and not reply.media_type.endswith("json")
                if (reply.is_stream or unnamed) and reply.status < 300:
                    await self._stream(reply, out, pump)
                    return
                body = await pump.whole(reply, self._settings.body_max)
                await out.start(reply.status, reply.passed_on(), size=len(body))
                await out.end(body)
        except UpstreamFailed as failure:
            timeout = failure.code == "timeout"
            await pump.failed(f"upstream-{failure.code}")
            message = "The provider gave no answer in time." if timeout else "No answer came."
            raise Stopped(504 if timeout else 502, f"upstream-{failure.code}", message) from None

    async def _stream(self, reply: Reply, out: "_Out", pump: Pump) -> None:
        await out.start(reply.status, reply.passed_on())
        try:
            async for piece in pump.pieces(reply):
                await out.more(piece)
        except StreamBroken as broken:
            await out.break_off(broken.code, str(broken))
        else:
            await out.end()


class _Out:
    """The answer to one request, in its provider's shape."""

    def __init__(self, send: Send, found: Provider) -> None:
        self._send, self.reader = send, found
        self._started = False
        self.event_id: str | None = None

    async def start(self, status: int, fields: Fields, *, size: int | None = None) -> None:
        own = [(EVENT_ID, (self.event_id or "none").encode())]
        if size is not None:
            own.append((b"content-length", str(size).encode()))
        self._started = True
        await self._send(
            {"type": "http.response.start", "status": status, "headers": [*fields, *own]}
        )

    async def more(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def whole(self, answer: Whole) -> None:
        self.event_id = answer.event_id
        await self.start(answer.status, answer.fields, size=len(answer.body))
        await self.end(answer.body)

    async def refuse(self, status: int, code: str, message: str) -> None:
        """Answer with an error; once the answer has begun, end it without its terminal event."""
        if self._started:
            await self.break_off(code, message)
            return
        headers, body = self.reader.refusal(code, message, status)
        fields = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.start(status, fields, size=len(body))
        await self.end(body)

    async def break_off(self, code: str, message: str) -> None:
        """End a stream with an error event, so that nobody takes it for a whole one."""
        _, body = self.reader.refusal(code, message, 503)
        await self.end(b"event: error\ndata: " + body + b"\n\n")


async def _plain(send: Send, status: int, members: Mapping[str, Any]) -> None:
    body = json.dumps(members).encode()
    fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    fields.append((EVENT_ID, b"none"))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def _until_gone(receive: spool.Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _headers(raw: Fields) -> dict[str, str]:
    """Return header fields by name; of one that was sent twice, nobody knows which counts."""
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key in headers and key in _ONCE:
            raise Stopped(400, "header-twice", "A header that identifies was sent twice.")
        headers[key] = text if key not in headers else f"{headers[key]}, {text}"
    return headers


#: Segments that lead a provider to another path than the one that is written.
_DOTS: Final = frozenset({".", ".."})

_ONCE: Final = frozenset(
    {"authorization", "x-api-key", "x-goog-api-key", "content-type", "content-length",
     "sealtrail-person", "sealtrail-signature", "sealtrail-on-behalf-of"}
)  # fmt: skip


def _target(upstream: Upstream, path: str, query: bytes) -> str:
    """Return path and query as they go on; a version that both name is said once.

    The path is spelled anew, so that its provider reads the one that was judged here. A key of the
    caller's, which Google's programs may put into the query, stays here as one in a header does.
    """
    url = upstream.url
    version = url.rpartition("/")[2]
    if version and path.startswith(f"/{version}/") and "/" in url.partition("://")[2]:
        path = path[len(version) + 1 :]
    if upstream.reader == "google":
        kept = [
            one for one in query.split(b"&") if unquote_to_bytes(one.partition(b"=")[0]) != b"key"
        ]
        query = b"&".join(kept)
    return quoted_path(path) + (f"?{quoted_query(query)}" if query else "")
