# SPDX-License-Identifier: GPL-3.0-or-later
"""Search in one Book: pages in both directions, and everything that a query finds.

    catch up ──► plan ──► sets of positions ──► entries' own columns, and terms that are shown
                 └── one snapshot: which entries ──┘

An answer says up to which position it is complete (`as_of`). What it shows of an entry stands in
the index: whoever has to rely on it reads the entry and checks its proof. Whoever shows anything of
this to anybody enters that in the access Book first.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Any, Final, NamedTuple

from psycopg import sql

from ledger import clock
from ledger.database import Connection, Database
from ledger.errors import Unavailable
from ledger.readmodel import bits
from ledger.readmodel.follower import AsOf, catch_up
from ledger.readmodel.plan import matches
from ledger.readmodel.planning import Planner, persons_in
from ledger.readmodel.query import Clause
from ledger.readmodel.searching import Searching
from ledger.vault.vault import Vault

#: Keys whose values are shown of each entry that is found, in this order.
SHOWN: Final = (
    "outcome", "model", "template", "policy", "risk", "label", "rule", "reason", "flag",
)  # fmt: skip

_CHUNK: Final = 1_000

#: Up to so many entries of a block on average are asked for one by one; where they lie closer
#: together, the rows of their blocks are read once for all.
_APART: Final = 4

# The list of keys is that of the partial index, or it would not be used. An offset may be found
# across two others: what is found is looked at again.
_VALUES_OF_EACH: Final = """
SELECT t.key, t.value, t.block, t.bits, u.at
  FROM unnest(%s::bigint[], %s::integer[], %s::bytea[]) AS u (block, at, packed)
  JOIN {book}.search_term t ON t.block = u.block AND t.key IN
       ('outcome', 'model', 'template', 'policy', 'risk', 'label', 'rule', 'reason', 'flag')
 WHERE CASE WHEN octet_length(t.bits) = 1024 THEN get_bit(t.bits, u.at) = 1
            ELSE position(u.packed IN t.bits) > 0 END
"""
_VALUES: Final = """
SELECT key, value, block, bits FROM {book}.search_term
 WHERE block = ANY(%s) AND key IN
       ('outcome', 'model', 'template', 'policy', 'risk', 'label', 'rule', 'reason', 'flag')
"""
_ENTRIES: Final = """
SELECT e.position, e.event_id::text, e.topic, e.stream, e.version, e.recorded_at, e.leaf,
       EXISTS (SELECT 1 FROM {book}.entry_body b WHERE b.position = e.position)
  FROM {book}.entry e WHERE e.position = ANY(%s)
"""
_AWAY: Final = """
SELECT u.position,
       EXISTS (SELECT 1 FROM {book}.tombstone t JOIN {book}.expired x USING (number, event_id)
                WHERE t.number = u.position >> 8 AND t.what = 'entry'
                  AND get_bit(t.members, (u.position & 255)::int) = 1),
       EXISTS (SELECT 1 FROM {book}.bundle b JOIN {book}.moved m USING (name)
                WHERE b.number = u.position >> 8
                  AND get_bit(b.members, (u.position & 255)::int) = 1)
  FROM unnest(%s::bigint[]) AS u (position)
"""
_READ: Final = """
SELECT coalesce((SELECT position FROM {book}.readmodel WHERE name = 'search'), 0), size
  FROM {book}.head WHERE id = 1
