# SPDX-License-Identifier: Apache-2.0
"""The outcome of one call, once, however it ends: whole, in events, broken off, abandoned."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from sealtrail.providers.exchange import StreamReader, Told
from sealtrail.receipt import Receipt
from sealtrail_gateway.connections import Reply, UpstreamFailed
from sealtrail_gateway.relay import Relay, Stopped, Under, failure

#: Seconds for which a provider may be silent behind the terminal event before it has ended.
_END_S: Final = 5.0


class StreamBroken(Exception):  # noqa: N818 - an answer, not an accident
    """The stream ends without its terminal event, and its reader is told why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Pump:
    """Moves an answer from the provider to the caller."""

    def __init__(self, relay: Relay, under: Under) -> None:
        self._relay, self._under = relay, under
        self._stream: StreamReader | None = None
        self._reply: Reply | None = None
        self._ending: asyncio.Task[Receipt] | None = None  # The outcome, on its way or recorded.

    async def whole(self, reply: Reply, at_most: int) -> bytes:
        """Return a whole answer whose outcome is on record. Raises Stopped, UpstreamFailed."""
        data, told = await self._relay.read(self._under, reply, at_most)
        await self._finish(told)
        return data

    async def pieces(self, reply: Reply) -> AsyncIterator[bytes]:
        """Yield a stream, its terminal event once the outcome is on record. Raises StreamBroken."""
        stream = self._stream = self._under.incoming.reader.stream(self._under.asked)
        self._reply = reply
        aborted = False
        try:
            async for piece in reply.pieces():
                released = stream.feed(piece)
                if released:
                    yield released
                if stream.ended:
                    reply.hasten(_END_S)
        except UpstreamFailed:
            aborted = True
        await self._end(aborted=aborted)
        if aborted and not stream.ended:
            raise StreamBroken("upstream-broke-off", "The provider's stream broke off.")
        rest = stream.rest()
        if rest:
            yield rest

    async def failed(self, code: str) -> None:
        """Put on record that the provider gave no answer. Raises Stopped."""
        await self._finish(failure(code, retryable=True))

    async def abandon(self, code: str = "caller-gone") -> None:
        """Put on record what became of a call that nobody waits for, or that broke here."""
        # Nobody is there to be told of a failure; the ledger closes the attempt at its deadline.
        with suppress(Stopped, StreamBroken):
            if self._stream is not None:
                await self._end(aborted=True)
            else:
                await self._finish(failure(code, retryable=False))

    async def _end(self, *, aborted: bool) -> None:
        if self._stream is None or self._reply is None:
            return
        told = self._stream.told(self._reply.status, self._reply.headers, aborted=aborted)
        try:
            await self._finish(told)
        except Stopped as stop:
            raise StreamBroken(stop.code, str(stop)) from stop

    async def _finish(self, told: Told) -> None:
        """Put the outcome on record; what was begun is finished, whoever stops waiting for it."""
        if self._ending is None:
            released = self._stream is not None and self._stream.released
            ending = self._relay.end(self._under, told, released=released)
            self._ending = asyncio.ensure_future(ending)
        await asyncio.shield(self._ending)
