# SPDX-License-Identifier: GPL-3.0-or-later
"""The event store: eventsourcing's streams and notification log over a Book's own tables.

The state of a stored event **is** the canonical entry, so what is hashed is what is kept. Topics
are `GEN/1`, never the name of a module, and nothing is imported on reading. The recorder appends a
whole batch with one statement that swaps the head row; when the head is not the expected one, the
statement changes nothing and says so.

`LedgerRecorder` implements eventsourcing's interface `ApplicationRecorder` rather than its stock
PostgreSQL recorder: that one locks the table for each write, numbers with gaps and keeps no head.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, LiteralString, NamedTuple, cast

from eventsourcing.persistence import (
    ApplicationRecorder,
    EventStore,
    JSONTranscoder,
    Mapper,
    Notification,
    StoredEvent,
    Subscription,
)
from psycopg import sql

from ledger import arrays, clock
from ledger.database import Connection, Database
from ledger.direct import Statement, bigint
from ledger.errors import EntryDamaged, LedgerError
from ledger.head import Head, Link
from ledger.retention.tiers import brought_back
from ledger.tiles import Tile
from ledger.vault.statement import Sealings
from sealtrail.verify.entry import check_entry
from sealtrail.verify.errors import VerifyError

JSON = dict[str, Any]


class HeadMoved(LedgerError):  # noqa: N818 - news, not an accident
    """Another writer appended first. Nothing was inserted; read the head again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A recorded entry: its canonical bytes and what they say."""

    data: bytes
    value: JSON = field(repr=False, compare=False)

    @property
    def stream(self) -> str:
        aggregate = self.value["aggregate"]
        return f"{aggregate['type']}/{aggregate['id']}"

    @property
    def topic(self) -> str:
        return f"{self.value['type']}/{self.value['schema']}"

    @property
    def originator_id(self) -> str:
        return self.stream

    @property
    def originator_version(self) -> int:
        return cast("int", self.value["aggregate"]["version"])

    @property
    def event_id(self) -> str:
        return cast("str", self.value["event_id"])

    @property
    def recorded_ms(self) -> int:
        """When it was recorded; raises EntryDamaged for a time that no clock of ours can show."""
        try:
            return clock.parse_time(self.value["time"]["recorded"])
        except ValueError as error:
            raise EntryDamaged("an entry's recorded time is none that this ledger gives") from error


class EntryMapper(Mapper[str]):
    """Translates nothing: state is the entry's bytes, and columns must agree with them."""

    def __init__(self) -> None:
        super().__init__(JSONTranscoder())  # Never used: both directions are overridden.

    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        entry = cast("Entry", domain_event)
        return StoredEvent(entry.stream, entry.originator_version, entry.topic, entry.data)

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        return self.of_row(
            cast("str", stored_event.originator_id),
            stored_event.originator_version,
            stored_event.topic,
            stored_event.state,
        )

    def of_row(self, stream: str, version: int, topic: str, state: bytes) -> Entry:
        """Decode a stored event; raises EntryDamaged unless its columns say what its bytes say."""
        entry = read_entry(state)
        if (stream, version, topic) != (entry.stream, entry.originator_version, entry.topic):
            raise EntryDamaged("a stored entry and its index columns name different events")
        return entry


def read_entry(data: bytes) -> Entry:
    """Decode stored bytes. Raises EntryDamaged when they are not an entry in canonical form."""
    try:
        value = check_entry(data)
    except VerifyError as error:
        raise EntryDamaged("the stored bytes are not an entry in canonical form") from error
    return Entry(data=data, value=value)


