# SPDX-License-Identifier: GPL-3.0-or-later
"""The writer: one thread per Book and process that turns waiting requests into commits.

    submit ──► queue ──► take what waits ──► build ──► one statement ──► COMMIT
                                                                     ◄ point of no return 1
             receipts ◄── checkpoint store accepts ◄── sign the new root ◄──┘   (ledger.sealer)

There is no timer: what queued while the last commit ran is the next batch. Any number of processes
may write one Book; the head row orders them. A writer that loses the swap reads the head again,
checks its tag and that it extends everything signed before, and builds the batch anew.

Nearly every batch holds only new ids, and streams that are new or remembered. So a batch is built
on that assumption first, and what the database knows is asked only when a refusal, a repeat or a
unique index says otherwise (`Lookup.assume`).

After a COMMIT whose answer was lost nobody here knows; the requests are answered 503, and the same
requests sent again find their entries or are recorded then. Once the ledger contradicts itself the
writer stops and stays stopped.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from ledger import clock
from ledger.batch import EPOCH_ENTRIES, Builder, Built
from ledger.clock import Clock
from ledger.database import Connection, Database, unavailable
from ledger.errors import (
    IntegrityViolation,
    LedgerError,
    Unavailable,
)
from ledger.head import Chain, Head, HeadRow
from ledger.inbox import Inbox, Job, Room
from ledger.keys import KeyDestroyed
from ledger.lookup import Knowledge, Known, Lookup, States
from ledger.outcome import Outcome
from ledger.request import Prepared
from ledger.sealer import Sealer, Work
from ledger.store import HeadMoved, LedgerRecorder, Row
from ledger.tiles import Edge, load_edge
from ledger.timekeeper import ClockJump, Timekeeper
from ledger.vault.statement import SUBJECTS, VaultMoved
from ledger.vault.vault import Vault
from ledger.written import Written

log = logging.getLogger("sealtrail.writer")

_SWAP_TRIES: Final = 64

#: Swaps lost in a row, after which a writer takes the head row first: whoever has just written has
#: its head at hand, and without a pause would be first for ever.
_PATIENT: Final = 4
_SHOWER: Final = 32

#: With fewer events around than this, no commit begins before the last one is answered: two small
#: commits cost nearly twice as much as one, and who waits for a receipt sends no new event.
_WORTHWHILE: Final = 128


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
class Limits(Room):
    """Bounds of one writer; see docs/settings.md."""

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
        vault: Vault,
        notary: Notary,
        limits: Limits | None = None,
        now_ms: Clock = clock.now_ms,
    ) -> None:
        self._database, self._schema, self._name, self._tenant = database, schema, name, tenant
        self._chain, self._vault, self._notary = chain, vault, notary
        self._limits = limits or Limits()
        self._timekeeper = Timekeeper(
            database, book=name, jump_ms=self._limits.jump_ms, now_ms=now_ms
        )
        self._recorder = LedgerRecorder(database, schema)
        self._lookup = Lookup(schema)
        self._states = States()
        self._head_row = HeadRow(schema)
        self._head: Head | None = None  # None: read it before the next batch.
        self._edge = Edge.empty()
        self._epoch_start = 0
        self._shown = 0  # The newest epoch that the database itself has shown.
        self._connection: Connection | None = None
        self._stopped: IntegrityViolation | None = None
        self._asked = 0  # So many batches more are looked up before they are built.
        self._inbox = Inbox(self._limits)
        self._sealer = Sealer(name, self._unexpected)
        self._thread = threading.Thread(target=self._run, name=f"writer {name}", daemon=True)
        self._thread.start()

    @property
    def stopped(self) -> IntegrityViolation | None:
        """Why the writer has stopped for good; None while it works."""
        return self._stopped

    @property
    def inbox(self) -> Inbox:
        """Where requests wait for this writer."""
        return self._inbox

    @property
    def waiting(self) -> int:
        """How many events wait to be recorded."""
        return self._inbox.waiting

    def close(self) -> None:
        """Finish what waits, then end the threads and the connection."""
        self._inbox.close()
        self._thread.join()

    # The thread

    def _run(self) -> None:
        closing = False
        while not closing:
            jobs, closing = self._inbox.take()
            if jobs:
                self._answer(jobs)
        self._sealer.close()
        self._disconnect()

    def _answer(self, jobs: list[Job]) -> None:
        batch = [prepared for job in jobs for prepared in job.batch]
        began = clock.monotonic()
        try:
            written = self._commit(batch)
        except LedgerError as error:
            self._tell(jobs, error)
        except Exception as error:  # noqa: BLE001 - a bug must not leave callers waiting for ever
            self._head = None
            self._tell(jobs, self._unexpected(error))
        else:
            self._sealer.finish(
                Work(
                    seal=None if written.built is None else partial(self._seal, written.built),
                    answer=lambda sealed: self._tell(jobs, written.outcomes(sealed)),
                ),
                later=self._inbox.waiting >= _WORTHWHILE,
            )
            self._inbox.note_pace(len(batch), clock.monotonic() - began)

    def _tell(self, jobs: list[Job], outcomes: list[Outcome] | LedgerError) -> None:
        """Answer the callers, in order of their coming; an error is every caller's."""
        if isinstance(outcomes, IntegrityViolation) and self._stopped is None:
            self._stopped = outcomes
            log.critical(
                "writing to %s has stopped: %s (%s)", self._name, outcomes, outcomes.problem
            )
        self._inbox.tell(jobs, outcomes)

    def _unexpected(self, error: Exception) -> Unavailable:
        log.error("writer of %s failed: %s", self._name, type(error).__name__, exc_info=error)
        return Unavailable("the ledger failed while recording; see its log")

    def _commit(self, batch: Sequence[Prepared]) -> Written:
        """Write one batch. Raises for the whole batch only Unavailable or IntegrityViolation."""
        if self._stopped is not None:
            raise self._stopped
        try:
            for lost in range(_SWAP_TRIES):
                try:
                    if lost < _PATIENT:
                        return self._write(self._current_head(), batch)
                    return self._write_in_turn(batch)
                except (HeadMoved, KeyDestroyed):
                    # Somebody else was first, and may have ended the epoch and destroyed its key.
                    self._head = None
                except VaultMoved:  # Somebody was erased, or keys were rotated.
                    self._head = None
                    self._vault.forget()
                except psycopg.errors.UniqueViolation as error:
                    if error.diag.table_name not in SUBJECTS:
                        raise
                    self._head = None  # Another process has just met the same person.
                    self._vault.doubt()
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

    def _write_in_turn(self, batch: Sequence[Prepared]) -> Written:
        """Write while nobody else can: the others wait for this COMMIT, once."""
        connection = self._connect()
        with connection.transaction():
            self._head_row.hold(connection)
            self._head, self._asked = None, max(1, self._asked)
            return self._write(self._current_head(), batch)

    def _write(self, head: Head, batch: Sequence[Prepared]) -> Written:
        connection = self._connect()
        if self._asked:
            self._asked -= 1
        else:
            written = self._write_assuming(connection, head, batch)
            if written is not None:
                return written
        knowledge = self._lookup.load(connection, batch, self._states, head)
        # After the look: a head that others have moved on since would make time seem to jump.
        now_ms = self._timekeeper.now(connection, head)
        builder, placed = self._build(head, batch, knowledge, now_ms)
        return self._written(connection, builder, batch, placed)

    def _write_assuming(
        self, connection: Connection, head: Head, batch: Sequence[Prepared]
    ) -> Written | None:
        """Write without asking first; None if the database has to be asked after all."""
        knowledge = self._lookup.assume(batch, self._states)
        if knowledge is None:
            return None
        try:
            now_ms = self._timekeeper.now(connection, head)
            builder, placed = self._build(head, batch, knowledge, now_ms)
            if not placed or not all(type(place) is Row for place in placed):
                return None  # A refusal or a repeat is believed only after a look.
            return self._written(connection, builder, batch, placed)
        except ClockJump:
            return None
        except psycopg.errors.UniqueViolation:
            # Undone, all of it. Repeats come in showers, so the next batches are looked up too.
            self._head, self._asked = head, _SHOWER
            self._vault.doubt()
            return None

    def _build(
        self, head: Head, batch: Sequence[Prepared], knowledge: Knowledge, now_ms: int
    ) -> tuple[Builder, list[Row | Known | LedgerError]]:
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
        return builder, [builder.add(prepared) for prepared in batch]

    def _written(
        self,
        connection: Connection,
        builder: Builder,
        batch: Sequence[Prepared],
        placed: list[Row | Known | LedgerError],
    ) -> Written:
        """Send what was built, if anything; autocommit makes the end of it the COMMIT."""
        built = builder.finish()
        if built is not None:
            swap = built.swap
            new = [one for one, place in zip(batch, placed, strict=True) if type(place) is Row]
            sealings = self._vault.seal(connection, new)
            self._head = None  # Until we know better.
            self._recorder.append(connection, swap, sealings)  # Point of no return 1.
            self._vault.keep(sealings)
            self._head, self._edge = swap.after, built.edge
            self._states.keep(builder.states, built.log_version, swap.rows)
            self._epoch_start = builder.epoch_start
            if swap.after.epoch != swap.before.epoch:
                self._end_epochs(connection)
        return Written(placed=placed, built=built)

    def _seal(self, built: Built) -> bytes:
        swap = built.swap
        return self._notary.seal(swap.after, base=swap.before.size, extension=built.extension)

    def _end_epochs(self, connection: Connection) -> None:
        """Destroy the keys of ended epochs, now that the database itself shows the new one.

        What fails here fails no receipt: the head is read anew for the next batch.
        """
        if connection.info.transaction_status != TransactionStatus.IDLE:
            self._head = None  # Before the COMMIT the database shows nothing; the next look will.
            return
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
        """Return the head to build on: known, checked, and under a signed checkpoint or about to.

        While the sealer is at work the last commits' checkpoints are still on their way.
        """
        if self._head is None or self._sealer.failed:
            self._sealer.drain()  # What was committed is signed, or its callers know.
            if self._stopped is not None:
                raise self._stopped
        if self._head is not None and self._head.size < self._notary.size:
            self._head = None  # The store has seen more than we have.
        if self._head is None:
            self._head = self._read_head(self._connect())
        self._forget_keys()
        if self._head.size > self._notary.size and not self._sealer.busy:
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
            self._vault.forget()
            self._head = None  # A new connection may lead to another server.
        return self._connection

    def _disconnect(self) -> None:
        self._head = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
