# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 as a client has it: one connection, one exchange at a time, answers whole or in pieces.

What a call costs here is paid three times for each call of a model, so there is no layer above:
bytes go to the socket as they are, and `httptools` (llhttp) reads the answer. A connection is used
again only after an answer that ended where its own header said; what comes unasked ends it.
Source: RFC 9112; RFC 9110 §15.2 for interim answers.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Literal, cast

import httptools

#: The header of an answer is at most so large, in bytes.
HEAD_MAX: Final = 64 * 1024

#: So many bytes wait here for a slow reader before no more are taken from the socket.
_WAITING_MAX: Final = 256 * 1024

#: Of the same library, for who reads requests.
RequestParser = httptools.HttpRequestParser
NotHttp = httptools.HttpParserError
UpgradeOffered = httptools.HttpParserUpgrade

Fields = list[tuple[bytes, bytes]]
Until = Literal["room", "head", "piece", "end"]


class Broken(Exception):  # noqa: N818 - an end, not an accident
    """The exchange came to no end. code: `connection`, `timeout`, `too-large`.

    unheard: it was lost on a connection that had been used before, and no byte of an answer came:
    most likely it was closed while the request was on its way. Nobody knows whether it was heard.
    """

    def __init__(self, code: str, *, unheard: bool = False) -> None:
        super().__init__(code)
        self.code, self.unheard = code, unheard


class Link(asyncio.Protocol):
    """One connection. `lost` is told once, when it is gone."""

    def __init__(self, lost: "Callable[[Link], None]") -> None:
        self._loop = asyncio.get_running_loop()
        self._lost = lost
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._busy = self._used = self._full = self._paused = False
        self.idle_since = 0.0
        self._forget()

    def _forget(self) -> None:
        """Forget the exchange before."""
        self._until: Until = "end"
        self._failure = ""
        self._pieces: list[bytes] = []
        self._size = self._head_size = 0
        self._begun = self._keep = self._surplus = self._interim = self._complete = False
        self._at_most: int | None = None
        self._is_head = False  # Of the method HEAD: its answer has no body, whatever it says.
        self.head_came = False
        self.status = 0
        self.headers: Fields = []

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    # One exchange: begin, send, what is wanted of the answer, end.

    def begin(self, seconds: float, *, of_silence: bool, method: str) -> None:
        """Begin an exchange that may take so long, or be silent for so long at a stretch."""
        self._forget()
        self._busy, self._is_head = True, method == "HEAD"
        self._patience, self._of_silence = seconds, of_silence
        self._deadline = self._loop.time() + seconds
        self._timer = self._loop.call_at(self._deadline, self._late)

    def write(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            self._fail("connection")
        else:
            self._transport.write(data)

    async def room(self) -> bool:
        """Wait until more may be written; False once there is an answer already. Raises Broken."""
        if self._full:
            await self._wait("room")
        self._moved()
        if self._failure:
            raise self._broken()
        return not self.head_came

    async def head(self) -> None:
        """Wait for the header of the answer: `status`, `headers`. Raises Broken."""
        await self._wait("head")

    async def whole(self, at_most: int) -> bytes:
        """Return the body, or what is left of it, once it has ended. Raises Broken."""
        self._at_most = at_most
        self._check_size()
        self._resume()  # It may be longer than what is held for a reader of pieces.
        await self._wait("end")
        return self._take()

    async def piece(self) -> bytes:
        """Return what has come of the body; nothing at its end. Raises Broken."""
        if not self._pieces:
            await self._wait("piece")
        data = self._take()
        self._resume()
        return data

    def end(self) -> bool:
        """End the exchange, however far it came; True if the connection can have another one."""
        self._busy = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        clean = self._complete and self._keep and not self._surplus and not self._failure
        if clean and self.is_open and not self._full:
            self._used, self.idle_since = True, self._loop.time()
            self._resume()
            return True
        self.close()
        return False

    def hasten(self, seconds: float) -> None:
        """Have no more patience than this with silence from now on."""
        self._patience = min(self._patience, seconds)
        self._moved()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._late)

    def spoil(self) -> None:
        """Let this exchange be the last one: its request was not sent to its end."""
        self._surplus = True

    def close(self) -> None:
        """Close the connection at once; what was not sent yet is of no use to anybody."""
        if self._transport is not None:
            self._transport.abort()

    # What the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, problem: Exception | None) -> None:
        if self._busy and not self._complete and not self._failure:
            if problem is None and self.head_came and _ends_with_its_connection(self.headers):
                self._complete = True
            else:
                self._failure = "connection"
            self._wake()
        self._lost(self)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake()

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            self.close()  # Nobody asked. The next answer would be taken for another one's.
            return
        self._begun = True
        self._moved()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("connection")
            return
        if not self.head_came:
            self._head_size += len(data)
            if self._head_size > HEAD_MAX:
                self._fail("connection")
                return
        elif self._pieces:
            self._check_size()
        self._wake()

    # What the parser tells

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head_came:  # Else of a trailer, or of an answer to nobody.
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._complete:
            self._surplus = True
            return
        status = self._parser.get_status_code()
        self._interim = status < 200
        if self._interim:
            self.headers = []
            return
        self.status, self.head_came, self._complete = status, True, self._is_head

    def on_body(self, data: bytes) -> None:
        if not self._complete:
            self._pieces.append(data)
            self._size += len(data)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif not self._complete:
            self._complete, self._keep = True, self._parser.should_keep_alive()

    # Waiting

    async def _wait(self, until: Until) -> None:
        while not self._is(until):
            self._until, self._waiter = until, self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._failure and not (until == "piece" and self._pieces):
            raise self._broken()

    def _is(self, until: Until) -> bool:
        if self._failure or self._complete:
            return True
        if until == "end":
            return False
        if until == "piece":
            return bool(self._pieces)
        return self.head_came or (until == "room" and not self._full)

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done() and self._is(self._until):
            waiter.set_result(None)

    def _take(self) -> bytes:
        pieces, self._pieces, self._size = self._pieces, [], 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _check_size(self) -> None:
        if self._at_most is not None:
            if self._size > self._at_most:
                self._fail("too-large")
        elif self._size > _WAITING_MAX and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._moved()
            if self.is_open:
                self._transport.resume_reading()

    def _moved(self) -> None:
        if self._of_silence:
            self._deadline = self._loop.time() + self._patience

    def _late(self) -> None:
        now = self._loop.time()
        if self._of_silence and self._paused:
            self._deadline = now + self._patience  # It is our reader who is slow.
        if now < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._late)
        else:
            self._fail("timeout")

    def _fail(self, code: str) -> None:
        self._failure = self._failure or code
        self.close()
        self._wake()

    def _broken(self) -> Broken:
        unheard = self._failure == "connection" and self._used and not self._begun
        return Broken(self._failure, unheard=unheard)


def _ends_with_its_connection(headers: Fields) -> bool:
    """Whether an answer with this header has no other end (RFC 9112 §6.3)."""
    coding = b""
    for name, value in headers:
        lower = name.lower()
        if lower == b"content-length":
            return False
        if lower == b"transfer-encoding":
            coding = value.lower()
    return not coding.endswith(b"chunked")
