# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of an asset: what went into it, and what became of it.

Two walks start where the digest was found. One goes only from things to what they were made of, the
other only to what was made of them: so a model's other pictures are no relatives of this one. Both
are bounded, for one asset may have a hundred thousand descendants: by depth, by things, and by how
many things of one relation are followed from one thing, the newest. Where a bound cut, the answer
says it.

Members of sealed sets come from the sets' own tables (anchoring/sparse_store), all other edges from
the read model. Each is held against the entry that says it; one that no entry says is left out and
counted.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, Final, Literal, NamedTuple

from psycopg import sql

from ledger import arrays
from ledger.database import Connection, Database
from ledger.lineage.edges import RELS, about, edges_of, named_in, stream_named, stream_of
from ledger.lineage.members import member_edges, set_edges
from ledger.lineage.told import Told, at, of_streams

Direction = Literal["before", "after"]

DEPTH: Final = 8
DEPTH_MAX: Final = 16
THINGS: Final = 150  #: In each direction, unless the reader asks for more.
THINGS_MAX: Final = 500
FAN: Final = 20  #: Things of one relation that are followed from one thing.
FAN_MAX: Final = 200

#: Of one thing, so many events from its beginning and its end.
_FIRST, _LAST = 3, 3
_VERSIONS: Final = 64

#: All edges of each thing, or so many that it has to be asked for each relation.
_FEW: Final = """
SELECT s.thing, e.rel, e.{there}, e.position, e.bound
  FROM unnest(%(things)s::text[]) s (thing)
 CROSS JOIN LATERAL (
       SELECT * FROM {book}.lineage_edge WHERE {here} = s.thing
        ORDER BY rel DESC, position DESC LIMIT %(fan)s) e
 ORDER BY e.position DESC
"""
#: The newest edges of each thing and relation.
_MANY: Final = """
SELECT s.thing, r.rel, e.{there}, e.position, e.bound
  FROM unnest(%(things)s::text[]) s (thing) CROSS JOIN unnest(%(rels)s::text[]) r (rel)
 CROSS JOIN LATERAL (
       SELECT * FROM {book}.lineage_edge WHERE {here} = s.thing AND rel = r.rel
        ORDER BY position DESC LIMIT %(fan)s) e
"""


class Way(NamedTuple):
    """`source` went into `target`, as an entry says."""

    source: str
    target: str
    rel: str
    position: int  #: Of the entry that says so.
    bound: bool | None  #: A link with a leaf: whether it is the leaf of what is linked.


class Fan(NamedTuple):
    """Where more things of a relation are than were followed."""

    thing: str
    rel: str
    direction: Direction


@dataclass(slots=True, kw_only=True)
class Thing:
    """A thing on the way, with what the log tells about it."""

    name: str  #: `<aggregate type>/<aggregate id>`.
    direction: Literal["asked", "before", "after"]
    distance: int
    events: Sequence[Told] = ()

    @property
    def kind(self) -> str:
        return self.name.partition("/")[0]

    @property
    def id(self) -> str:
        return self.name.partition("/")[2]


