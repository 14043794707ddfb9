# SPDX-License-Identifier: GPL-3.0-or-later
"""The writer: one thread per Book and process that turns waiting requests into commits.

    submit ──► queue ──► take what waits ──► look up ──► build ──► one statement ──► COMMIT
                                                                     ◄ point of no return 1
             receipts ◄── checkpoint store accepts ◄── sign the new root ◄──┘

There is no timer: what queued while the last commit ran is the next batch. Any number of processes
may write one Book; the head row orders them. A writer that loses the swap reads the head again,
checks its tag and that it extends everything signed before, and builds the batch anew.

After a COMMIT whose answer was lost nobody here knows; the requests are answered 503, and the same
requests sent again find their entries or are recorded then. Once the ledger contradicts itself the
writer stops and stays stopped.
"""

import logging
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Protocol

import psycopg
from psycopg import sql

from ledger import clock
from ledger.batch import EPOCH_ENTRIES, Builder, Built
from ledger.clock import Clock
from ledger.database import Connection, Database, unavailable
from ledger.errors import (
    HistoryRewritten,
    IntegrityViolation,
    LedgerError,
    Overloaded,
    Unavailable,
)
from ledger.head import Chain, Head, HeadRow
from ledger.keys import KeyDestroyed
from ledger.lookup import Known, Lookup, States
from ledger.request import Prepared
from ledger.store import EntryMapper, HeadMoved, LedgerRecorder, Row
from ledger.tiles import Edge, load_edge
from ledger.timekeeper import Timekeeper

log = logging.getLogger("sealtrail.writer")

_SWAP_TRIES: Final = 64
_CLOSE: Final = None


class WriterClosed(Unavailable):
    """This Book was just closed; send the same request again."""

    problem = "book-closed"


class Notary(Protocol):
    """Signs heads, and never two histories (anchoring.checkpoint)."""

    @property
    def size(self) -> int:
        """The largest size that this process signed or read from the checkpoint store."""

    def check(self, head: Head) -> None:
        """Return if `head` extends all that was signed or read; else raise HistoryRewritten."""

    def seal(self, head: Head, *, base: int, extension: Sequence[bytes]) -> bytes:
        """Sign `head`, have the checkpoint store accept it, return the signed note.

        extension: the consistency path from size `base`, which saves a read of the tree when the
        store holds that size.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An event that was written just now, durable, in the tree and under a signed checkpoint."""

    row: Row
    path: Sequence[bytes]
    checkpoint: bytes  #: The signed note whose size and root `path` leads to.
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """An event that was recorded before by the same request; a signed checkpoint covers it."""

    position: int


