# SPDX-License-Identifier: Apache-2.0
"""A caller's connection: what its HTTP may be, before anybody knows who it is.

A request's head has an end, what comes behind its body is no header, and an offer to change the
protocol is not taken up (RFC 9110 section 7.8): the request is answered as if it had not been made.
"""

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sealtrail_gateway.http1 import HEAD_MAX, NotHttp, RequestParser, UpgradeOffered

_NOTHING_RECORDED: Final = b"connection: close\r\nx-audit-event-id: none\r\n\r\n"
_UNREADABLE: Final = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n" + _NOTHING_RECORDED
_HEAD_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n" + _NOTHING_RECORDED
)

#: What an offer to change the protocol is made of.
_OFFER: Final = frozenset({b"upgrade", b"http2-settings"})


class _Joined:
    """A transport that sends in one piece what is written in one turn of the event loop.

    Header and body of an answer are written one after the other. Sent alone, the header wakes its
    reader for nothing, who takes the processor from whoever would send the body.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._later = asyncio.get_running_loop().call_soon
        self._held: list[bytes] = []
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        if not self._held:
            self._later(self.flush)
        self._held.append(data)

    def flush(self) -> None:
        held, self._held = self._held, []
        if held and not self.is_closing():
            self._transport.writelines(held)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Connection(HttpToolsProtocol):
    """A caller's connection."""

    _head_size: int | None = None  # None: behind the head.
    _begins = False  # A head did, in what has just come.
    _is_offered = False  # Another protocol, by the request whose head has just come.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport = cast("asyncio.Transport", _Joined(transport))

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except UpgradeOffered as offer:
            self._decline(data[offer.args[0] :])
            return
        except NotHttp:
            self._refuse(_UNREADABLE)
            return
        if self._begins:
            self._begins = False  # Before its head there may be another one's body.
        elif self._head_size is not None:
            self._head_size += len(data)
            if self._head_size > HEAD_MAX:
                self._refuse(_HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_size, self._begins = 0, True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_size is not None:  # Else of a trailer: it says nothing of who sends it.
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_size = None
        self._is_offered = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if not self._is_offered:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self._is_offered:
            super().on_message_complete()

    def _decline(self, rest: bytes) -> None:
        """Read a request anew without its offer of another protocol; its body comes behind."""
        if not self._is_offered:
            self._refuse(_UNREADABLE)
            return
        fields = [(name, value) for name, value in self.headers if name not in _OFFER]
        lines = [b"%b %b HTTP/1.1" % (self.parser.get_method(), self.url)]
        for name, value in fields:
            kept = _without_offer(value) if name == b"connection" else value
            lines.append(name + b": " + kept)
        self._is_offered = False
        self.parser = RequestParser(self)
        self.data_received(b"\r\n".join([*lines, b"", b""]) + rest)

    def _refuse(self, answer: bytes) -> None:
        """Close; with an answer, unless it would stand within another request's."""
        if not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(answer)
            self.transport.close()


def _without_offer(value: bytes) -> bytes:
    tokens = [one.strip() for one in value.split(b",")]
    return b", ".join(one for one in tokens if one and one.lower() not in _OFFER) or b"keep-alive"
