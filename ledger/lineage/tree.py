# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls of one request, as a tree.

    trace id ──► its calls ──► calls that say one of these made them ──► … ──► nested calls

A call stands under the first parent that it names, if that is an event of a call which was recorded
before it. So no two calls can be above each other, whatever they claim. An edge is `bound` if the
leaf that the child's link names is the leaf of the parent's entry: the child then fixes not only
which event it says it comes from, but what that said. Everybody who may record can claim a parent;
nobody can bind one whose entry they have not seen.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from psycopg import sql

from ledger import arrays
from ledger.database import Connection, Database
from ledger.errors import NotFound
from ledger.lineage.told import Told, of_streams

JSON = dict[str, Any]

CALLS: Final = 1_000  #: Calls of one tree, unless the reader asks for more.
CALLS_MAX: Final = 5_000
DEPTH: Final = 32  #: Calls under calls that are shown.
DEPTH_MAX: Final = 100

TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

#: Of one call, so many events from its beginning and its end; of one output, so many deliveries.
_FIRST, _LAST, _EXPORTS = 48, 16, 8
_ROUNDS: Final = 200
_CHUNK: Final = 500

_COLUMNS: Final = "SELECT c.position, c.generation, c.event_id::text, c.trace_id"
_OF_TRACE: Final = f"""
{_COLUMNS} FROM {{book}}.model_call c WHERE c.trace_id = %s ORDER BY c.position LIMIT %s
"""
_OF_GENERATION: Final = f"{_COLUMNS} FROM {{book}}.model_call c WHERE c.generation = %s LIMIT 1"
#: BETWEEN and not `=`: where one parent has most of all children, the planner would look for those
#: of another one through the whole table in order of position.
_OF_PARENTS: Final = """
  FROM unnest(%s::text[]) s (parent)
 CROSS JOIN LATERAL (SELECT position FROM {book}.call_parent
                      WHERE parent BETWEEN s.parent AND s.parent AND n = 0
                      ORDER BY parent, position LIMIT %s) p
  JOIN {book}.model_call c USING (position)
"""
_CHILDREN: Final = _COLUMNS + _OF_PARENTS
_PARENTS: Final = """
SELECT position, n, parent, leaf FROM {book}.call_parent WHERE position = ANY(%s)
 ORDER BY position, n
"""
_EVENTS: Final = """
SELECT event_id::text, stream, position, leaf FROM {book}.entry WHERE event_id = ANY(%s)
"""
_EXPORTED: Final = """
SELECT s.asset, e.target FROM unnest(%s::text[]) s (asset) CROSS JOIN LATERAL (
       SELECT target FROM {book}.lineage_edge
        WHERE source = s.asset AND rel = 'exports' ORDER BY position LIMIT %s) e
"""
_MADE: Final = """
SELECT g.source FROM {book}.lineage_edge x
  JOIN {book}.lineage_edge g ON g.target = x.source AND g.rel = 'output-asset'
 WHERE x.target = %s AND x.rel = 'exports' LIMIT 1
"""


class Call(NamedTuple):
    """One call, as the read model knows it."""

    position: int  #: Of its attempt.
    generation: str
    event_id: str
    trace_id: str | None


class Edge(NamedTuple):
    """A parent that a call names."""

    event_id: str
    bound: bool | None  #: None: there is no such event, or the call names no leaf.
    position: int | None  #: Of that event, if it is in this Book.
    generation: str | None  #: Whose event it is, if it is a call's.

    def json(self) -> JSON:
        told: JSON = {
            "event_id": self.event_id,
            "bound": "missing" if self.bound is None else self.bound,
        }
        if self.position is not None:
            told["position"] = self.position
        if self.generation is not None:
            told["generation"] = self.generation
        return told


@dataclass(slots=True, kw_only=True)
class Node:
    """One call with all that is known of it; `calls` are those that it made."""

    call: Call
    edges: list[Edge]
    events: list[Told]
    exports: list[list[Told]] = field(default_factory=list)
    calls: list["Node"] = field(default_factory=list)
    below: int = 0  #: Calls under this one, those that are not shown included.


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """What was found for one id."""

    trace_id: str | None
    roots: list[Node]
    calls: int
    more: bool  #: There are more calls than were read: the earliest are here.


def call_tree(
    database: Database, schema: str, id_: str, *, below: bool = False, limit: int = CALLS
) -> Tree:
    """Return the tree of a trace id, or the one in which an event stands.

    below: only the call of that event, with those that it made. Raises NotFound, EntryDamaged.
    """
    with database.duty(schema, "read") as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return _Gathering(connection, schema, min(limit, CALLS_MAX)).tree(id_, below=below)


