# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the tables that say where to look for calls, costs, answers, digests and edges.

A link may name an event instead of a thing. It is taken for an event only if that was recorded
before the link was: so a rebuild finds what the first reading found. Rows of an entry go when its
expiry is announced.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from psycopg import sql

from ledger import arrays
from ledger.database import Connection
from ledger.lineage.calls import (
    OUTCOMES,
    Call,
    Cost,
    answer_key,
    answer_names,
    call_of,
    cost_of,
    parents_of,
)
from ledger.lineage.edges import Edge, digests_of, edges_of, event_ids, named_in, stream_of
from ledger.readmodel.projection import Item

_CALLS: Final = """
INSERT INTO {book}.model_call
       (position, generation, event_id, trace_id, provider, model, version, model_id)
SELECT * FROM unnest(%b::bigint[], %b::text[], %b::uuid[], %b::text[], %b::text[], %b::text[],
                     %b::text[], %b::text[])
"""
_PARENTS: Final = """
INSERT INTO {book}.call_parent (position, n, parent, leaf)
SELECT p, n, parent, decode(nullif(leaf, ''), 'hex')
  FROM unnest(%b::bigint[], %b::bigint[], %b::text[], %b::text[]) u (p, n, parent, leaf)
"""
_ASKED: Final = """
SELECT generation, provider, model, version, model_id FROM {book}.model_call
 WHERE generation = ANY(%b)
"""
_COSTS: Final = """
INSERT INTO {book}.call_cost
       (position, event_id, generation, recorded_at, provider, model, version, cost, currency,
        input_tokens, output_tokens, images, request_id, returned)
SELECT p, e, g, at, provider, model, version, cost::numeric, currency, i, o, images, r, returned
  FROM unnest(%b::bigint[], %b::uuid[], %b::text[], %b::bigint[], %b::text[], %b::text[],
              %b::text[], %b::text[], %b::text[], %b::bigint[], %b::bigint[], %b::bigint[],
              %b::text[], %b::text[])
       u (p, e, g, at, provider, model, version, cost, currency, i, o, images, r, returned)
"""
_ANSWERS: Final = """
INSERT INTO {book}.answered AS a
       (key, provider, model, version, returned, fingerprint, answers,
        first_position, first_at, last_position, last_at)
SELECT * FROM unnest(%b::bytea[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[],
                     %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[])
    ON CONFLICT (key) DO UPDATE
   SET answers = a.answers + excluded.answers,
       last_position = excluded.last_position, last_at = excluded.last_at
"""
_DIGESTS: Final = """
INSERT INTO {book}.asset_digest (digest, asset, what, position)
SELECT * FROM unnest(%b::bytea[], %b::text[], %b::text[], %b::bigint[])
"""
_EDGES: Final = """
INSERT INTO {book}.lineage_edge (source, target, rel, position, bound)
SELECT source, target, rel, position, nullif(bound, -1)::integer::boolean
  FROM unnest(%b::text[], %b::text[], %b::text[], %b::bigint[], %b::bigint[])
       u (source, target, rel, position, bound)
"""
_FORGET: Final = """
DELETE FROM {book}.{table} t USING unnest(%b::bigint[], %b::bigint[]) u (first, past)
 WHERE t.position >= u.first AND t.position < u.past
"""
_EVENTS: Final = """
SELECT event_id::text, stream, position, leaf FROM {book}.entry WHERE event_id = ANY(%b)
"""


#: Tables that know single entries. Of who has answered only sums are kept.
_BY_POSITION: Final = ("model_call", "call_parent", "call_cost", "asset_digest", "lineage_edge")


class _Answers(NamedTuple):
    """What a stretch of the log says of one answer."""

    names: tuple[str, str, str, str, str]
    answers: int
    first: tuple[int, int]  #: Position and time.
    last: tuple[int, int]


class LineageProjection:
    """Calls, costs, answers, digests and edges of one Book."""

    name: Final = "lineage"
    tables: Final = (
        "model_call",
        "call_parent",
        "call_cost",
        "answered",
        "asset_digest",
        "lineage_edge",
    )

    def write(self, connection: Connection, schema: str, items: Sequence[Item]) -> None:
        """Write what these entries say."""
        book = _Statements(connection, schema)
        calls = {one.position: call_of(one.entry) for one in items if one.type == "GEN_ATTEMPT"}
        _write_calls(book, items, calls)
        _write_costs(book, items, calls.values())
        _write_digests(book, items)
        _write_edges(book, items)
        _forget_expired(book, items)


