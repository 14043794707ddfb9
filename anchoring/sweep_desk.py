# SPDX-License-Identifier: GPL-3.0-or-later
"""What every step of the retention sweep works with: one Book, its policy, its holds, its time.

The sweep's time is the log's own: the recorded time of the newest entry. It is in the tagged head
row, never jumps by more than a day without an operator's word, and each night moves it on. A host
whose clock is set forward by a decade makes nothing expire.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

from psycopg import sql

from anchoring.shelf import Book
from ledger import clock
from ledger.archive.store import Archive
from ledger.holds import Holds
from ledger.reader import Stored
from ledger.retention import members as bits
from ledger.retention.bodies import Bodies
from ledger.retention.classes import What
from ledger.retention.cold import Cold
from ledger.retention.manifest import Leaf
from ledger.retention.policy import Claim, Policies, is_permanent
from ledger.retention.published import load_policies

#: An announcement is made so long before it is due, so that bytes go on the day.
AHEAD_MS: Final = 8 * clock.DAY_MS

_ROWS: Final = (
    "SELECT e.position, e.leaf, e.event_id::text, e.stream, e.version, e.topic, e.recorded_at"
    " FROM {book}.entry e WHERE e.position = ANY(%s) ORDER BY e.position"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that the sweep did, or could not do now, for whoever watches."""

    what: str  #: Stable name: partition, moved, dropped, announced, checked, expired, busy, …
    count: int
    sentence: str


class Row(NamedTuple):
    """The index columns of one entry."""

    position: int
    leaf: bytes
    event_id: str
    stream: str
    version: int
    topic: str
    recorded_ms: int

    @property
    def type(self) -> str:
        return self.topic.partition("/")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """One Book on the desk of its sweep, at one moment of its log."""

    book: Book
    archive: Archive | None
    cold: Cold | None
    holds: Holds
    bodies: Bodies
    policies: Policies
    now_ms: int
    size: int
    anchored: int  #: Entries under the newest recorded ANCHOR.

    @classmethod
    def open(cls, book: Book, archive: Archive | None) -> Self:
        """Look at the Book as it is now."""
        head = book.reader.head()
        return cls(
            book=book,
            archive=archive,
            cold=None if archive is None else cold_of(book, archive),
            holds=Holds.of(book),
            bodies=Bodies(book.database, book.row.schema),
            policies=load_policies(book.reader),
            now_ms=head.last_time,
            size=head.size,
            anchored=newest_anchored(book),
        )

    def first_after(self, ms: int) -> int:
        """Return the first position recorded after a time; the size if there is none."""
        found = self.book.reader.first_at_or_after(ms + 1)
        return self.size if found is None else found

    def rows(self, positions: Sequence[int]) -> list[Row]:
        return [Row(row[0], bytes(row[1]), *row[2:]) for row in self.select(_ROWS, list(positions))]

    def stored(self, positions: Iterable[int]) -> list[Stored]:
        """Read entries whose bytes are in the database, checked."""
        found: list[Stored] = []
        for begin, end in bits.ranges(positions):
            found += self.book.reader.between(begin, end)
        return found

    def due(self, what: What, rows: Iterable[Row], claim: Claim) -> int | None:
        """Return when all of these may go; None: not all of them ever."""
        latest = 0
        for row in rows:
            due = self.policies.due(
                what, row.type, claim, recorded_ms=row.recorded_ms, now_ms=self.now_ms
            )
            if due is None:
                return None
            latest = max(latest, due)
        return latest

    def held(self, positions: Sequence[int]) -> set[int]:
        """Return which of these are held as of now; ask again, frozen, before a deed."""
        if not positions:
            return set()
        found = self.holds.on_positions(min(positions), max(positions) + 1)
        return {position for position, _ in found}.intersection(positions)

    def select(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        query = sql.SQL(text).format(book=sql.Identifier(self.book.row.schema))
        with self.book.database.duty(self.book.row.schema, "read") as connection:
            return connection.execute(query, values).fetchall()

    def insert(self, text: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows with the duty `retain`, all or none."""
        query = sql.SQL(text).format(book=sql.Identifier(self.book.row.schema))
        with (
            self.book.database.duty(self.book.row.schema, "retain") as connection,
            connection.transaction(),
            connection.cursor() as cursor,
        ):
            cursor.executemany(query, rows)


def cold_of(book: Book, archive: Archive) -> Cold:
    """Return a Book's cold tier; its bundles are bound to the origin that the Book began with."""
    return Cold(
        book.database,
        book.keys,
        archive,
        schema=book.row.schema,
        origin=book.row.first_origin,
    )


def newest_anchored(book: Book) -> int:
    """Return how many entries lie under the newest ANCHOR that is recorded."""
    newest = book.reader.of_topic("ANCHOR/1", limit=1)
    return int(newest[0].entry.value["body"]["checkpoint"]["size"]) if newest else 0


def leaf_of(row: Row, claim: Claim, due_ms: int) -> Leaf:
    """Return an entry's line in a manifest."""
    aggregate, _, aggregate_id = row.stream.partition("/")
    return Leaf(
        index=row.position,
        leaf=row.leaf,
        event_id=row.event_id,
        type=row.type,
        aggregate=aggregate,
        aggregate_id=aggregate_id,
        version=row.version,
        claim=claim.name or "",
        not_before_ms=due_ms,
    )


def may_move(row: Row) -> bool:
    """Whether an entry leaves the database at all."""
    return not is_permanent(row.type)


Progress = Callable[[int, int], None]
