# SPDX-License-Identifier: GPL-3.0-or-later
"""The express lane: `POST /v1/events` from the parser to the ledger and back, without a task.

An ordinary request costs uvicorn a scope, a task, two events and five messages: about as much as
all that the ledger does for an entry. A single event with an announced, small body goes straight to
`Ingest.post`, and its answer straight to the socket. Every other request, and every other way to
write this one (another path, chunks, Expect), goes the ordinary way. What uvicorn keeps account of,
the order of pipelined answers, a stop that waits for answers, bounds on slow callers, holds for
both: an `_Express` stands where uvicorn's own cycle would.

A client sends the same header again and again, but for the length of the body. So a request in one
piece, whose header is byte for byte the one that the parser has just read on this connection, needs
no parser at all. Nothing is ever concluded from a header that the parser has not seen.
"""

import re
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Self

from api import body, problems
from api.ingest import Ingest
from api.problems import Headers
from scripts.connections import Connection

_URL: Final = b"/v1/events"
_LENGTH: Final = re.compile(rb"\r\ncontent-length: ?([0-9]{1,6})\r\n", re.IGNORECASE)
_BODY_MAX: Final = 64 * 1024
_REFUSED: Final = frozenset({b"expect", b"transfer-encoding", b"upgrade"})
_STATUS: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class _Header(NamedTuple):
    """A header that led to the express lane: the bytes before and after the body's length."""

    before: bytes
    behind: bytes
    authorization: bytes | None

    def body_of(self, data: bytes) -> bytes | None:
        """Return the body of a request with this header that is whole and alone; else None."""
        if not data.startswith(self.before):
            return None
        at = len(self.before)
        end = data.find(b"\r", at, at + 7)
        digits = data[at:end]
        if end < 0 or not digits.isdigit() or not data.startswith(self.behind, end):
            return None
        length, begin = int(digits), end + len(self.behind)
        return data[begin:] if len(data) - begin == length <= _BODY_MAX else None


class _Express:
    """One request on the express lane; to uvicorn it looks like its own cycle."""

    __slots__ = (
        "authorization", "body", "connection", "disconnected", "keep_alive", "more_body",
        "response_complete", "since", "started",
    )  # fmt: skip

    def __init__(self, connection: "ExpressConnection", authorization: bytes | None) -> None:
        self.connection, self.authorization = connection, authorization
        self.body: bytes | bytearray = bytearray()
        self.more_body = True
        self.keep_alive = True  # Until the server is told to stop.
        self.disconnected = self.response_complete = self.started = False
        self.since = connection.loop.time()

    @property
    def message_event(self) -> Self:
        """What uvicorn sets; not kept, or each request would be a cycle of references."""
        return self

    def start(self) -> None:
        """Have its turn: all answers before it are sent."""
        self.started = True
        self.set()

    def set(self) -> None:
        """Hear that something arrived, or that the caller is gone."""
        if self.started and not (self.more_body or self.response_complete):
            self.started = False  # Once.
            self.connection.ingest.post(self.authorization, bytes(self.body), self.reply)

    def reply(self, status: int, headers: Headers, data: bytes) -> None:
        """Send the answer."""
        if self.response_complete:
            return
        self.response_complete = True
        connection = self.connection
        if self.disconnected:
            return
        ending = b"" if self.keep_alive else b"connection: close\r\n"
        begin = connection.beginning(status, headers)
        connection.transport.write(
            b"%bcontent-length: %d\r\n%b\r\n%b" % (begin, len(data), ending, data)
        )
        if not self.keep_alive:
            connection.transport.close()
        connection.on_response_complete()


