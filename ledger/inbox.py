# SPDX-License-Identifier: GPL-3.0-or-later
"""Where requests wait for the writer: in order, never too many, and never for too long.

Past what the writer can do, a request is refused at once (503, with Retry-After) instead of waiting
for an answer that its sender may no longer wait for. Nothing that was let in is ever dropped.
"""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from ledger.errors import LedgerError, Overloaded, Unavailable
from ledger.outcome import Answer, Outcome
from ledger.request import Prepared

log = logging.getLogger("sealtrail.writer")

_CLOSE: Final = None

#: Of how many commits the pace is a mean, about, and how many events these have at least.
_SMOOTH: Final = 16
_LOAD: Final = 16


class WriterClosed(Unavailable):
    """This Book was just closed; send the same request again."""

    problem = "book-closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How much may wait; all but the last are settings (docs/settings.md)."""

    batch_max: int = 512  #: Events that one commit takes, about: a request is not cut in two.
    queue_max: int = 8_192  #: Events that wait at most,
    wait_max_ms: int = 2_000  #: and how long, as far as the last commits tell.


def _nothing() -> None:
    pass


class Job(NamedTuple):
    """Requests that came together, and how to tell what became of them."""

    batch: Sequence[Prepared]
    answer: Answer
    flush: Callable[[], None]  #: Called once after a whole commit is answered.
    claim: Callable[[], bool] | None  #: Says if anybody still waits; asked before it is begun.


class Inbox:
    """The queue in front of one writer."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0
        self._pace_ms = 0.0  # How long one event takes.
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many events wait to be recorded or are being recorded."""
        return self._waiting

    def put(self, job: Job) -> None:
        """Queue requests. Raises Overloaded, WriterClosed: nothing is queued then."""
        with self._lock:
            if self._closed:
                raise WriterClosed
            if self._waiting and self._is_full(len(job.batch)):
                raise Overloaded
            self._waiting += len(job.batch)
            self._queue.put(job)

    def check_room(self) -> None:
        """Return if one event more may wait; raises Overloaded. Cheap, and only a forecast."""
        if self._waiting and self._is_full(1):
            raise Overloaded

    def take(self) -> tuple[list[Job], bool]:
        """Wait for a job, then take all that wait, up to a batch; and say if this is the end."""
        jobs: list[Job] = []
        taken = 0
        while taken < self._room.batch_max:
            try:
                job = self._queue.get(block=not jobs)
            except queue.Empty:
                break
            if job is None:
                return jobs, True
            if job.claim is None or job.claim():
                jobs.append(job)
                taken += len(job.batch)
            else:  # Its caller has gone away; nothing was recorded.
                self._done(len(job.batch))
        return jobs, False

    def tell(self, jobs: Sequence[Job], outcomes: list[Outcome] | LedgerError) -> None:
        """Answer jobs that were taken; an error is everybody's."""
        at = 0
        for job in jobs:
            count = len(job.batch)
            told = outcomes if isinstance(outcomes, LedgerError) else outcomes[at : at + count]
            _surely(partial(job.answer, told))
            at += count
        for flush in {job.flush for job in jobs}:
            _surely(flush)
        self._done(at)

    def note_pace(self, events: int, seconds: float) -> None:
        """Remember how long a commit of so many events took; a small one says nothing of a load."""
        if events >= _LOAD:
            self._pace_ms += (seconds * 1000 / events - self._pace_ms) / _SMOOTH

    def close(self) -> None:
        """Let nothing in any more; what waits is taken, and then the end is told."""
        with self._lock:
            self._closed = True
            self._queue.put(_CLOSE)

    def _is_full(self, more: int) -> bool:
        waiting, room = self._waiting + more, self._room
        return waiting > room.queue_max or waiting * self._pace_ms > room.wait_max_ms

    def _done(self, count: int) -> None:
        with self._lock:
            self._waiting -= count


def awaited(batch: Sequence[Prepared]) -> tuple[Job, "Future[list[Outcome]]"]:
    """Return a job with a future that has one outcome for each request, or raises for all."""
    future: Future[list[Outcome]] = Future()
    claim = future.set_running_or_notify_cancel
    return Job(batch, partial(_settle, future), _nothing, claim), future


def _surely(call: Callable[[], None]) -> None:
    """Call, whatever comes of it: who cannot be told any more must not keep others waiting."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - told without values
        log.warning("an answer reached nobody: %s", type(error).__name__)


def _settle(future: "Future[list[Outcome]]", outcomes: list[Outcome] | LedgerError) -> None:
    if isinstance(outcomes, LedgerError):
        future.set_exception(outcomes)
    else:
        future.set_result(outcomes)