class Row(NamedTuple):
    """One entry with all that its row holds beside the bytes. A tuple: one is made per event."""

    data: bytes  #: The entry's canonical bytes.
    link: Link
    event_id: str
    stream: str
    version: int
    topic: str
    request_digest: bytes
    source: tuple[str, int] | None
    recorded_ms: int
    births: tuple[str, ...] = ()

    @property
    def entry(self) -> Entry:
        """The entry, read from its bytes."""
        return read_entry(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """One commit: the head that must still be there, the head after, and all rows between them."""

    before: Head
    after: Head
    rows: Sequence[Row]
    tiles: Sequence[Tile] = ()


_APPEND: Final = """
WITH h AS (UPDATE {book}.head
              SET epoch = %b, size = %b, frontier = %b, mac = %b, last_time = %b, tag = %b
            WHERE id = 1 AND size = %b AND tag = %b RETURNING 1),
     e AS (INSERT INTO {book}.entry (position, leaf, mac, event_id, stream, version, topic,
                                     recorded_at, request_digest, source_id, source_n)
           SELECT u.* FROM h, unnest(%b::bigint[], %b::bytea[], %b::bytea[], %b::uuid[],
                  %b::text[], %b::bigint[], %b::text[], %b::bigint[], %b::bytea[], %b::text[],
                  %b::bigint[]) u),
     b AS (INSERT INTO {book}.entry_body (position, bytes)
           SELECT u.* FROM h, unnest(%b::bigint[], %b::bytea[]) u)
"""

#: Few commits fill a tile or give birth to an asset, and a part with nothing to do still costs.
_TILES: Final = """
     t AS (INSERT INTO {book}.tile (level, "index", root, hashes)
           SELECT u.* FROM h, unnest(%b::bigint[], %b::bigint[], %b::bytea[], %b::bytea[]) u)
"""
_BIRTHS: Final = """
     a AS (INSERT INTO {book}.asset_birth (asset_id, position)
           SELECT u.* FROM h, unnest(%b::text[], %b::bigint[]) u)
"""
_COUNT: Final = " SELECT count(*) FROM h"


class Part(NamedTuple):
    """One part of the statement that appends: `name AS (INSERT … FROM h, …)`."""

    text: LiteralString
    values: tuple[bytes, ...]  #: Binary, one for each %b.


_SELECT: Final = """
SELECT e.position, e.stream, e.version, e.topic, b.bytes
  FROM {book}.entry e LEFT JOIN {book}.entry_body b USING (position)
"""


class LedgerRecorder(ApplicationRecorder):
    """Appends and reads the entries of the Book in `schema`. Notification id = position.

    Positions start at 0 and have no gaps; streams' versions start at 1 and have no gaps.
    """

    def __init__(self, database: Database, schema: str) -> None:
        self._database = database
        self._schema = schema
        self._book = sql.Identifier(schema)
        self._statements: dict[tuple[str, ...], Statement] = {}
        self._select = sql.SQL(_SELECT).format(book=self._book)

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Append a batch; needs the keyword arguments `connection` and `swap`; takes `sealings`.

        Returns the positions. Raises like `append`.
        """
        swap = cast("Swap", kwargs["swap"])
        states = [event.state for event in stored_events]
        assert states == [row.data for row in swap.rows]  # noqa: S101 - our own mistake
        sealings = cast("Sealings", kwargs.get("sealings") or Sealings())
        self.append(cast("Connection", kwargs["connection"]), swap, sealings)
        return [row.link.position for row in swap.rows]

    def append(self, connection: Connection, swap: Swap, sealings: Sealings) -> None:
        """Append a batch, seal its values and swap the head, all or nothing. The writer's way.

        `connection` holds the append role. Raises HeadMoved when another writer was first;
        psycopg.Error when the database failed, and then nobody knows.
        """
        parts = [_rows(swap), *_tiles(swap.tiles), *_births(swap.rows)]
        parts += [Part(*part) for part in sealings.parts()]
        statement = self._statement(tuple([part.text for part in parts]))
        values = [value for part in parts for value in part.values]
        if statement.execute(connection, values) != 1:
            raise HeadMoved

    def _statement(self, texts: tuple[LiteralString, ...]) -> Statement:
        statement = self._statements.get(texts)
        if statement is None:
            text = sql.SQL(",".join(texts) + _COUNT).format(book=self._book).as_string()
            statement = Statement(text)
            self._statements[texts] = statement
        return statement

    def select_events(
        self,
        originator_id: object,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        query = self._select + sql.SQL(
            " WHERE e.stream = %s AND e.version > %s AND e.version <= %s ORDER BY e.version {}"
            " LIMIT %s"
        ).format(sql.SQL("DESC" if desc else "ASC"))
        bounds = (originator_id, gt or 0, lte if lte is not None else 2**62, limit)
        with self._database.duty(self._schema, "read") as connection:
            return [
                StoredEvent(stream, version, topic, self._state(connection, position, data))
                for position, stream, version, topic, data in connection.execute(query, bounds)
            ]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        first = 0 if start is None else start + (0 if inclusive_of_start else 1)
        query = self._select + sql.SQL(
            " WHERE e.position >= %s AND e.position <= %s"
            " AND (cardinality(%s::text[]) = 0 OR e.topic = ANY(%s::text[]))"
            " ORDER BY e.position LIMIT %s"
        )
        last = stop if stop is not None else 2**62
        bounds = (first, last, list(topics), list(topics), limit)
        with self._database.duty(self._schema, "read") as connection:
            return [
                Notification(
                    stream, version, topic, self._state(connection, position, data), position
                )
                for position, stream, version, topic, data in connection.execute(query, bounds)
            ]

    def _state(self, connection: Connection, position: int, data: bytes | None) -> bytes:
        """Return an entry's bytes; raises BodyCold, BodyExpired, EntryDamaged: none is left out."""
        if data is None:
            return brought_back(connection, self._schema, position)
        return bytes(data)

    def max_notification_id(self) -> int | None:
        query = sql.SQL("SELECT size FROM {}.head WHERE id = 1").format(
            sql.Identifier(self._schema)
        )
        with self._database.duty(self._schema, "read") as connection:
            row = connection.execute(query).fetchone()
        return row[0] - 1 if row is not None and row[0] > 0 else None

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> Subscription[ApplicationRecorder]:
        """Follow the log by polling; NOTIFY would take a database-wide lock in every commit."""
        return PollingSubscription(recorder=self, gt=gt, topics=topics)


class PollingSubscription(Subscription[ApplicationRecorder]):
    """Yields notifications in order as they come, asking every `interval_s` seconds."""

    interval_s = 0.2

    def __init__(
        self, recorder: ApplicationRecorder, gt: int | None = None, topics: Sequence[str] = ()
    ) -> None:
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        self._next = self._from()

    def __next__(self) -> Notification:
        return next(self._next)

    def _from(self) -> Iterator[Notification]:
        last = self._last_notification_id
        while not self._has_been_stopped:
            found = self._recorder.select_notifications(
                last, 256, topics=self._topics, inclusive_of_start=last is None
            )
            for notification in found:
                last = notification.id
                yield notification
            if not found:
                clock.pause(self.interval_s)


def event_store(database: Database, schema: str) -> EventStore[str]:
    """Return eventsourcing's store for a Book: `get(stream)` yields its entries, checked."""
    return EventStore(EntryMapper(), LedgerRecorder(database, schema))


def _rows(swap: Swap) -> Part:
    after, before, rows = swap.after, swap.before, swap.rows
    sources = [row.source or (None, None) for row in rows]
    positions = arrays.bigints([row.link.position for row in rows])
    values = (
        *(bigint(after.epoch), bigint(after.size), after.frontier.pack(), after.mac),
        *(bigint(after.last_time), after.tag, bigint(before.size), before.tag),
        positions,
        arrays.hashes([row.link.leaf for row in rows]),
        arrays.hashes([row.link.mac for row in rows]),
        arrays.uuids([row.event_id for row in rows]),
        arrays.texts([row.stream for row in rows]),
        arrays.bigints([row.version for row in rows]),
        arrays.texts([row.topic for row in rows]),
        arrays.bigints([row.recorded_ms for row in rows]),
        arrays.hashes([row.request_digest for row in rows]),
        arrays.optional_texts([id_ for id_, _ in sources]),
        arrays.optional_bigints([n for _, n in sources]),
        positions,
        arrays.byteas([row.data for row in rows]),
    )
    return Part(_APPEND, values)


def _tiles(tiles: Sequence[Tile]) -> list[Part]:
    if not tiles:
        return []
    values = (
        arrays.bigints([tile.level for tile in tiles]),
        arrays.bigints([tile.index for tile in tiles]),
        arrays.byteas([tile.root for tile in tiles]),
        arrays.byteas([tile.hashes for tile in tiles]),
    )
    return [Part(_TILES, values)]


def _births(rows: Sequence[Row]) -> list[Part]:
    births = [(asset, row.link.position) for row in rows for asset in row.births]
    if not births:
        return []
    values = (
        arrays.texts([asset for asset, _ in births]),
        arrays.bigints([position for _, position in births]),
    )
    return [Part(_BIRTHS, values)]
