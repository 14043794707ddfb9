# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree of a Book as stored: any node, path or consistency proof in O(log n) reads of tiles.

    node (height, number) covers positions [number·2^height, (number+1)·2^height)
    it is the root over 2^(height mod 8) elements of a tile of level height div 8

A full tile is one row. The elements of a tile that is not full yet are leaf hashes on level 0 and
the roots of full tiles below on every other level. Nothing here trusts what it reads: whoever asks
checks the result against a root that is signed, or under the head's tag.

Elements of a tile never change, so inclusion paths are made of remembered tiles as far as they go:
those of the upper levels, on the path of many entries, and of the ragged edge. What decides whether
the database still holds the history that was signed (roots, consistency) is read each time.
Source: RFC 9162 §2.1; C2SP tlog-tiles.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from psycopg import sql

from ledger.database import Connection, Database
from ledger.errors import IntegrityViolation, NotFound
from ledger.tiles import WIDTH
from sealtrail.verify.merkle import EMPTY_ROOT, node_hash, tree_root

HASH: Final = 32

#: Tiles that one Book remembers, of 8 KiB each at most; a year has 560 above level 0.
_REMEMBERED: Final = 1_024
#: Roots of subtrees of 256 entries and more, of 150 bytes each.
_NODES: Final = 32_768
_Tiles = dict[tuple[int, int], bytes]


class Node(NamedTuple):
    """A complete node of the tree."""

    height: int
    number: int  #: From the left, on its height.

    @property
    def tile(self) -> tuple[int, int]:
        """The tile that holds the elements under this node: (level, index)."""
        return self.height // 8, (self.number << self.height % 8) // WIDTH

    @property
    def elements(self) -> slice:
        """Which of the tile's elements are under this node."""
        first = (self.number << self.height % 8) % WIDTH
        return slice(first, first + (1 << self.height % 8))


#: A hash to be computed: nodes from left to right that fold, from the right, into one.
Part = Sequence[Node]


def inclusion_parts(index: int, size: int) -> list[Part]:
    """Name the siblings on the path of `index` in the tree of `size`, from the leaf upward."""
    return _siblings(Node(0, index), size)


def consistency_parts(old: int, new: int) -> list[Part]:
    """Name the hashes of the consistency path from `old` to `new` (RFC 9162 §2.1.4.1)."""
    if old in (0, new):
        return []
    height = (old & -old).bit_length() - 1
    edge = Node(height, (old >> height) - 1)
    first: list[Part] = [] if old & (old - 1) == 0 else [[edge]]
    return first + _siblings(edge, new)


def perfect_nodes(begin: int, end: int) -> Part:
    """Cut [begin, end) into complete nodes, left to right; `begin` is aligned to the range."""
    nodes = []
    while begin < end:
        height = (end - begin).bit_length() - 1
        nodes.append(Node(height, begin >> height))
        begin += 1 << height
    return nodes


