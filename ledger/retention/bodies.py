# SPDX-License-Identifier: GPL-3.0-or-later
"""Where bodies lie in the database: partitions made ahead of the log, and dropping what may go.

Bodies lie in partitions by position. Dropping some of them rewrites their partition without them,
which frees its disk space at once; only a function of the owner can do it, and it refuses what is
held, or neither in a recorded bundle nor lawfully expired, whoever asks (`may_go` in
ledger/schema/book_retention.sql). A partition is locked for as long as
that takes; nobody waits for a lock longer than 300 ms, so a fsck that reads it makes the sweep come
back later and no writer stand in line.
"""

import re
from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg import sql

from ledger.database import Connection, Database
from ledger.errors import Unavailable
from ledger.retention.members import WIDTH
from ledger.retention.remains import TELLING, remains_of
from ledger.store import read_entry
from sealtrail.verify import canonical

#: A partition has at most so many positions, and at least one run.
PARTITION_MAX: Final = 262_144
#: So many partitions are made by one sweep at most.
_MADE: Final = 64
_BOUND: Final = re.compile(r"FOR VALUES FROM \('(\d+)'\) TO \('(\d+)'\)")

_PARTITIONS: Final = """
SELECT c.relname::text, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i
  JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = %s::regclass
"""


class BodiesBusy(Unavailable):
    """Somebody is reading this part of the log for long; the sweep comes back to it."""

    problem = "bodies-busy"


class Bodies:
    """The bodies of the Book in `schema`, for its sweep."""

    def __init__(self, database: Database, schema: str) -> None:
        self._database, self._schema = database, schema
        self._book = sql.Identifier(schema)

    def make_ahead(self, size: int, monthly: int) -> list[str]:
        """Make partitions so that the next ones are there; returns their names.

        monthly: entries of the last 30 days. A partition is to hold about a month, so that what is
        dropped from it is most of it. Raises BodiesBusy.
        """
        width = min(PARTITION_MAX, max(WIDTH, -(-monthly // WIDTH) * WIDTH))
        made: list[object] = []
        with self._database.duty(self._schema, "retain") as connection:
            end = self._covered(connection)
            begin = end if end is not None and end > size else -(-(size + 1) // WIDTH) * WIDTH
            while begin < size + 2 * width and len(made) < _MADE:
                made.append(self._call(connection, "make_bodies", begin, begin + width))
                begin += width
        return [str(name) for name in made]

    def present(self, begin: int, end: int) -> list[int]:
        """Return the positions of [begin, end) whose bodies are in the database, in order."""
        query = self._sql(
            "SELECT position FROM {book}.entry_body WHERE position >= %s AND position < %s"
            " ORDER BY position"
        )
        with self._database.duty(self._schema, "read") as connection:
            return [position for (position,) in connection.execute(query, (begin, end))]

    def drop(self, connection: Connection, child: str, positions: Sequence[int]) -> int:
        """Drop bodies from one partition, inside the caller's transaction; returns how many went.

        connection: with the duty `retain`. Raises BodiesBusy, after which the transaction goes on,
        and psycopg.errors.InsufficientPrivilege for a body that may not go.
        """
        with connection.transaction():  # A savepoint: somebody reads here, and all else stands.
            self._keep_remains(connection, positions)
            return int(str(self._call(connection, "drop_bodies", child, list(positions))))

    def fold(self, size: int) -> list[str]:
        """Drop the partitions in which nothing is left but what stays for ever, which moves.

        A statement that may look anywhere locks every partition there is, so there must be few.
        """
        folded = []
        with self._database.duty(self._schema, "retain") as connection:
            rows = connection.execute(_PARTITIONS, (f'"{self._schema}".entry_body',)).fetchall()
            bounds = [(found, name) for name, text in rows if (found := _BOUND.fullmatch(text))]
            old = sorted((int(found[1]), name) for found, name in bounds if int(found[2]) <= size)
            for _, name in old[:_MADE]:
                query = sql.SQL("SELECT {}.fold_bodies(%s)").format(self._book)
                try:
                    row = connection.execute(query, (name,)).fetchone()
                except psycopg.errors.LockNotAvailable as error:
                    raise BodiesBusy from error
                if row is not None and row[0]:
                    folded.append(str(name))
        return folded

    def children(self, positions: Sequence[int]) -> list[tuple[str, list[int]]]:
        """Return (partition, positions in it) of the bodies that are in the database."""
        query = self._sql(
            "SELECT c.relname::text, array_agg(b.position ORDER BY b.position)"
            " FROM {book}.entry_body b JOIN pg_class c ON c.oid = b.tableoid"
            " WHERE b.position = ANY(%s) GROUP BY 1 ORDER BY min(b.position)"
        )
        with self._database.duty(self._schema, "read") as connection:
            return connection.execute(query, (list(positions),)).fetchall()

    def _keep_remains(self, connection: Connection, positions: Sequence[int]) -> None:
        """Keep of bodies that go what later states of their streams need."""
        rows = connection.execute(
            self._sql(
                "SELECT e.position, b.bytes FROM {book}.entry e JOIN {book}.entry_body b"
                " USING (position) WHERE e.position = ANY(%s) AND e.topic = ANY(%s)"
            ),
            (list(positions), list(TELLING)),
        ).fetchall()
        for position, data in rows:
            value = read_entry(bytes(data)).value
            kept = remains_of(value["type"], value["body"])
            if kept is not None:
                connection.execute(
                    self._sql(
                        "INSERT INTO {book}.remains (position, body) VALUES (%s, %s)"
                        " ON CONFLICT DO NOTHING"
                    ),
                    (position, canonical.encode(kept)),
                )

    def _covered(self, connection: Connection) -> int | None:
        """Return the position after the last partition; None if there is none but the rest."""
        rows = connection.execute(_PARTITIONS, (f'"{self._schema}".entry_body',)).fetchall()
        ends = [int(found[2]) for _, text in rows if (found := _BOUND.fullmatch(text))]
        return max(ends, default=None)

    def _call(self, connection: Connection, function: str, *arguments: object) -> object:
        """Call a function of the Book with two arguments."""
        query = sql.SQL("SELECT {}.{}(%s, %s)").format(self._book, sql.Identifier(function))
        try:
            row = connection.execute(query, arguments).fetchone()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.CheckViolation) as error:
            # Somebody reads there; or the log was faster, and the rest holds what was to go in.
            raise BodiesBusy from error
        return None if row is None else row[0]

    def _sql(self, text: str) -> sql.Composed:
        return sql.SQL(text).format(book=self._book)
