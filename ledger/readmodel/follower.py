# SPDX-License-Identifier: GPL-3.0-or-later
"""Feeds the projections: follows the log in batches, each of them one transaction with its place.

    lock the positions ──► entries below the head ──► each projection writes ──► move on ──► COMMIT
      (all, or come back)     (bytes hash to leaf)      (one that fails stays behind, alone)

It takes no lock that recording needs. Projections that stand at the same position read together:
what is far behind waits for what is further behind, and what is near the head for nobody. Only what
the head covers is read. Each position is kept with the leaf before it: where the log says another
leaf now, or has become shorter, as after a restore, the projection begins again.
"""

from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from psycopg import sql

from ledger import clock
from ledger.database import Connection, Database, set_role
from ledger.errors import EntryDamaged
from ledger.readmodel.projection import Bare, Item, Projection, WholeProjection
from ledger.readmodel.projections import PROJECTIONS
from ledger.readmodel.stored import entry_of
from ledger.retention.remains import body_from

#: So many entries are read at a time: a few MiB of bytes.
BATCH: Final = 4_096
_WAIT_S: Final = 0.02

_MAKE: Final = """
INSERT INTO {book}.readmodel (name, position) SELECT n, 0 FROM unnest(%s::text[]) AS n
    ON CONFLICT DO NOTHING
"""
_TURN: Final = """
SELECT name, position, leaf FROM {book}.readmodel WHERE name = ANY(%s) ORDER BY name
   FOR UPDATE SKIP LOCKED
"""
_THERE: Final = "SELECT name FROM {book}.readmodel WHERE name = ANY(%s)"
_WHERE: Final = """
SELECT h.size, coalesce((
       SELECT min(CASE WHEN r.position = 0 OR (r.position <= h.size AND e.leaf = r.leaf)
                       THEN r.position ELSE 0 END)
         FROM {book}.readmodel r LEFT JOIN {book}.entry e ON e.position = r.position - 1
        WHERE r.name = ANY(%(names)s) HAVING count(*) = cardinality(%(names)s)), 0)
  FROM {book}.head h WHERE h.id = 1
"""
_SIZE: Final = "SELECT size FROM {book}.head WHERE id = 1"
_LEAF: Final = "SELECT leaf FROM {book}.entry WHERE position = %s"
_ENTRIES: Final = """
SELECT e.position, e.leaf, e.event_id::text, e.topic, e.stream, e.recorded_at, b.bytes, r.body
  FROM {book}.entry e LEFT JOIN {book}.entry_body b USING (position)
  LEFT JOIN {book}.remains r USING (position)
 WHERE e.position >= %s AND e.position < %s ORDER BY e.position
"""
_MOVE: Final = "UPDATE {book}.readmodel SET position = %s, leaf = %s WHERE name = %s"

Progress = Callable[[int, int], None]


class Followed(NamedTuple):
    """How far a follower came."""

    entries: int  #: Read in this run, by whichever projection.
    behind: int  #: Entries that the last of its projections has still to read.
    size: int  #: Of the log, as it was last seen.
    busy: bool = False  #: Another follower is at some of them.


class AsOf(NamedTuple):
    """Up to where the read model has read."""

    position: int  #: It has read the entries before this position.
    behind: int  #: So many acknowledged entries it had not read when it was asked.


class _Place(NamedTuple):
    """Where a projection stands."""

    projection: Projection
    position: int
    leaf: bytes | None