"""


class ModelChanged(Unavailable):
    """The read model was made again while it was read; ask again."""

    problem = "read-model-changed"


class Match(NamedTuple):
    """One entry that was found, by its index columns and the terms that are shown of it."""

    position: int
    event_id: str
    type: str
    stream: str
    version: int
    recorded_ms: int
    leaf: bytes
    tier: str  #: `database`, `cold`, `expired`, or `missing`, of which fsck tells.
    values: dict[str, list[str]]  #: By key (SHOWN), those that it has.


class Place(NamedTuple):
    """Where a page begins: beyond this position, in the order of the log or the other way."""

    position: int
    descending: bool
    as_of: int  #: What the first page was complete up to; later entries belong to none of them.


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of what a query finds, in the order that was asked for."""

    found: tuple[Match, ...]
    as_of: AsOf
    more: bool  #: Whether there is more in the direction of the page.


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """All that a query finds."""

    as_of: AsOf
    count: int
    digest: bytes  #: SHA-256 over the positions, eight bytes each, in order.
    blocks: tuple[tuple[int, int], ...]


class Search:
    """Searches the Book in `schema`, for any thread."""

    def __init__(self, database: Database, vault: Vault, schema: str) -> None:
        self._database, self._vault, self._schema = database, vault, schema
        self._book = sql.Identifier(schema)

    def page(
        self,
        clauses: Sequence[Clause],
        *,
        limit: int,
        descending: bool = True,
        place: Place | None = None,
        budget_s: float = 2.0,
    ) -> Page:
        """Return at most `limit` entries, from the newest or the oldest on, or from a place on.

        The read model first reads what it has not, for at most `budget_s` seconds. Raises
        QueryMalformed.
        """
        as_of = AsOf(0, 0) if place is not None else self._caught_up(budget_s)
        persons = persons_in(clauses, self._vault)
        with self._snapshot() as (connection, position, size):
            if place is not None:
                as_of = AsOf(min(place.as_of, size), 0)
            end = min(as_of.position, position)
            start, stop = 0, end
            if place is not None:
                descending = place.descending
                start, stop = (0, place.position) if descending else (place.position + 1, end)
            node = Planner(connection, persons, self._schema, end).plan(clauses)
            blocks = matches(
                connection,
                self._schema,
                node,
                start=start,
                stop=min(stop, end),
                descending=descending,
            )
            positions = list(islice(_positions(blocks, descending=descending), limit + 1))
            found = self._matches(connection, positions[:limit])
        behind = as_of.position + as_of.behind - end
        return Page(found=found, as_of=AsOf(end, behind), more=len(positions) > limit)

    def whole(self, clauses: Sequence[Clause], *, budget_s: float = 10.0) -> Whole:
        """Return which entries a query finds, all of them, as of one moment.

        A kibibyte for each 8,192 entries at most; `read` shows them.
        """
        as_of = self._caught_up(budget_s)
        persons = persons_in(clauses, self._vault)
        with self._snapshot() as (connection, position, _):
            end = min(as_of.position, position)
            node = Planner(connection, persons, self._schema, end).plan(clauses)
            blocks = tuple(
                matches(connection, self._schema, node, start=0, stop=end, descending=False)
            )
        digest = sha256()
        for block, mask in blocks:
            for offset in bits.offsets_of(mask):
                digest.update((block * bits.BLOCK + offset).to_bytes(8, "big"))
        return Whole(
            as_of=AsOf(end, as_of.position + as_of.behind - end),
            count=sum(mask.bit_count() for _, mask in blocks),
            digest=digest.digest(),
            blocks=blocks,
        )

    def read(self, whole: Whole) -> Iterator[Match]:
        """Yield the entries of a whole, oldest first, holding a thousand of them at a time.

        Raises ModelChanged if the read model was made again meanwhile.
        """
        positions = _positions(iter(whole.blocks), descending=False)
        while some := list(islice(positions, _CHUNK)):
            with self._snapshot() as (connection, position, _):
                if position < whole.as_of.position:
                    raise ModelChanged
                found = self._matches(connection, some)
            yield from found

    def _caught_up(self, budget_s: float) -> AsOf:
        return catch_up(self._database, self._schema, [Searching.name], budget_s=budget_s)

    @contextmanager
    def _snapshot(self) -> Iterator[tuple[Connection, int, int]]:
        """Lend a connection that sees one moment, with how far the index and the log are then."""
        with (
            self._database.duty(self._schema, "read") as connection,
            connection.transaction(),
        ):
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            # A table that somebody empties now is empty for older snapshots, too: so lock first.
            connection.execute(self._sql("LOCK TABLE {book}.search_term IN ACCESS SHARE MODE"))
            row = connection.execute(self._sql(_READ)).fetchone()
            position, size = row if row is not None else (0, 0)
            yield connection, position, size

    def _matches(self, connection: Connection, positions: Sequence[int]) -> tuple[Match, ...]:
        """Return what is shown of some entries, in the order given."""
        if not positions:
            return ()
        rows = connection.execute(self._sql(_ENTRIES), (list(positions),), binary=True).fetchall()
        away = [row[0] for row in rows if not row[7]]
        tiers = dict.fromkeys(positions, "database")
        for position, expired, cold in connection.execute(self._sql(_AWAY), (away,)):
            tiers[position] = "expired" if expired else "cold" if cold else "missing"
        values = self._values(connection, positions)
        by_position = {
            position: Match(
                position=position,
                event_id=event_id,
                type=topic.partition("/")[0],
                stream=stream,
                version=version,
                recorded_ms=recorded_ms,
                leaf=leaf,
                tier=tiers[position],
                values=values[position],
            )
            for position, event_id, topic, stream, version, recorded_ms, leaf, _ in rows
        }
        return tuple(by_position[position] for position in positions)

    def _values(
        self, connection: Connection, positions: Sequence[int]
    ) -> dict[int, dict[str, list[str]]]:
        """Return the shown terms of some entries."""
        found: dict[int, dict[str, list[str]]] = {position: {} for position in positions}
        blocks = {position // bits.BLOCK for position in positions}
        read = self._each if len(positions) <= _APART * len(blocks) else self._together
        for key, value, position in read(connection, positions):
            found[position].setdefault(key, []).append(value)
        return {
            position: {key: sorted(values[key]) for key in SHOWN if key in values}
            for position, values in found.items()
        }

    def _each(
        self, connection: Connection, positions: Sequence[int]
    ) -> Iterator[tuple[str, str, int]]:
        places = [divmod(position, bits.BLOCK) for position in positions]
        rows = connection.execute(
            self._sql(_VALUES_OF_EACH),
            (
                [block for block, _ in places],
                [at for _, at in places],
                [at.to_bytes(2, "big") for _, at in places],
            ),
            binary=True,
        )
        for key, value, block, packed, at in rows.fetchall():
            if bits.hits(packed, {at}):
                yield key, value, block * bits.BLOCK + at

    def _together(
        self, connection: Connection, positions: Sequence[int]
    ) -> Iterator[tuple[str, str, int]]:
        wanted: dict[int, set[int]] = {}
        for position in positions:
            wanted.setdefault(position // bits.BLOCK, set()).add(position % bits.BLOCK)
        rows = connection.execute(self._sql(_VALUES), (list(wanted),), binary=True)
        for key, value, block, packed in rows.fetchall():
            for at in bits.hits(packed, wanted[block]):
                yield key, value, block * bits.BLOCK + at

    def _sql(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(book=self._book)


def _positions(blocks: Iterator[tuple[int, int]], *, descending: bool) -> Iterator[int]:
    for block, mask in blocks:
        for offset in bits.offsets_of(mask, descending=descending):
            yield block * bits.BLOCK + offset


def shown(match: Match) -> dict[str, Any]:
    """Return what an entry that was found is told as, without links."""
    aggregate, _, id_ = match.stream.partition("/")
    return {
        "position": match.position,
        "event_id": match.event_id,
        "type": match.type,
        "recorded_at": clock.rfc3339(match.recorded_ms),
        "aggregate": {"type": aggregate, "id": id_, "version": match.version},
        "leaf": f"sha256:{match.leaf.hex()}",
        "tier": match.tier,
        **({"values": match.values} if match.values else {}),
    }
