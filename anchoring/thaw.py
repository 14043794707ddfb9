# SPDX-License-Identifier: GPL-3.0-or-later
"""Cold entries brought back for a while, by a job that can be asked how far it is.

A retrieval is written down first, so it outlives whoever asked; any process may work it off. Bytes
come back into a table that is in no WAL and no backup, and go when their time is over. Nothing is
shown to anybody here: reading them afterwards is a look like any other.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import sql

from anchoring.shelf import Book
from anchoring.sweep_desk import cold_of
from ledger import clock
from ledger.archive.store import Archive
from ledger.errors import LedgerError, MalformedEvent, NotFound
from ledger.retention import members as bits

#: Entries of one retrieval, and for how long they stay at most.
MOST: Final = 65_536
LONGEST_MS: Final = 365 * clock.DAY_MS

_COLUMNS: Final = "id::text, wanted, total, done, state, problem, until"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """One request to bring cold entries back."""

    id: str
    positions: Sequence[int]
    total: int
    done: int
    state: str  #: waiting, running, done or failed.
    problem: str | None
    until_ms: int

    def json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "state": self.state,
            "total": self.total,
            "done": self.done,
            "until": clock.rfc3339(self.until_ms),
            **({} if self.problem is None else {"problem": self.problem}),
        }


class Retrievals:
    """The retrievals of one Book. Without an archive they are only asked for and looked at."""

    def __init__(self, book: Book, archive: Archive | None) -> None:
        self._book = book
        self._cold = None if archive is None else cold_of(book, archive)

    def ask(self, positions: Iterable[int], *, until_ms: int) -> Retrieval:
        """Write a retrieval down; positions that are not cold cost nothing."""
        wanted = sorted(set(positions))
        now_ms = clock.now_ms()
        if not 1 <= len(wanted) <= MOST:
            raise MalformedEvent(f"a retrieval is of 1 to {MOST} entries")
        if wanted[-1] >= self._book.reader.head().size:
            raise NotFound("there is no such entry in this Book")
        id_ = str(clock.new_id())
        packed = b"".join(position.to_bytes(8, "big") for position in wanted)
        self._write(
            "INSERT INTO {book}.retrieval (id, wanted, total, until) VALUES (%s, %s, %s, %s)",
            (id_, packed, len(wanted), min(until_ms, now_ms + LONGEST_MS)),
        )
        return self.get(id_)

    def get(self, id_: str) -> Retrieval:
        """Return a retrieval; raises NotFound."""
        found = self._select("WHERE id = %s::uuid", id_)
        if not found:
            raise NotFound("there is no such retrieval")
        return found[0]

    def waiting(self) -> list[Retrieval]:
        """Return what is not worked off, oldest first; `running` may be somebody killed."""
        return self._select("WHERE state IN ('waiting', 'running') ORDER BY id LIMIT %s", 64)

    def work_all(self) -> int:
        """Work off what waits; returns how many retrievals that were."""
        waiting = self.waiting()
        for one in waiting:
            self.work(one.id)
        return len(waiting)

    def work(
        self, id_: str, progress: Callable[[int, int], None] = lambda _done, _all: None
    ) -> Retrieval:
        """Work a retrieval off, from its beginning: what is back already is fetched again.

        A bundle that cannot be read ends it as `failed`, with the problem's name.
        """
        wanted = self.get(id_)
        self._note(id_, 0, "running", None)
        done = 0
        try:
            for number, positions in bits.by_run(wanted.positions).items():
                self._bring_back(number, positions, wanted.until_ms)
                done += len(positions)
                self._note(id_, done, "running", None)
                progress(done, wanted.total)
        except LedgerError as error:
            self._note(id_, done, "failed", error.problem)
        else:
            self._note(id_, done, "done", None)
        return self.get(id_)

    def forget(self) -> None:
        """Delete what was brought back and is over, and the requests for it."""
        now_ms = clock.now_ms()
        for table in ("thawed", "retrieval"):
            self._write(f"DELETE FROM {{book}}.{table} WHERE until <= %s", (now_ms,))  # noqa: S608 - ours

    def _bring_back(self, number: int, positions: Sequence[int], until_ms: int) -> None:
        cold = self._cold
        if cold is None:
            return
        begin = number * bits.WIDTH
        for one in cold.bundles("b.number = %s AND m.name IS NOT NULL", number):
            wanted = set(positions).intersection(one.positions)
            wanted -= self._expired(number) | self._present(begin)
            if not wanted:
                continue
            bodies = cold.read(one)
            self._write_many([(at, bodies[at], until_ms) for at in sorted(wanted)])

    def _present(self, begin: int) -> set[int]:
        rows = self._rows(
            "SELECT position FROM {book}.entry_body WHERE position >= %s AND position < %s",
            (begin, begin + bits.WIDTH),
        )
        return {position for (position,) in rows}

    def _expired(self, number: int) -> set[int]:
        rows = self._rows(
            "SELECT t.members FROM {book}.tombstone t JOIN {book}.expired x"
            " USING (number, event_id) WHERE t.number = %s AND t.what = 'entry'",
            (number,),
        )
        return {at for (members,) in rows for at in bits.unpack(number, bytes(members))}

    def _note(self, id_: str, done: int, state: str, problem: str | None) -> None:
        self._write(
            "UPDATE {book}.retrieval SET done = %s, state = %s, problem = %s WHERE id = %s::uuid",
            (done, state, problem, id_),
        )

    def _select(self, where: str, *values: object) -> list[Retrieval]:
        query = f"SELECT {_COLUMNS} FROM {{book}}.retrieval {where}"  # noqa: S608 - ours
        return [
            Retrieval(
                id=id_,
                positions=[
                    int.from_bytes(wanted[at : at + 8], "big") for at in range(0, len(wanted), 8)
                ],
                total=total,
                done=done,
                state=state,
                problem=problem,
                until_ms=until,
            )
            for id_, wanted, total, done, state, problem, until in self._rows(query, values)
        ]

    def _rows(self, text: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._book.database.duty(self._book.row.schema, "read") as connection:
            return connection.execute(self._sql(text), values).fetchall()

    def _write(self, text: str, values: tuple[object, ...]) -> None:
        with self._book.database.duty(self._book.row.schema, "retain") as connection:
            connection.execute(self._sql(text), values)

    def _write_many(self, rows: Sequence[tuple[int, bytes, int]]) -> None:
        query = self._sql(
            "INSERT INTO {book}.thawed (position, bytes, until) VALUES (%s, %s, %s)"
            " ON CONFLICT (position) DO UPDATE SET until = greatest(thawed.until, excluded.until)"
        )
        with (
            self._book.database.duty(self._book.row.schema, "retain") as connection,
            connection.cursor() as cursor,
        ):
            cursor.executemany(query, rows)

    def _sql(self, text: str) -> sql.Composed:
        return sql.SQL(text).format(book=sql.Identifier(self._book.row.schema))