class Follower:
    """Feeds projections of the Book in `schema`; any number of them, one at a time works."""

    def __init__(
        self,
        database: Database,
        schema: str,
        projections: Sequence[Projection] = PROJECTIONS,
        *,
        batch: int = BATCH,
    ) -> None:
        self._database, self._schema, self._batch = database, schema, batch
        self._projections = {one.name: one for one in projections}

    def run(
        self, *, budget_s: float = 30.0, progress: Progress = lambda _done, _whole: None
    ) -> Followed:
        """Read what is new until there is nothing more, or for about `budget_s` seconds.

        Raises what a projection raised, after the others have moved on.
        """
        until = clock.monotonic() + budget_s
        entries = 0
        while True:
            done = self.step()
            entries += done.entries
            progress(done.size - done.behind, done.size)
            if done.busy or not done.behind or clock.monotonic() > until:
                return done._replace(entries=entries)

    def step(self) -> Followed:
        """Read one batch for each place where projections stand, in one transaction."""
        failed: list[Exception] = []
        with (
            self._database.duty(self._schema, "append") as connection,
            connection.transaction(),
        ):
            places = self._turn(connection)
            row = connection.execute(self._sql(_SIZE)).fetchone()
            size = int(row[0]) if row is not None else 0
            if len(places) < len(self._projections):
                # Two who share them out would each read the log, and go on doing so.
                return Followed(0, 0, size, busy=True)
            places = [self._again_if_rewound(connection, one, size) for one in places]
            read = behind = 0
            stops = sorted({one.position for one in places} | {size})
            for begin, stop in pairwise(stops):
                if begin > stops[0] and size - begin > self._batch:
                    continue  # The last ones come up to here and go on together with these.
                end = min(stop, begin + self._batch)
                group = [one.projection for one in places if one.position == begin]
                failed += self._feed(connection, group, begin, end)
                read += end - begin
                behind = max(behind, size - end)
        if failed:
            raise failed[0]
        return Followed(read, behind, size)

    def start_again(self) -> None:
        """Empty the projections' tables; the next steps fill them again. Waits for its turn."""
        with (
            self._database.duty(self._schema, "append") as connection,
            connection.transaction(),
        ):
            names = sorted(self._projections)
            connection.execute(self._sql(_MAKE), (names,))
            connection.execute(
                self._sql(
                    "SELECT 1 FROM {book}.readmodel WHERE name = ANY(%s) ORDER BY name FOR UPDATE"
                ),
                (names,),
            )
            for one in self._projections.values():
                self._empty(connection, one)

    def _turn(self, connection: Connection) -> list[_Place]:
        """Lock the positions; those that another follower has locked are left out.

        Makes those that are not there.
        """
        names = sorted(self._projections)
        rows = connection.execute(self._sql(_TURN), (names,)).fetchall()
        if len(rows) < len(names):
            # Only what is not there is inserted: a conflict would wait for whoever moves that row.
            there = {name for (name,) in connection.execute(self._sql(_THERE), (names,))}
            missing = [name for name in names if name not in there]
            if missing:
                connection.execute(self._sql(_MAKE), (missing,))
                rows = connection.execute(self._sql(_TURN), (names,)).fetchall()
        return [
            _Place(self._projections[name], position, None if leaf is None else bytes(leaf))
            for name, position, leaf in rows
        ]

    def _again_if_rewound(self, connection: Connection, place: _Place, size: int) -> _Place:
        """Begin again where this is not the log that was read."""
        if place.position == 0:
            return place
        row = connection.execute(self._sql(_LEAF), (place.position - 1,)).fetchone()
        if place.position <= size and row is not None and bytes(row[0]) == place.leaf:
            return place
        self._empty(connection, place.projection)
        return _Place(place.projection, 0, None)

    def _empty(self, connection: Connection, projection: Projection) -> None:
        """Truncate a projection's tables: as `retain`, for `append` removes nothing."""
        connection.execute(set_role(self._schema, "retain"))
        for table in projection.tables:
            query = sql.SQL("TRUNCATE {}").format(sql.Identifier(self._schema, table))
            connection.execute(query)
        connection.execute(set_role(self._schema, "append"))
        connection.execute(self._sql(_MOVE), (0, None, projection.name))

    def _feed(
        self, connection: Connection, group: list[Projection], begin: int, end: int
    ) -> list[Exception]:
        """Give [begin, end) to the projections that stand at `begin`; returns what they raised."""
        rows = connection.execute(self._sql(_ENTRIES), (begin, end), binary=True).fetchall()
        if len(rows) != end - begin:
            raise EntryDamaged(f"entries between {begin} and {end} are gone")
        items: list[Item] = []
        bare: list[Bare] = []
        for position, leaf, event_id, topic, stream, recorded_ms, data, kept in rows:
            type_ = topic.partition("/")[0]
            entry = None if data is None else entry_of(data, leaf)
            if entry is None:
                body = {} if kept is None else body_from(topic, kept)
                bare.append(Bare(position, event_id, type_, recorded_ms, stream, body))
            else:
                items.append(Item(position, event_id, type_, recorded_ms, leaf, entry))
        failed: list[Exception] = []
        for one in group:
            try:
                with connection.transaction():
                    if isinstance(one, WholeProjection):
                        one.write_whole(connection, self._schema, items, bare)
                    else:
                        one.write(connection, self._schema, items)
                    connection.execute(self._sql(_MOVE), (end, rows[-1][1], one.name))
            except Exception as error:  # One question's fault is no other's.
                if connection.broken:
                    raise
                failed.append(error)
        return failed

    def _sql(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(book=sql.Identifier(self._schema))


def catch_up(
    database: Database,
    schema: str,
    names: Collection[str] | None = None,
    *,
    projections: Sequence[Projection] = PROJECTIONS,
    budget_s: float = 2.0,
) -> AsOf:
    """Have projections read all that was acknowledged before this call, or as much as time allows.

    names: of the projections that are to be read from; None: all. Returns what a reader then may
    rely on: whoever shows anything says it, too. Raises what a projection raises.
    """
    chosen = [one for one in projections if names is None or one.name in names]
    wanted = sorted(one.name for one in chosen)
    until = clock.monotonic() + budget_s
    follower = Follower(database, schema, chosen)
    query = sql.SQL(_WHERE).format(book=sql.Identifier(schema))
    target: int | None = None
    while True:
        with database.duty(schema, "read") as connection:
            row = connection.execute(query, {"names": wanted}).fetchone()
        size, position = row if row is not None else (0, 0)
        target = size if target is None else target
        if position >= target or clock.monotonic() > until:
            return AsOf(position, max(0, target - position))
        if follower.step().busy:
            clock.pause(_WAIT_S)


def standings(
    database: Database, schema: str, projections: Sequence[Projection] = PROJECTIONS
) -> list[tuple[str, int, int]]:
    """Return how far each projection has read: name, position, and the log's size."""
    query = sql.SQL(
        "SELECT h.size, r.name, r.position FROM {book}.head h LEFT JOIN {book}.readmodel r"
        " ON true WHERE h.id = 1"
    ).format(book=sql.Identifier(schema))
    with database.duty(schema, "read") as connection:
        rows = connection.execute(query).fetchall()
    read = {name: position for _, name, position in rows}
    size = int(rows[0][0]) if rows else 0
    return [(one.name, read.get(one.name, 0), size) for one in projections]


def rebuild(
    database: Database,
    schema: str,
    projections: Sequence[Projection] = PROJECTIONS,
    *,
    progress: Progress = lambda _done, _whole: None,
) -> int:
    """Drop what projections have written and read the log again; returns how many entries it has.

    Others may go on reading meanwhile and are told how far it is. Interrupted, it goes on by itself
    with the next follower.
    """
    follower = Follower(database, schema, projections)
    follower.start_again()
    while True:
        done = follower.step()
        if done.busy:
            clock.pause(_WAIT_S)
            continue
        progress(done.size - done.behind, done.size)
        if not done.behind:
            return done.size