Outcome = Recorded | Repeated | LedgerError
_Job = tuple[Sequence[Prepared], "Future[list[Outcome]]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one writer; see docs/settings.md."""

    batch_max: int = 512
    queue_max: int = 8_192
    epoch_entries: int = EPOCH_ENTRIES
    jump_ms: int = clock.DAY_MS


class Writer:
    """Appends to the Book in `schema`; start it with the Book, close it with the Book."""

    def __init__(
        self,
        database: Database,
        *,
        schema: str,
        name: str,
        tenant: str,
        chain: Chain,
        notary: Notary,
        limits: Limits | None = None,
        now_ms: Clock = clock.now_ms,
    ) -> None:
        self._database, self._schema, self._name, self._tenant = database, schema, name, tenant
        self._chain, self._notary = chain, notary
        self._limits = limits or Limits()
        self._timekeeper = Timekeeper(
            database, book=name, jump_ms=self._limits.jump_ms, now_ms=now_ms
        )
        self._recorder = LedgerRecorder(database, schema)
        self._mapper = EntryMapper()
        self._lookup = Lookup(schema)
        self._states = States()
        self._head_row = HeadRow(schema)
        self._head: Head | None = None  # None: read it before the next batch.
        self._edge = Edge.empty()
        self._epoch_start = 0
        self._shown = 0  # The newest epoch that the database itself has shown.
        self._connection: Connection | None = None
        self._stopped: IntegrityViolation | None = None
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting = 0
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"writer {name}", daemon=True)
        self._thread.start()

    @property
    def stopped(self) -> IntegrityViolation | None:
        """Why the writer has stopped for good; None while it works."""
        return self._stopped

    @property
    def waiting(self) -> int:
        """How many events wait to be recorded."""
        return self._waiting

    def submit(self, batch: Sequence[Prepared]) -> "Future[list[Outcome]]":
        """Queue requests; the future has one outcome for each, in order, or raises for all.

        Raises Overloaded at once when too many wait: nothing is queued then.
        """
        with self._lock:
            if self._closed:
                raise WriterClosed
            if self._waiting and self._waiting + len(batch) > self._limits.queue_max:
                raise Overloaded
            self._waiting += len(batch)
            future: Future[list[Outcome]] = Future()
            self._queue.put((batch, future))
        return future

    def close(self) -> None:
        """Finish what waits, then end the thread and its connection."""
        with self._lock:
            self._closed = True
            self._queue.put(_CLOSE)
        self._thread.join()

    # The thread

    def _run(self) -> None:
        closing = False
        while not closing:
            jobs, closing = self._take()
            if jobs:
                self._answer(jobs)
        self._disconnect()

    def _take(self) -> tuple[list[_Job], bool]:
        """Wait for a job, then take all that wait, up to a batch."""
        jobs: list[_Job] = []
        taken = 0
        while taken < self._limits.batch_max:
            try:
                job = self._queue.get(block=not jobs)
            except queue.Empty:
                break
            if job is None:
                return jobs, True
            if job[1].set_running_or_notify_cancel():
                jobs.append(job)
                taken += len(job[0])
            else:  # Its caller has gone away; nothing was recorded.
                self._done(len(job[0]))
        return jobs, False

    def _answer(self, jobs: list[_Job]) -> None:
        batch = [prepared for prepareds, _ in jobs for prepared in prepareds]
        try:
            outcomes = self._commit(batch)
        except LedgerError as error:
            self._fail(jobs, error)
        except Exception as error:
            log.exception("writer of %s failed: %s", self._name, type(error).__name__)
            self._head = None
            self._fail(jobs, Unavailable("the ledger failed while recording; see its log"))
        else:
            at = 0
            for prepareds, future in jobs:
                future.set_result(outcomes[at : at + len(prepareds)])
                at += len(prepareds)
        self._done(len(batch))

    def _done(self, count: int) -> None:
        with self._lock:
            self._waiting -= count

    def _fail(self, jobs: list[_Job], error: LedgerError) -> None:
        if isinstance(error, IntegrityViolation) and self._stopped is None:
            self._stopped = error
            log.critical("writing to %s has stopped: %s (%s)", self._name, error, error.problem)
        for _, future in jobs:
            future.set_exception(error)

    def _commit(self, batch: Sequence[Prepared]) -> list[Outcome]:
        """Write one batch. Raises for the whole batch only Unavailable or IntegrityViolation."""
        if self._stopped is not None:
            raise self._stopped
        try:
            for _ in range(_SWAP_TRIES):
                try:
                    return self._write(self._current_head(), batch)
                except (HeadMoved, KeyDestroyed):
                    # Somebody else was first, and may have ended the epoch and destroyed its key.
                    self._head = None
            raise Unavailable("other writers were always first; send the same request again")
        except psycopg.errors.UniqueViolation as error:
            # The lookup saw none of these ids under this very head: index and bytes disagree.
            raise IntegrityViolation(
                "an index names an entry that the lookup did not see"
            ) from error
        except psycopg.Error as error:
            # Perhaps committed, perhaps not; the head that is read next will tell.
            self._disconnect()
            raise unavailable(error) from error

    def _write(self, head: Head, batch: Sequence[Prepared]) -> list[Outcome]:
        connection = self._connect()
        knowledge = self._lookup.load(connection, batch, self._states, head)
        # After the look: a head that others have moved on since would make time seem to jump.
        now_ms = self._timekeeper.now(connection, head)
        builder = Builder(
            chain=self._chain,
            head=head,
            edge=self._edge,
            knowledge=knowledge,
            tenant=self._tenant,
            now_ms=now_ms,
            epoch_start=self._epoch_start,
            epoch_entries=self._limits.epoch_entries,
        )
        if builder.must_seal(len(batch)):
            builder.seal_epoch()
        placed = [builder.add(prepared) for prepared in batch]
        built = builder.finish()
        checkpoint = b""
        if built is not None:
            self._insert(connection, built)
            self._states.keep(knowledge.states, built.log_version)
            self._epoch_start = builder.epoch_start
            checkpoint = self._seal(built)
            if built.swap.after.epoch != head.epoch:
                self._end_epochs(connection)
        return [_outcome(place, head, built, checkpoint) for place in placed]

    def _insert(self, connection: Connection, built: Built) -> None:
        """Send the one statement; autocommit makes its end the COMMIT: point of no return 1."""
        swap = built.swap
        self._head = None  # Until we know better.
        stored = [self._mapper.to_stored_event(row.entry) for row in swap.rows]
        self._recorder.insert_events(stored, connection=connection, swap=swap)
        self._head, self._edge = swap.after, built.edge

    def _seal(self, built: Built) -> bytes:
        swap = built.swap
        leaves = [row.link.leaf for row in swap.rows]
        return self._notary.seal(
            swap.after,
            base=swap.before.size,
            extension=swap.before.frontier.consistency(leaves),
        )

    def _end_epochs(self, connection: Connection) -> None:
        """Destroy the keys of ended epochs, now that the database itself shows the new one.

        What fails here fails no receipt: the head is read anew for the next batch.
        """
        try:
            self._shown = self._head_row.checked(connection, self._chain).epoch
        except (LedgerError, psycopg.Error) as error:
            log.warning("%s: the new epoch's head: %s", self._name, type(error).__name__)
            self._head = None
        self._forget_keys()

    def _forget_keys(self) -> None:
        """Destroy the keys of epochs that the database has shown to be over; no cost if done."""
        try:
            self._chain.forget_before(self._shown)
        except LedgerError as error:
            log.warning("%s: old chain keys are still there: %s", self._name, error.problem)

    def _current_head(self) -> Head:
        """Return the head to build on: known, checked, and under a signed checkpoint."""
        if self._head is not None and self._head.size < self._notary.size:
            self._head = None  # The store has seen more than we have.
        if self._head is None:
            self._head = self._read_head(self._connect())
        self._forget_keys()
        if self._head.size > self._notary.size:
            # Committed but not yet signed: by us when the store failed, or by one who died.
            self._notary.seal(self._head, base=self._head.size, extension=())
        return self._head

    def _read_head(self, connection: Connection) -> Head:
        head = self._head_row.checked(connection, self._chain)
        self._notary.check(head)
        self._shown = head.epoch
        self._states.forget()
        self._edge = load_edge(connection, self._schema, head.frontier)
        self._epoch_start = self._last_seal(connection) + 1
        return head

    def _last_seal(self, connection: Connection) -> int:
        row = connection.execute(
            sql.SQL(
                "SELECT coalesce(max(position), -1) FROM {}.entry WHERE topic = 'EPOCH_SEALED/1'"
            ).format(sql.Identifier(self._schema))
        ).fetchone()
        return row[0] if row is not None else -1

    def _connect(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._database.dedicated(self._schema, "append")
            self._timekeeper.compared()
            self._head = None  # A new connection may lead to another server.
        return self._connection

    def _disconnect(self) -> None:
        self._head = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _outcome(
    place: Row | Known | LedgerError, head: Head, built: Built | None, checkpoint: bytes
) -> Outcome:
    if isinstance(place, LedgerError):
        return place
    if isinstance(place, Known):
        return Repeated(position=place.position)
    if built is None:  # Cannot be: a row was placed.
        raise HistoryRewritten
    return Recorded(
        row=place,
        path=built.paths[place.link.position - head.size],
        checkpoint=checkpoint,
        size=built.swap.after.size,
    )
