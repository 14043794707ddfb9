# SPDX-License-Identifier: GPL-3.0-or-later
"""The Books of one process: opened when first needed, closed when long unused.

Opening a Book checks it: the head's tag, the checkpoint store, and that the one extends the other.
All Books share one pool of connections; none shares a lock with another, and one that cannot be
opened keeps no other from being used.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Final

from anchoring.checkpoint import CheckpointNotary
from anchoring.checkpoint_store import FileCheckpointStore
from anchoring.tree import Tree
from ledger import clock
from ledger.clock import Clock
from ledger.database import Database
from ledger.errors import LedgerError, NotFound, Unavailable
from ledger.head import Chain, HeadRow
from ledger.inbox import Job, WriterClosed, awaited
from ledger.keys import Keys
from ledger.migrate import BookRow, books
from ledger.outcome import Outcome, Recorded, Repeated
from ledger.reader import Reader
from ledger.request import Prepared
from ledger.vault.vault import Vault
from ledger.writer import Limits, Writer

_ANSWER_S: Final = 60.0
_REGISTRY_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """One open log: whoever records, proves or reads goes through here."""

    row: BookRow
    database: Database
    keys: Keys
    chain: Chain
    tree: Tree
    reader: Reader
    vault: Vault
    notary: CheckpointNotary
    writer: Writer
    reopened: "Callable[[], Book]"  #: Opens this Book again, should the shelf have put it away.

    @property
    def origin(self) -> str:
        return self.row.origin

    def record(self, batch: Sequence[Prepared]) -> "Future[list[Outcome]]":
        """Queue requests; each gets its own outcome, in order."""
        job, future = awaited(batch)
        self.put(job)
        return future

    def put(self, job: Job) -> None:
        """Like `record`, for one who waits without a future."""
        try:
            self.writer.inbox.put(job)
        except WriterClosed:
            # The shelf put this Book away while somebody still held it.
            self.reopened().writer.inbox.put(job)

    def record_own(self, prepared: Prepared) -> Recorded | Repeated:
        """Record one entry of the ledger's own and wait for it; raises what refused it."""
        (outcome,) = self._wait([prepared])
        if isinstance(outcome, LedgerError):
            raise outcome
        return outcome

    def settle(self) -> None:
        """Sign a head that is not signed yet, and end the epoch if midnight has passed."""
        self._wait([])

    def _wait(self, batch: Sequence[Prepared]) -> list[Outcome]:
        try:
            return self.record(batch).result(timeout=_ANSWER_S)
        except TimeoutError as error:
            raise Unavailable("the writer has not answered in a minute") from error