class ExpressConnection(Connection):
    """One caller's connection; a subclass knows the way in."""

    ingest: Ingest

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._between = True  # The parser is at the end of a request, or has seen none.
        self._piece = b""  # What the parser is given now, if it was between two requests before.
        self._header: _Header | None = None
        self._begun: tuple[int, Headers | None, Headers | None, bytes] = (0, None, None, b"")

    def beginning(self, status: int, headers: Headers) -> bytes:
        """Print the beginning of an answer; nearly always it is that of the answer before."""
        defaults = self.server_state.default_headers  # A new list each second: it has the date.
        known = self._begun
        if known[0] == status and known[1] is headers and known[2] is defaults:
            return known[3]
        text = _begin(status, (*defaults, *headers))
        self._begun = (status, headers, defaults, text)
        return text

    def data_received(self, data: bytes) -> None:
        """Take a request like the one before without the parser, anything else with it."""
        header = self._header
        if header is None or not self._between:
            self._parse(data)
            return
        present: Any = self.cycle
        body = header.body_of(data)
        if body is None or not present.response_complete or self.transport.is_closing():
            self._parse(data)
            return
        self._waits_since = 0.0
        cycle = _Express(self, header.authorization)
        cycle.more_body = False
        self.cycle = cycle  # type: ignore[assignment]
        self.ingest.post(header.authorization, body, cycle.reply)

    def _parse(self, data: bytes) -> None:
        self._piece = data if self._between else b""
        super().data_received(data)
        self._piece = b""

    def on_message_begin(self) -> None:
        """Begin as little as both lanes need; the scope is made for the ordinary one."""
        self._between = False
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self.header_begun()

    def on_headers_complete(self) -> None:
        stays = self.parser.should_keep_alive()
        if self.url == _URL and self.parser.get_method() == b"POST" and stays:
            found = self._expressible()
            if found is not None:
                self.header_complete()
                self._remember(found[0])
                self._express(_Express(self, found[0]))
                return
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers += headers
        super().on_headers_complete()

    def _expressible(self) -> tuple[bytes | None] | None:
        """Return the credential of a request that may take the express lane, else None."""
        authorization, length = None, b""
        for name, value in self.headers:
            if name == b"authorization":
                if authorization is not None:
                    return None
                authorization = value
            elif name == b"content-length":
                length = value
            elif name in _REFUSED:
                return None
        small = length.isdigit() and len(length) < 7 and int(length) <= _BODY_MAX
        return (authorization,) if small else None

    def _remember(self, authorization: bytes | None) -> None:
        """Keep the header that the parser has just read, if it began the present piece."""
        piece, self._piece = self._piece, b""
        end = piece.find(b"\r\n\r\n") + 2
        found = list(_LENGTH.finditer(piece, 0, end))
        self._header = None
        if end > 1 and len(found) == 1 and piece.startswith(b"POST " + _URL):
            at = found[0]
            before, behind = piece[: at.start(1)], piece[at.end(1) : end + 2]
            self._header = _Header(before, behind, authorization)

    def on_message_complete(self) -> None:
        self._between = True
        super().on_message_complete()

    def _express(self, cycle: _Express) -> None:
        present: Any = self.cycle
        self.cycle = cycle  # type: ignore[assignment]
        if present is None or present.response_complete:
            cycle.start()
        else:  # Answers leave in the order of their requests.
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))  # type: ignore[arg-type]

    def look(self, now: float) -> None:
        """Cut the caller off if its time is over, a body's on this lane included."""
        cycle = self.cycle
        if isinstance(cycle, _Express) and cycle.more_body and now - cycle.since > body.BODY_S:
            cycle.keep_alive = False
            lost = problems.BodyLost(f"the body took longer than {body.BODY_S:.0f} seconds")
            cycle.reply(*problems.response(lost))
        super().look(now)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if isinstance(cycle, _Express):
            cycle.start()
        else:
            super()._start_asgi_task(cycle, app)


@lru_cache(maxsize=64)
def _begin(status: int, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Print the beginning of an answer; the date is among the headers, so it is soon another."""
    return _STATUS[status] + b"".join([b"%b: %b\r\n" % header for header in headers])


def lane_to(ingest: Ingest) -> type[ExpressConnection]:
    """Return the protocol whose express lane leads to `ingest`."""
    return type("Lane", (ExpressConnection,), {"ingest": ingest})
