# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the event loop waits for the writers: one wake-up for a whole commit's answers.

A future of its own for each request, its time-out and its way across two threads cost more than
the entry. Here a writer's thread puts its answers into one queue and rings once per commit, and
one look a second finds who has waited too long.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from anchoring.shelf import Book
from api import problems
from ledger.errors import LedgerError, Unavailable
from ledger.inbox import Job
from ledger.outcome import Outcome
from ledger.request import Prepared

#: A commit that takes longer than this, in seconds, is answered "nobody knows; send it again".
ANSWER_S: Final = 30.0

_LOOK_S: Final = 1.0

#: Told once, in the event loop.
Then = Callable[[list[Outcome] | LedgerError], None]


class Unanswered(Unavailable):
    """The database takes too long. Nobody knows whether this was recorded; send it again."""

    problem = "commit-slow"


class _Ticket:
    """One who waits, and since when."""

    __slots__ = ("_arrived", "since", "then")

    def __init__(self, then: Then, since: float, arrived: "deque[_Answered]") -> None:
        self.then, self.since, self._arrived = then, since, arrived

    def answer(self, outcomes: list[Outcome] | LedgerError) -> None:
        self._arrived.append((self, outcomes))


_Answered = tuple[_Ticket, list[Outcome] | LedgerError]


class Desk:
    """Hands requests to writers and answers to whoever waits. For one event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arrived: deque[_Answered] = deque()
        self._waiting: dict[_Ticket, None] = {}  # The longest waiting first.
        self._looking = False

    def put(self, book: Book, batch: Sequence[Prepared], then: Then) -> None:
        """Queue requests; `then` is told an outcome for each, or what befell them all.

        Raises Overloaded or WriterClosed, and then nothing is queued.
        """
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        ticket = _Ticket(then, loop.time(), self._arrived)
        book.put(Job(batch, ticket.answer, self._ring, None))
        self._waiting[ticket] = None
        if not self._looking:
            self._looking = True
            loop.call_later(_LOOK_S, self._look)

    def _ring(self) -> None:
        """Wake the event loop; called in a writer's thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hand_out)

    def _hand_out(self) -> None:
        while self._arrived:
            ticket, outcomes = self._arrived.popleft()
            if ticket in self._waiting:
                del self._waiting[ticket]
                _tell(ticket.then, outcomes)

    def _look(self) -> None:
        """Tell those who have waited too long; what they sent may still be recorded."""
        loop = asyncio.get_running_loop()
        late = []
        for ticket in self._waiting:
            if loop.time() - ticket.since < ANSWER_S:
                break
            late.append(ticket)
        for ticket in late:
            del self._waiting[ticket]
            _tell(ticket.then, Unanswered())
        self._looking = bool(self._waiting)
        if self._looking:
            loop.call_later(_LOOK_S, self._look)


def _tell(then: Then, outcomes: list[Outcome] | LedgerError) -> None:
    try:
        then(outcomes)
    except Exception as error:  # noqa: BLE001 - one caller's mishap is not the next one's
        problems.unexpected(error)  # Tells the log, without values.