class Shelf:
    """Opens, keeps and closes the Books of one database."""

    def __init__(
        self,
        *,
        database: Database,
        keys: Keys,
        store: FileCheckpointStore,
        limits: Limits | None = None,
        open_max: int = 64,
        now_ms: Clock = clock.now_ms,
    ) -> None:
        self.database, self.keys, self.store = database, keys, store
        self._limits, self._open_max, self._now_ms = limits, open_max, now_ms
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Book] = OrderedDict()
        self._opening: dict[str, threading.Lock] = {}
        self._unopened: dict[str, str] = {}  # Name and problem of Books that could not be opened.
        self._unchecked: list[Book] = []
        self._closed = False
        self._registry: tuple[float, dict[str, BookRow]] = (0.0, {})

    def rows(self) -> dict[str, BookRow]:
        """Return every Book of the registry by name, at most a few seconds old."""
        if self._registry[0] < clock.monotonic():
            with self.database.connection() as connection:
                found = {row.name: row for row in books(connection)}
            self._registry = (clock.monotonic() + _REGISTRY_S, found)
        return self._registry[1]

    def opened(self, name: str) -> Book | None:
        """Return the Book if it is open already; never waits for anything outside."""
        with self._lock:
            return None if self._closed else self._known(name)

    def open_books(self) -> list[Book]:
        """Return the Books that are open now."""
        with self._lock:
            return list(self._open.values())

    def unopened(self) -> dict[str, str]:
        """Return the problem of each Book that could not be opened when it was last tried."""
        with self._lock:
            return dict(self._unopened)

    def book(self, name: str) -> Book:
        """Return the Book of that name, opened and checked; raises NotFound."""
        with self._lock:
            found = self._known(name)
        if found is not None:
            return found
        row = self.rows().get(name)
        if row is None:
            raise NotFound("there is no Book of that name")
        with self._lock:
            turn = self._opening.setdefault(name, threading.Lock())
        with turn:  # One opening of one Book at a time; others do not wait for it.
            with self._lock:
                found = self._known(name)
            if found is not None:
                return found
            book = self._try_to_open(row)
            with self._lock:
                closing = [book] if self._closed else self._put(book)
        for old in closing:
            old.writer.close()
        if self._closed:
            raise WriterClosed
        return book

    def unchecked(self, name: str) -> Book:
        """Return a Book that nobody has checked, for whoever looks for damage in it.

        Never record with it. Raises NotFound, and CheckpointMissing or CheckpointDamaged if the
        checkpoint store cannot speak for its log.
        """
        row = self.rows().get(name)
        if row is None:
            raise NotFound("there is no Book of that name")
        book = self._assemble(row)
        with self._lock:
            self._unchecked.append(book)
        return book

    def access_book(self, tenant: str) -> Book:
        """Return the Book that records who looked at what of this tenant."""
        return self.book(f"{tenant}-access")

    def close(self) -> None:
        """Finish what waits in every Book and close it."""
        with self._lock:
            self._closed = True
            closing = [*self._open.values(), *self._unchecked]
            self._open.clear()
            self._unchecked.clear()
        for book in closing:
            book.writer.close()

    def _try_to_open(self, row: BookRow) -> Book:
        """Open a Book, and remember for whoever watches if that failed."""
        try:
            book = self._open_book(row)
        except Exception as error:
            problem = error.problem if isinstance(error, LedgerError) else "internal-error"
            with self._lock:
                self._unopened[row.name] = problem
            raise
        with self._lock:
            self._unopened.pop(row.name, None)
        return book

    def _open_book(self, row: BookRow) -> Book:
        Chain(self.keys, row.origin).check_open()
        book = self._assemble(row)
        try:
            with self.database.duty(row.schema, "read") as connection:
                head = HeadRow(row.schema).checked(connection, book.chain)
            book.notary.check(head)
        except BaseException:
            book.writer.close()
            raise
        return book

    def _assemble(self, row: BookRow) -> Book:
        """Put a Book together; nothing of it is checked but that the store knows its log."""
        tree = Tree(self.database, row.schema)
        chain = Chain(self.keys, row.origin)
        notary = CheckpointNotary(origin=row.origin, keys=self.keys, store=self.store, tree=tree)
        reader = Reader(self.database, row.schema)
        vault = Vault(self.database, schema=row.schema, origin=row.first_origin, keys=self.keys)
        writer = Writer(
            self.database,
            schema=row.schema,
            name=row.name,
            tenant=row.tenant,
            chain=chain,
            vault=vault,
            notary=notary,
            limits=self._limits,
            now_ms=self._now_ms,
        )
        return Book(
            row=row,
            database=self.database,
            keys=self.keys,
            chain=chain,
            tree=tree,
            reader=reader,
            vault=vault,
            notary=notary,
            writer=writer,
            reopened=partial(self.book, row.name),
        )

    def _known(self, name: str) -> Book | None:
        if self._closed:
            raise WriterClosed
        found = self._open.get(name)
        if found is not None:
            self._open.move_to_end(name)
        return found

    def _put(self, book: Book) -> list[Book]:
        """Keep a Book, and return those to be closed: the ones unused longest.

        A Book whose writer has stopped stays: opened again it would not know why it stopped.
        """
        self._open[book.row.name] = book
        idle = [old for old in self._open.values() if old is not book and not old.writer.stopped]
        closing = idle[: max(0, len(self._open) - self._open_max)]
        for old in closing:
            del self._open[old.row.name]
        return closing