@dataclass(slots=True, kw_only=True)
class Lineage:
    """What was found; `cut` and `fans` say where there is more."""

    things: dict[str, Thing] = field(default_factory=dict)
    ways: list[Way] = field(default_factory=list)
    sayings: dict[int, Told] = field(default_factory=dict)  #: The entries behind the ways.
    fans: list[Fan] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)  #: `depth` or `things`, with the direction.
    unfounded: int = 0  #: Rows of the read model that no entry bears out.


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far a lineage goes."""

    depth: int = DEPTH
    things: int = THINGS
    fan: int = FAN


def lineage(
    database: Database, schema: str, roots: Sequence[str], bounds: Bounds | None = None
) -> Lineage:
    """Return the way of these things in both directions. Raises EntryDamaged.

    roots: names of things, such as `Asset/urn:cap:asset:acme:1`; they need not have any events.
    """
    with database.duty(schema, "read") as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        walk = _Walk(connection, schema, bounds or Bounds())
        walk.go(roots, "before")
        walk.go(roots, "after")
        return walk.found(roots)


class _Walk:
    """Walks from the same roots, once in each direction."""

    def __init__(self, connection: Connection, schema: str, bounds: Bounds) -> None:
        self._connection, self._schema, self._bounds = connection, schema, bounds
        self._lineage = Lineage()

    def go(self, roots: Sequence[str], direction: Direction) -> None:
        """Follow one direction, one step of all things at a time."""
        reached = set(roots)
        frontier = list(dict.fromkeys(roots))
        for distance in range(1, self._bounds.depth + 1):
            ways = self._founded(self._step(frontier, direction))
            frontier = []
            for way in ways:
                name = way.target if direction == "after" else way.source
                if name not in reached:
                    if len(reached) - len(roots) >= self._bounds.things:
                        self._cut("things", direction)
                        continue
                    reached.add(name)
                    frontier.append(name)
                    self._lineage.things.setdefault(
                        name, Thing(name=name, direction=direction, distance=distance)
                    )
                self._lineage.ways.append(way)
            if not frontier:
                return
        if self._step(frontier, direction):
            self._cut("depth", direction)

    def found(self, roots: Sequence[str]) -> Lineage:
        """Return all of it, each thing with its events."""
        here = self._lineage
        for name in roots:
            here.things[name] = Thing(name=name, direction="asked", distance=0)
        here.ways = list(dict.fromkeys(here.ways))
        here.fans = list(dict.fromkeys(here.fans))
        self._read({one: stream_named(one) for one in here.things})
        return here

    def _read(self, names: Mapping[str, tuple[str, str | None]]) -> None:
        """Read the events of each thing; of one version, those that are about it."""
        connection, schema = self._connection, self._schema
        whole = [stream for stream, version in names.values() if version is None]
        told = of_streams(connection, schema, whole, first=_FIRST, last=_LAST)
        streams = [stream for stream, version in names.values() if version is not None]
        versions = of_streams(connection, schema, streams, first=_VERSIONS, last=_VERSIONS)
        for name, (stream, version) in names.items():
            if version is None:
                self._lineage.things[name].events = told.get(stream, ())
            else:
                events = versions.get(stream, [])
                told_of = about(version, [one.body for one in events])
                self._lineage.things[name].events = list(compress(events, told_of))

    def _step(self, things: Sequence[str], direction: Direction) -> list[Way]:
        """Return what one step from these things leads to, the newest of each relation."""
        if not things:
            return []
        rows = self._edges(_FEW, things, direction)
        counts = Counter(row[0] for row in rows)
        hubs = [thing for thing, count in counts.items() if count > self._bounds.fan]
        if hubs:
            rows = [row for row in rows if counts[row[0]] <= self._bounds.fan]
            rows += self._edges(_MANY, hubs, direction)
        rows += self._members(things, direction)
        found: dict[tuple[str, str], list[Way]] = {}
        for thing, rel, other, position, bound in rows:
            ends = (thing, other) if direction == "after" else (other, thing)
            found.setdefault((thing, rel), []).append(Way(*ends, rel, position, bound))
        for (thing, rel), ways in found.items():
            if len(ways) > self._bounds.fan:
                self._lineage.fans.append(Fan(thing, rel, direction))
        return [way for ways in found.values() for way in ways[: self._bounds.fan]]

    def _edges(
        self, query: str, things: Sequence[str], direction: Direction
    ) -> list[tuple[Any, ...]]:
        here, there = ("source", "target") if direction == "after" else ("target", "source")
        statement = sql.SQL(query).format(
            book=sql.Identifier(self._schema),
            here=sql.Identifier(here),
            there=sql.Identifier(there),
        )
        values = {
            "things": arrays.texts(things),
            "rels": arrays.texts(RELS),
            "fan": self._bounds.fan + 1,
        }
        return self._connection.execute(statement, values).fetchall()

    def _members(self, things: Sequence[str], direction: Direction) -> list[tuple[Any, ...]]:
        read = set_edges if direction == "after" else member_edges
        return read(self._connection, self._schema, things, self._bounds.fan + 1)

    def _founded(self, ways: Sequence[Way]) -> list[Way]:
        """Return the ways that entries bear out; those whose bytes are not at hand are believed."""
        known = self._lineage.sayings
        known |= at(
            self._connection,
            self._schema,
            sorted({one.position for one in ways} - known.keys()),
        )
        good = [one for one in ways if _says(known.get(one.position), one)]
        self._lineage.unfounded += len(ways) - len(good)
        return good

    def _cut(self, what: str, direction: Direction) -> None:
        told = f"{what}-{direction}"
        if told not in self._lineage.cut:
            self._lineage.cut.append(told)


def _says(told: Told | None, way: Way) -> bool:
    """Say if an entry says what a row has from it."""
    if told is None:
        return False
    if told.entry is None or (told.type == "DATASET_SEALED" and way.rel == "member-of"):
        return True
    if any((one.source, one.target, one.rel) == way[:3] for one in edges_of(told.entry)):
        return True
    here = stream_of(told.entry)
    return any(
        one.rel == way.rel and (way.target if one.inward else way.source) == here
        for one in named_in(told.entry)
    )


def event_ids(found: Lineage) -> list[str]:
    """Return the ids of all events that a lineage shows."""
    return _ids([*(event for one in found.things.values() for event in one.events),
                 *found.sayings.values()])  # fmt: skip


def _ids(events: Iterable[Told]) -> list[str]:
    return list(dict.fromkeys(one.event_id for one in events))
