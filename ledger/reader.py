# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading recorded entries, with every column held against the bytes.

A row whose columns, leaf or body do not agree is not handed out: it raises EntryDamaged. The MAC is
checked by fsck, which walks the chain; a single row cannot show its predecessor. Bytes that have
left the database lawfully are told apart from those that are missing (ledger.retention.tiers).
"""

from dataclasses import dataclass
from typing import Any, Final

from psycopg import sql

from ledger.database import Connection, Database
from ledger.errors import EntryDamaged, NotFound
from ledger.head import Head, HeadRow
from ledger.retention.tiers import Tier, brought_back, place_of
from ledger.store import Entry, read_entry
from sealtrail.verify.merkle import leaf_hash

_ROW: Final = """
SELECT e.position, e.leaf, e.mac, e.event_id::text, e.stream, e.version, e.topic, e.recorded_at,
       e.request_digest, e.source_id, e.source_n, b.bytes
  FROM {book}.entry e LEFT JOIN {book}.entry_body b USING (position)
"""

#: No log ever has so many entries.
_LAST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One entry as it lies in the Book: bytes, and the columns that agreed with them."""

    position: int
    leaf: bytes
    mac: bytes
    request_digest: bytes
    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Where an entry stands, whether or not its bytes are at hand: enough to prove it."""

    position: int
    leaf: bytes
    event_id: str
    recorded_ms: int
    tier: Tier


class Reader:
    """Reads entries of the Book in `schema` with the read role.

    What returns entries raises BodyCold or BodyExpired for one whose bytes are not at hand.
    """

    def __init__(self, database: Database, schema: str) -> None:
        self._database, self._schema = database, schema
        self._select = sql.SQL(_ROW).format(book=sql.Identifier(schema))
        self._range = self._select + sql.SQL(
            " WHERE e.position >= %s AND e.position < %s ORDER BY e.position"
        )
        self._head = HeadRow(schema)

    def head(self) -> Head:
        with self._database.duty(self._schema, "read") as connection:
            return self._head.read(connection)

    def at(self, position: int) -> Stored:
        """Return the entry at `position`; raises NotFound, EntryDamaged."""
        return self._one(sql.SQL(" WHERE e.position = %s"), position)

    def find(self, event_id: str) -> Stored:
        """Return the entry of an event; raises NotFound, EntryDamaged."""
        return self._one(sql.SQL(" WHERE e.event_id = %s::uuid"), event_id)

    def between(self, begin: int, end: int) -> list[Stored]:
        """Return the entries of positions [begin, end), in order."""
        with self._database.duty(self._schema, "read") as connection:
            rows = connection.execute(self._range, (begin, end)).fetchall()
            return [self._checked(connection, row) for row in rows]

    def of_topic(
        self, topic: str, *, begin: int = 0, end: int | None = None, limit: int = 1_000
    ) -> list[Stored]:
        """Return entries of one rare topic (see the index entry_rare), newest first.

        begin, end: only those of positions [begin, end).
        """
        query = self._select + sql.SQL(
            " WHERE e.topic = %s AND e.position >= %s AND e.position < %s"
            " ORDER BY e.position DESC LIMIT %s"
        )
        end = _LAST if end is None else end
        with self._database.duty(self._schema, "read") as connection:
            rows = connection.execute(query, (topic, begin, end, limit)).fetchall()
            return [self._checked(connection, row) for row in rows]

    def of_stream(self, stream: str) -> list[Stored]:
        """Return the entries of one stream, in order of version."""
        query = self._select + sql.SQL(" WHERE e.stream = %s ORDER BY e.version")
        with self._database.duty(self._schema, "read") as connection:
            rows = connection.execute(query, (stream,)).fetchall()
            return [self._checked(connection, row) for row in rows]

    def locate(self, event_id: str) -> Located:
        """Return where the entry of an event stands, in any tier; raises NotFound.

        Its leaf is the index's: whoever proves it compares the path with a signed root.
        """
        return self._locate(sql.SQL(" WHERE e.event_id = %s::uuid"), event_id)

    def locate_at(self, position: int) -> Located:
        """The same of the entry at a position."""
        return self._locate(sql.SQL(" WHERE e.position = %s"), position)

    def _locate(self, where: sql.SQL, value: object) -> Located:
        with self._database.duty(self._schema, "read") as connection:
            row = connection.execute(self._select + where, (value,)).fetchone()
            if row is None:
                raise NotFound("there is no such entry in this Book")
            tier: Tier = "database"
            if row[11] is None:
                tier = place_of(connection, self._schema, row[0]).tier
            else:
                _checked(row)
        return Located(
            position=row[0], leaf=bytes(row[1]), event_id=row[3], recorded_ms=row[7], tier=tier
        )

    def first_at_or_after(self, recorded_ms: int) -> int | None:
        """Return the first position recorded at `recorded_ms` or later; None if there is none.

        Times never decrease along the log, so a search by halves needs about 40 reads of one row.
        """
        query = sql.SQL("SELECT recorded_at FROM {}.entry WHERE position = %s").format(
            sql.Identifier(self._schema)
        )
        with self._database.duty(self._schema, "read") as connection:
            low, high = 0, self._head.read(connection).size
            size = high
            while low < high:
                middle = (low + high) // 2
                if _time(connection, query, middle) < recorded_ms:
                    low = middle + 1
                else:
                    high = middle
        return low if low < size else None

    def raw_rows(self, connection: Connection, begin: int, end: int) -> list[tuple[Any, ...]]:
        """Return raw rows of [begin, end), unchecked, in order."""
        return connection.execute(self._range, (begin, end), binary=True).fetchall()

    def _one(self, where: sql.SQL, value: object) -> Stored:
        with self._database.duty(self._schema, "read") as connection:
            row = connection.execute(self._select + where, (value,)).fetchone()
            if row is None:
                raise NotFound("there is no such entry in this Book")
            return self._checked(connection, row)

    def _checked(self, connection: Connection, row: tuple[Any, ...]) -> Stored:
        if row[11] is None:
            row = (*row[:11], brought_back(connection, self._schema, row[0]))
        return _checked(row)


def _time(connection: Connection, query: sql.Composed, position: int) -> int:
    row = connection.execute(query, (position,)).fetchone()
    if row is None:
        raise EntryDamaged(f"the entry at position {position} is gone")
    return int(row[0])


def _checked(row: tuple[Any, ...]) -> Stored:
    position, leaf, mac, *columns, data = row
    entry = read_entry(bytes(data))
    fits = leaf_hash(entry.data) == bytes(leaf)
    wrong = disagreement(entry, leaf_fits=fits, columns=columns)
    if wrong:
        raise EntryDamaged(f"at position {position} the column {wrong} does not fit the bytes")
    return Stored(
        position=position,
        leaf=bytes(leaf),
        mac=bytes(mac),
        request_digest=bytes(columns[5]),
        entry=entry,
    )


def disagreement(entry: Entry, *, leaf_fits: bool, columns: list[Any]) -> str | None:
    """Name the first index column that says another thing than the bytes; None if all agree.

    columns: event_id, stream, version, topic, recorded_at, request_digest, source_id, source_n.
    `request_digest` is not judged here: it needs the client's part (anchoring.fsck).
    """
    if not leaf_fits:
        return "leaf"
    event_id, stream, version, topic, recorded_at, _, source_id, source_n = columns
    source = entry.value.get("source", {})
    pairs = (
        ("event_id", event_id, entry.event_id),
        ("stream", stream, entry.stream),
        ("version", version, entry.originator_version),
        ("topic", topic, entry.topic),
        ("recorded_at", recorded_at, entry.recorded_ms),
        ("source_id", source_id, source.get("id")),
        ("source_n", source_n, source.get("n")),
    )
    return next((name for name, column, said in pairs if column != said), None)
