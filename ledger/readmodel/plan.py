# SPDX-License-Identifier: GPL-3.0-or-later
"""A query as operations on sets of positions, block by block.

    Terms    rows of the search index: any of these values of a key
    Fixed    positions that were looked up beforehand: an event, a stream, a person's events
    Span     a stretch of the log; times never decrease along it, so a time is a position
    All, Any, Not

A page needs the blocks from where it begins until it is full. Rows are read for a few blocks at
first and then for more at a time, so that what is frequent costs little and what is rare takes few
questions. No value of a query becomes a part of a statement: all travel as parameters.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import or_
from typing import Final, NamedTuple, TypeAlias

from psycopg import sql

from ledger import arrays
from ledger.database import Connection
from ledger.readmodel import bits

#: Blocks that are read at a time: first, and at most; each time twice as many.
_FIRST: Final = 4
_MOST: Final = 128

_RUN: Final = 256  #: Positions of a bundle's run.

_ROWS: Final = """
SELECT t.key, t.value, t.block, t.bits
  FROM unnest(%s::text[], %s::text[]) AS u (key, value)
  JOIN {book}.search_term t ON t.key = u.key AND t.value = u.value
   AND t.block >= %s AND t.block <= %s
"""
_COLD: Final = """
SELECT b.number, b.members FROM {book}.bundle b JOIN {book}.moved m USING (name)
 WHERE b.number >= %s AND b.number <= %s
"""
_EXPIRED: Final = """
SELECT t.number, t.members FROM {book}.tombstone t JOIN {book}.expired x USING (number, event_id)
 WHERE t.what = 'entry' AND t.number >= %s AND t.number <= %s
"""
_PRESENT: Final = """
SELECT position FROM {book}.entry_body WHERE position >= %s AND position < %s
"""


class Terms(NamedTuple):
    """Positions that fit any of these values of a key."""

    key: str
    values: tuple[str, ...]


class Fixed(NamedTuple):
    """Positions that are known."""

    blocks: dict[int, int]


class Span(NamedTuple):
    """Positions from `start` to before `stop`."""

    start: int
    stop: int


class All(NamedTuple):
    """What is in all of these; all positions, if there are none."""

    nodes: "tuple[Node, ...]"


class Any(NamedTuple):
    """What is in any of these; nothing, if there are none."""

    nodes: "tuple[Node, ...]"


class Not(NamedTuple):
    """What is not in this."""

    node: "Node"


Node: TypeAlias = Terms | Fixed | Span | All | Any | Not
_Rows: TypeAlias = dict[tuple[str, str], dict[int, int]]

NOTHING: Final = Any(())


def matches(
    connection: Connection,
    schema: str,
    node: Node,
    *,
    start: int,
    stop: int,
    descending: bool,
) -> Iterator[tuple[int, int]]:
    """Yield (block, positions in it as a set) of all that a query finds in [start, stop).

    In order of the log or the other way; blocks with nothing are left out. Holds no more than some
    hundred blocks at a time.
    """
    for one in node.nodes if isinstance(node, All) else (node,):
        if isinstance(one, Span):
            start, stop = max(start, one.start), min(stop, one.stop)
    if start >= stop:
        return
    low, high = start // bits.BLOCK, (stop - 1) // bits.BLOCK
    width = _FIRST
    while low <= high:
        first, last = (max(low, high - width + 1), high) if descending else (
            low, min(high, low + width - 1))  # fmt: skip
        rows = _load(connection, schema, node, first, last)
        for block in range(last, first - 1, -1) if descending else range(first, last + 1):
            begin = block * bits.BLOCK
            found = _evaluate(node, block, rows) & bits.between(start - begin, stop - begin)
            if found:
                yield block, found
        low, high = (low, first - 1) if descending else (last + 1, high)
        width = min(2 * width, _MOST)


def places(
    connection: Connection, schema: str, first: int, last: int
) -> tuple[dict[int, int], dict[int, int]]:
    """Return which positions of the blocks first … last are cold, and which have expired."""
    book = sql.Identifier(schema)
    runs = (first * bits.BLOCK // _RUN, ((last + 1) * bits.BLOCK - 1) // _RUN)
    found: list[dict[int, int]] = []
    for query in (_COLD, _EXPIRED):
        blocks: dict[int, int] = {}
        for number, members in connection.execute(sql.SQL(query).format(book=book), runs):
            block, offset = divmod(number * _RUN, bits.BLOCK)
            mask = int.from_bytes(members, "little") << offset
            blocks[block] = blocks.get(block, 0) | mask
        found.append(blocks)
    cold, expired = found
    present_in = sql.SQL(_PRESENT).format(book=book)
    for block in cold.keys() | expired.keys():
        begin = block * bits.BLOCK
        rows = connection.execute(present_in, (begin, begin + bits.BLOCK)).fetchall()
        present = bits.mask_of(position - begin for (position,) in rows)
        expired[block] = expired.get(block, 0) & ~present
        cold[block] = cold.get(block, 0) & ~present & ~expired[block]
    return cold, expired


def _load(connection: Connection, schema: str, node: Node, first: int, last: int) -> _Rows:
    """Read what a query needs of the blocks first … last."""
    needed = sorted(set(_needed(node)))
    rows: _Rows = {}
    if any(key == "tier" for key, _ in needed):
        cold, expired = places(connection, schema, first, last)
        rows["tier", "cold"], rows["tier", "expired"] = cold, expired
        rows["tier", "database"] = {
            block: bits.FULL & ~cold.get(block, 0) & ~expired.get(block, 0)
            for block in range(first, last + 1)
        }
    asked = [one for one in needed if one[0] != "tier"]
    if asked:
        keys, values = zip(*asked, strict=True)
        statement = sql.SQL(_ROWS).format(book=sql.Identifier(schema))
        found = connection.execute(
            statement, (arrays.texts(keys), arrays.texts(values), first, last), binary=True
        )
        for key, value, block, packed in found.fetchall():
            rows.setdefault((key, value), {})[block] = bits.unpack(packed)
    return rows


def _needed(node: Node) -> Iterator[tuple[str, str]]:
    match node:
        case Terms(key, values):
            for value in values:
                yield key, value
        case Not(below):
            yield from _needed(below)
        case All(nodes) | Any(nodes):
            for one in nodes:
                yield from _needed(one)


def _evaluate(node: Node, block: int, rows: _Rows) -> int:
    match node:
        case Terms(key, values):
            return _joined(rows.get((key, value), {}).get(block, 0) for value in values)
        case Fixed(blocks):
            return blocks.get(block, 0)
        case Span(start, stop):
            return bits.between(start - block * bits.BLOCK, stop - block * bits.BLOCK)
        case Not(below):
            return bits.FULL & ~_evaluate(below, block, rows)
        case Any(nodes):
            return _joined(_evaluate(one, block, rows) for one in nodes)
        case All(nodes):
            return reduce(lambda found, one: found and found & _evaluate(one, block, rows),
                          nodes, bits.FULL)  # fmt: skip


def _joined(sets: Iterable[int]) -> int:
    return reduce(or_, sets, 0)


def union(nodes: Sequence[Node]) -> Node:
    """Return the one node, or what is in any of them."""
    return nodes[0] if len(nodes) == 1 else Any(tuple(nodes))