class _Statements:
    """Runs statements in the schema of one Book."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection, self._book = connection, sql.Identifier(schema)

    def run(self, query: str, *columns: Any, table: str = "") -> None:
        named = sql.SQL(query).format(book=self._book, table=sql.Identifier(table or "entry"))
        self._connection.execute(named, columns)

    def rows(self, query: str, *columns: Any) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql.SQL(query).format(book=self._book), columns).fetchall()


def _write_calls(book: _Statements, items: Sequence[Item], calls: dict[int, Call]) -> None:
    if not calls:
        return
    attempts = [one for one in items if one.position in calls]
    book.run(
        _CALLS,
        arrays.bigints([one.position for one in attempts]),
        arrays.texts([calls[one.position].generation for one in attempts]),
        arrays.uuids([one.event_id for one in attempts]),
        arrays.optional_texts([calls[one.position].trace_id for one in attempts]),
        arrays.texts([calls[one.position].provider for one in attempts]),
        arrays.texts([calls[one.position].model for one in attempts]),
        arrays.texts([calls[one.position].version for one in attempts]),
        arrays.optional_texts([calls[one.position].model_id for one in attempts]),
    )
    parents = [
        (one.position, n, parent)
        for one in attempts
        for n, parent in enumerate(parents_of(one.entry))
    ]
    if parents:
        book.run(
            _PARENTS,
            arrays.bigints([position for position, _, _ in parents]),
            arrays.bigints([n for _, n, _ in parents]),
            arrays.texts([one.event_id for _, _, one in parents]),
            arrays.texts([(one.leaf or "").removeprefix("sha256:") for _, _, one in parents]),
        )


def _write_costs(book: _Statements, items: Sequence[Item], calls: Iterable[Call]) -> None:
    outcomes = [(one, cost_of(one.entry)) for one in items if one.type in OUTCOMES]
    told = [(item, cost) for item, cost in outcomes if not cost.is_empty]
    if not told:
        return
    asked = {one.generation: one for one in calls}
    missing = sorted({cost.generation for _, cost in told if cost.generation not in asked})
    if missing:
        for generation, provider, model, version, id_ in book.rows(_ASKED, arrays.texts(missing)):
            asked[generation] = Call(generation, None, provider, model, version, id_)
    names = [answer_names(asked.get(cost.generation), cost) for _, cost in told]
    book.run(
        _COSTS,
        arrays.bigints([item.position for item, _ in told]),
        arrays.uuids([item.event_id for item, _ in told]),
        arrays.texts([cost.generation for _, cost in told]),
        arrays.bigints([item.recorded_ms for item, _ in told]),
        arrays.texts([one[0] for one in names]),
        arrays.texts([one[1] for one in names]),
        arrays.texts([one[2] for one in names]),
        arrays.optional_texts([cost.cost for _, cost in told]),
        arrays.optional_texts([cost.currency for _, cost in told]),
        arrays.optional_bigints([cost.input_tokens for _, cost in told]),
        arrays.optional_bigints([cost.output_tokens for _, cost in told]),
        arrays.optional_bigints([cost.images for _, cost in told]),
        arrays.optional_texts([cost.request_id for _, cost in told]),
        arrays.optional_texts([cost.returned for _, cost in told]),
    )
    _write_answers(book, told, asked)


def _write_answers(
    book: _Statements, told: Sequence[tuple[Item, Cost]], asked: dict[str, Call]
) -> None:
    answers: dict[bytes, _Answers] = {}
    for item, cost in told:
        if cost.returned is None and cost.fingerprint is None:
            continue
        call, here = asked.get(cost.generation), (item.position, item.recorded_ms)
        key = answer_key(call, cost)
        before = answers.get(key)
        answers[key] = (
            _Answers(answer_names(call, cost), 1, here, here)
            if before is None
            else before._replace(answers=before.answers + 1, last=here)
        )
    if not answers:
        return
    rows = list(answers.values())
    book.run(
        _ANSWERS,
        arrays.hashes(list(answers)),
        *(arrays.texts([one.names[n] for one in rows]) for n in range(5)),
        arrays.bigints([one.answers for one in rows]),
        arrays.bigints([one.first[0] for one in rows]),
        arrays.bigints([one.first[1] for one in rows]),
        arrays.bigints([one.last[0] for one in rows]),
        arrays.bigints([one.last[1] for one in rows]),
    )


def _write_digests(book: _Statements, items: Sequence[Item]) -> None:
    found = [(*one, item.position) for item in items for one in digests_of(item.entry)]
    if found:
        book.run(
            _DIGESTS,
            arrays.hashes([bytes.fromhex(one[0].removeprefix("sha256:")) for one in found]),
            arrays.texts([one[1] for one in found]),
            arrays.texts([one[2] for one in found]),
            arrays.bigints([one[3] for one in found]),
        )


def _write_edges(book: _Statements, items: Sequence[Item]) -> None:
    rows: dict[tuple[Edge, int], int] = {}  # Whether its link is bound: 1, 0, or -1 for no leaf.
    for item in items:
        for edge in edges_of(item.entry):
            rows[edge, item.position] = -1
    links = [(item, one) for item in items for one in named_in(item.entry)]
    wanted = sorted({one.id for _, one in links if event_ids(one)})
    events = {
        id_: (stream, position, bytes(leaf))
        for id_, stream, position, leaf in (
            book.rows(_EVENTS, arrays.uuids(wanted)) if wanted else ()
        )
    }
    for item, one in links:
        event = events.get(one.id) if event_ids(one) else None
        known = event is not None and event[1] < item.position
        other = event[0] if event is not None and known else one.default
        leaf = f"sha256:{event[2].hex()}" if event is not None and known else None
        edge = one.edge(stream_of(item.entry), other)
        if edge.source != edge.target:
            rows[edge, item.position] = -1 if one.leaf is None else int(one.leaf == leaf)
    if rows:
        book.run(
            _EDGES,
            arrays.texts([edge.source for edge, _ in rows]),
            arrays.texts([edge.target for edge, _ in rows]),
            arrays.texts([edge.rel for edge, _ in rows]),
            arrays.bigints([position for _, position in rows]),
            arrays.bigints(list(rows.values())),
        )


def _forget_expired(book: _Statements, items: Sequence[Item]) -> None:
    """Remove what is known of entries whose expiry is announced, all of them earlier ones."""
    ranges = [
        one
        for item in items
        if item.type == "RETENTION_EXPIRED" and item.entry["body"]["what"] == "entry"
        for one in item.entry["body"]["leaf_ranges"]
    ]
    for table in _BY_POSITION if ranges else ():
        first, past = zip(*ranges, strict=True)
        book.run(_FORGET, arrays.bigints(first), arrays.bigints(past), table=table)
