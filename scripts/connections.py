# SPDX-License-Identifier: GPL-3.0-or-later
"""Bounds on what one HTTP connection may cost: header bytes, patience, and how many there are.

    connected ──► header ──► body ──► answer ──► idle ──► header …
                  32 KiB, 15 s        taken at 4 KiB/s    30 s

A caller who sends its header slowly, goes on sending a body that nobody wants, never reads its
answer, or connects and says nothing, is cut off; the body of a POST has limits of its own
(api.body). No connection and no request has a timer here: `look_at` looks at all of them.

KNOWN GAP: whoever opens connections faster than they are cut off keeps newcomers out; those who
are connected are served. Considered: a limit for each address, which is wrong behind a proxy and
right in one.
"""

import resource
from collections.abc import Iterable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api import problems
from ledger.errors import LedgerError, Refused, Unavailable

#: Bytes from the first line of a request to the empty line, together.
HEADER_MAX: Final = 32 * 1024

#: Seconds from the first byte, on a new connection from its beginning, until a header is whole.
HEADER_S: Final = 15.0

#: Seconds that a connection may rest between an answer and the next request.
IDLE_S: Final = 30.0

#: Who is sent an answer takes so many bytes of it, or its rest, in so many seconds.
TAKEN_MIN: Final = 128 * 1024
TAKEN_S: Final = 30.0

#: Connections of one process; whoever comes then is told to come again.
CONNECTIONS_MAX: Final = 2_048

#: Open files that are no connections of callers: database, stores, logs.
_OTHER_FILES: Final = 256


class HeaderTooLarge(Refused):
    """The header of the request is larger than this server takes."""

    status = 431
    problem = "header-too-large"


class HeaderTooSlow(Refused):
    """The header of the request did not arrive in time; nothing was recorded."""

    status = 408
    problem = "header-too-slow"


class TooManyConnections(Unavailable):
    """This server has as many connections as it takes; connect again in a moment."""

    problem = "too-many-connections"


class Connection(HttpToolsProtocol):
    """One caller's connection, with bounds."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._room = HEADER_MAX  # Bytes that the present or next header may still have.
        self._in_body = False
        self._waits_since = 0.0  # For a header; 0 while one is whole and not answered.
        self._patience = HEADER_S
        self._left, self._left_since = 0, 0.0  # Of an answer, in bytes.

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._waits_since = self.loop.time()
        if len(self.connections) > CONNECTIONS_MAX:
            self._refuse(TooManyConnections())

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and no more of a header than it may have."""
        if self._in_body:
            super().data_received(data)
            return
        if len(data) > self._room:
            part, data = data[: self._room], data[self._room :]
            self._room = 0
            super().data_received(part)
            if self._room == 0 and not self.transport.is_closing():
                self._refuse(HeaderTooLarge())
            if self.transport.is_closing():
                return
        else:
            self._room -= len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.header_begun()

    def header_begun(self) -> None:
        """Have the time for a header run."""
        if not self._waits_since or self._patience == IDLE_S:
            self._waits_since, self._patience = self.loop.time(), HEADER_S

    def on_headers_complete(self) -> None:
        self.header_complete()
        super().on_headers_complete()

    def header_complete(self) -> None:
        """Have the bounds of a header end, and be there anew for the next one."""
        self._in_body = True
        self._room = HEADER_MAX
        self._waits_since = 0.0

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on to a request that waits, or rest: what uvicorn does, without its timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, application = self.pipeline.pop()
            self._start_asgi_task(cycle, application)
        elif not self._waits_since:  # Else the next header is coming in already.
            self._waits_since, self._patience = self.loop.time(), IDLE_S

    def look(self, now: float) -> None:
        """Cut the caller off if its time is over."""
        left = self.transport.get_write_buffer_size()
        if left:
            if not self._left or left <= self._left - TAKEN_MIN:
                self._left, self._left_since = left, now
            elif now - self._left_since > TAKEN_S:
                self.transport.abort()  # To close it would be to wait until the rest is taken.
            return
        self._left = 0
        if self._waits_since and now - self._waits_since > self._patience:
            if self._room < HEADER_MAX:
                self._refuse(HeaderTooSlow())
            else:
                self.transport.close()

    def _refuse(self, error: LedgerError) -> None:
        """Answer, unless another answer is on its way, and close."""
        if self.cycle is None or self.cycle.response_complete:
            status, headers, body = problems.response(error)
            headers += [
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ]
            lines = [name + b": " + value + b"\r\n" for name, value in headers]
            self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
        self.transport.close()


def look_at(connections: Iterable[Any], now: float) -> None:
    """Cut off whoever's time is over; call it about once a second."""
    for connection in list(connections):
        connection.look(now)


def allow_open_files() -> None:
    """Have this process open as many files as CONNECTIONS_MAX asks for, if the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS_MAX + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