class Tree:
    """Reads the tree of the Book in `schema`."""

    def __init__(self, database: Database, schema: str) -> None:
        self._database = database
        self._schema = schema
        self._lock = threading.Lock()
        self._remembered: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._nodes: dict[Node, bytes] = {}
        book = sql.Identifier(schema)
        self._full = sql.SQL(
            'SELECT t.level, t."index", t.hashes FROM {}.tile t'
            " JOIN unnest(%b::smallint[], %b::bigint[]) AS u (l, i)"
            ' ON t.level = u.l AND t."index" = u.i'
        ).format(book)
        self._leaves = sql.SQL(
            "SELECT leaf FROM {}.entry WHERE position >= %b AND position < %b ORDER BY position"
        ).format(book)
        self._roots = sql.SQL(
            'SELECT root FROM {}.tile WHERE level = %b AND "index" >= %b AND "index" < %b'
            ' ORDER BY "index"'
        ).format(book)

    def size(self) -> int:
        """Return the log's size as its head row has it now, unproved."""
        query = sql.SQL("SELECT size FROM {}.head WHERE id = 1").format(
            sql.Identifier(self._schema)
        )
        with self._database.duty(self._schema, "read") as connection:
            row = connection.execute(query).fetchone()
        return int(row[0]) if row is not None else 0

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the inclusion path of `index` in the tree of `size`; needs 0 <= index < size."""
        return self.proof(index, size)[1]

    def proof(self, index: int, size: int) -> tuple[bytes, list[bytes]]:
        """Return the leaf hash and the inclusion path of `index` in the tree of `size`."""
        parts: list[Part] = [[Node(0, index)], *inclusion_parts(index, size)]
        nodes = [node for part in parts for node in part]
        with self._lock:
            roots = {node: self._nodes[node] for node in nodes if node in self._nodes}
        missing = [node for node in nodes if node not in roots]
        needed: dict[tuple[int, int], int] = {}
        for node in missing:
            needed[node.tile] = max(needed.get(node.tile, 0), node.elements.stop)
        tiles = self._remember(needed)
        computed = {node: _root(tiles[node.tile], node) for node in missing}
        roots |= computed
        with self._lock:
            if len(self._nodes) > _NODES:
                self._nodes.clear()
            self._nodes.update((node, computed[node]) for node in missing if node.height >= 8)
        leaf, *path = (_fold(roots[node] for node in part) for part in parts)
        return leaf, path

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the consistency path from size `old` to size `new`; needs old <= new."""
        return self._hashes(consistency_parts(old, new))

    def root(self, size: int) -> bytes:
        """Return the root of the first `size` entries."""
        return self._hashes([perfect_nodes(0, size)])[0] if size else EMPTY_ROOT

    def frontier_nodes(self, size: int) -> tuple[bytes, ...]:
        """Return the roots of the perfect subtrees of the first `size` entries, largest first."""
        return tuple(self._hashes([[node] for node in perfect_nodes(0, size)]))

    def tile(self, level: int, index: int, width: int) -> bytes:
        """Return the first `width` hashes of a tile; raises NotFound if there are fewer."""
        with self._database.duty(self._schema, "read") as connection:
            hashes = self._tiles(connection, {(level, index)})[level, index]
        if len(hashes) < width * HASH:
            raise NotFound("this tile has fewer hashes now")
        return hashes[: width * HASH]

    def _hashes(self, parts: Sequence[Part]) -> list[bytes]:
        if not parts:
            return []
        with self._database.duty(self._schema, "read") as connection:
            tiles = self._tiles(connection, {node.tile for part in parts for node in part})
        return [_fold(_root(tiles[node.tile], node) for node in part) for part in parts]

    def _remember(self, needed: dict[tuple[int, int], int]) -> _Tiles:
        """Return tiles with at least so many elements each, from memory or the database."""
        with self._lock:
            known = {at: self._remembered.get(at, b"") for at in needed}
            for at in needed:
                if at in self._remembered:
                    self._remembered.move_to_end(at)
        missing = {at for at, count in needed.items() if len(known[at]) < count * HASH}
        if missing:
            with self._database.duty(self._schema, "read") as connection:
                found = self._tiles(connection, missing)
            known |= found
            with self._lock:
                # A full tile of level 0 is on the path of its own 256 entries only.
                kept = {at: v for at, v in found.items() if at[0] or len(v) < WIDTH * HASH}
                self._remembered.update(kept)
                while len(self._remembered) > _REMEMBERED:
                    self._remembered.popitem(last=False)
        return known

    def _tiles(self, connection: Connection, wanted: set[tuple[int, int]]) -> _Tiles:
        order = sorted(wanted)
        rows = connection.execute(
            self._full,
            ([level for level, _ in order], [index for _, index in order]),
            prepare=True,
            binary=True,
        )
        tiles: _Tiles = {(level, index): hashes for level, index, hashes in rows}
        for level, index in wanted - tiles.keys():
            first = index * WIDTH
            if level == 0:
                found = connection.execute(self._leaves, (first, first + WIDTH), binary=True)
            else:
                found = connection.execute(
                    self._roots, (level - 1, first, first + WIDTH), binary=True
                )
            tiles[level, index] = b"".join(value for (value,) in found)
        return tiles


def root_of_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root to which an inclusion path as made here leads (RFC 9162 §2.1.3.2)."""
    root, node, last = leaf, index, size - 1
    for sibling in path:
        while not node & 1 and node == last and node:
            node, last = node >> 1, last >> 1  # Passed up unchanged.
        root = node_hash(sibling, root) if node & 1 else node_hash(root, sibling)
        node, last = node >> 1, last >> 1
    return root


def _siblings(node: Node, size: int) -> list[Part]:
    parts: list[Part] = []
    height, index = node
    while (index + 1) << height < size or index:
        sibling = index ^ 1
        begin = sibling << height
        end = min(begin + (1 << height), size)
        if begin < size:
            parts.append(perfect_nodes(begin, end))
        height, index = height + 1, index >> 1
    return parts


def _root(tile: bytes, node: Node) -> bytes:
    elements = node.elements
    hashes = _split(tile[elements.start * HASH : elements.stop * HASH])
    if len(hashes) != 1 << node.height % 8:
        raise IntegrityViolation("a hash of the tree is missing from its tile")
    return tree_root(hashes)


def _fold(hashes: Iterable[bytes]) -> bytes:
    """Fold the roots of neighbouring perfect subtrees, largest first, into one."""
    *left, root = hashes
    for node in reversed(left):
        root = node_hash(node, root)
    return root


def _split(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + HASH] for at in range(0, len(hashes), HASH)]