class _Gathering:
    """Collects the calls of one tree."""

    def __init__(self, connection: Connection, schema: str, limit: int) -> None:
        self._connection, self._schema, self._limit = connection, schema, limit
        self._calls: dict[str, Call] = {}
        self._events: dict[str, list[Told]] = {}
        self._more = False

    def tree(self, id_: str, *, below: bool) -> Tree:
        if TRACE_ID.fullmatch(id_):
            trace_id: str | None = id_
        else:
            call = self._call_of(id_)
            trace_id = None if below else call.trace_id
            if trace_id is None:
                self._take([call if below else self._topmost(call)])
        if trace_id is not None:
            self._take(self._rows(_OF_TRACE, trace_id, self._limit + 1))
        if not self._calls:
            raise NotFound("no call of this Book has this trace id")
        self._descend()
        edges = self._edges(list(self._calls.values()))
        nodes = {
            one.generation: Node(
                call=one,
                edges=edges.get(one.position, []),
                events=self._events.get(f"Generation/{one.generation}", []),
            )
            for one in sorted(self._calls.values())
        }
        self._export(nodes)
        roots = _grown(nodes)
        found = trace_id or next(iter(nodes.values())).call.trace_id
        return Tree(trace_id=found, roots=roots, calls=len(nodes), more=self._more)

    def _call_of(self, event_id: str) -> Call:
        """Return the call that an event belongs to: its own, or the one whose output it exports."""
        rows = []
        if _UUID.fullmatch(event_id):
            rows = self._ask(_EVENTS, arrays.uuids([event_id]))
        stream = rows[0][1] if rows else ""
        if stream.startswith("Export/"):
            made = self._ask(_MADE, stream)
            stream = made[0][0] if made else ""
        kind, _, generation = stream.partition("/")
        found = self._rows(_OF_GENERATION, generation) if kind == "Generation" else []
        if not found:
            raise NotFound("there is no call of a model with this event in this Book")
        return found[0]

    def _topmost(self, call: Call) -> Call:
        """Go up as far as calls name calls that were recorded before them."""
        for _ in range(_ROUNDS):
            edge = next(iter(self._edges([call]).get(call.position, [])), None)
            if edge is None or edge.generation is None or (edge.position or 0) >= call.position:
                break
            above = self._rows(_OF_GENERATION, edge.generation)
            if not above or above[0].position >= call.position:
                break
            call = above[0]
        return call

    def _descend(self) -> None:
        """Add the calls that name an event of those that are here as their first parent."""
        fresh = list(self._calls.values())
        for _ in range(_ROUNDS):
            self._read(fresh)
            ids = [
                event.event_id
                for one in fresh
                for event in self._events.get(f"Generation/{one.generation}", ())
            ]
            if not ids:
                return
            fresh = self._take(sorted(self._rows(_CHILDREN, arrays.texts(ids), self._limit + 1)))
            if not fresh:
                return
        self._more = True

    def _take(self, calls: Sequence[Call]) -> list[Call]:
        taken = []
        for one in calls:
            if one.generation in self._calls:
                continue
            if len(self._calls) >= self._limit:
                self._more = True
                break
            self._calls[one.generation] = one
            taken.append(one)
        return taken

    def _read(self, calls: Sequence[Call]) -> None:
        streams = [f"Generation/{one.generation}" for one in calls]
        for at in range(0, len(streams), _CHUNK):
            self._events |= of_streams(
                self._connection,
                self._schema,
                streams[at : at + _CHUNK],
                first=_FIRST,
                last=_LAST,
            )

    def _edges(self, calls: Sequence[Call]) -> dict[int, list[Edge]]:
        """Return the parents that calls name, by the position of the call."""
        rows = self._ask(_PARENTS, arrays.bigints([one.position for one in calls]))
        ids = [parent for _, _, parent, _ in rows if _UUID.fullmatch(parent)]
        events = {
            id_: (stream, position, bytes(leaf))
            for id_, stream, position, leaf in (
                self._ask(_EVENTS, arrays.uuids(ids)) if ids else ()
            )
        }
        found: dict[int, list[Edge]] = {}
        for position, _, parent, leaf in rows:
            edge = Edge(parent, None, None, None)
            if parent in events:
                stream, where, actual = events[parent]
                kind, _, id_ = stream.partition("/")
                edge = Edge(
                    parent,
                    None if leaf is None else bytes(leaf) == actual,
                    where,
                    id_ if kind == "Generation" else None,
                )
            found.setdefault(position, []).append(edge)
        return found

    def _export(self, nodes: dict[str, Node]) -> None:
        """Read the deliveries of each call's outputs."""
        assets = {
            f"Asset/{one['asset_id']}": node
            for node in nodes.values()
            for event in node.events
            if event.type == "GEN"
            for one in event.body.get("outputs", ())
        }
        if not assets:
            return
        rows = self._ask(_EXPORTED, arrays.texts(list(assets)), _EXPORTS)
        told = of_streams(
            self._connection, self._schema, [export for _, export in rows], first=4, last=8
        )
        for asset, export in rows:
            if export in told:
                assets[asset].exports.append(told[export])

    def _rows(self, query: str, *values: object) -> list[Call]:
        return [Call(*row) for row in self._ask(query, *values)]

    def _ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        book = sql.Identifier(self._schema)
        return self._connection.execute(sql.SQL(query).format(book=book), values).fetchall()


def _grown(nodes: dict[str, Node]) -> list[Node]:
    """Put each node under its parent and return those that stand under none; nodes in log order."""
    roots: list[Node] = []
    for node in nodes.values():
        edge = node.edges[0] if node.edges else None
        above = None
        if edge is not None and edge.position is not None and edge.position < node.call.position:
            above = nodes.get(edge.generation or "")
        (roots if above is None else above.calls).append(node)
    for node in reversed(nodes.values()):  # Children are recorded after their parents.
        node.below = sum(one.below + 1 for one in node.calls)
    return roots
