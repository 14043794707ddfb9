# SPDX-License-Identifier: GPL-3.0-or-later
"""The right edge of the tree in tiles of 256, and the full tiles that a batch completes.

    level 0   256 leaf hashes a tile, positions 256·i …          (C2SP tlog-tiles, without a height
    level 1   256 roots of level-0 tiles, and so on               of eight there is no other shape)

For each level the edge keeps the hashes after the last full tile, at most 255. A full tile is
written once, by the statement that completes it; `root` is what stands for it one level up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import sql

from ledger.database import Connection
from ledger.errors import IntegrityViolation
from sealtrail.verify.frontier import Frontier
from sealtrail.verify.merkle import tree_root

WIDTH: Final = 256


class TilesDisagree(IntegrityViolation):
    """The stored leaves and tiles do not add up to the head's frontier."""

    problem = "tiles-disagree"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A full tile: 256 hashes of `level`, from element 256·index, and the root over them."""

    level: int
    index: int
    root: bytes
    hashes: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """The hashes of each level that are in no full tile yet, for a log of `size` entries."""

    size: int
    rows: tuple[tuple[bytes, ...], ...]  #: From level 0 up; no trailing empty rows are needed.

    @classmethod
    def empty(cls) -> "Edge":
        return cls(size=0, rows=())

    def append(self, leaves: Sequence[bytes]) -> tuple["Edge", list[Tile]]:
        """Return the edge after these leaves, and the tiles that became full on the way."""
        rows: list[tuple[bytes, ...]] = []
        tiles: list[Tile] = []
        rising: Sequence[bytes] = leaves
        level = 0
        while rising or level < len(self.rows):
            kept = self.rows[level] if level < len(self.rows) else ()
            hashes = [*kept, *rising]
            index = (self.size >> (8 * level)) // WIDTH
            full = [hashes[at : at + WIDTH] for at in range(0, len(hashes) - WIDTH + 1, WIDTH)]
            rising = []
            for offset, tile in enumerate(full):
                root = tree_root(tile)
                tiles.append(
                    Tile(level=level, index=index + offset, root=root, hashes=b"".join(tile))
                )
                rising.append(root)
            rows.append(tuple(hashes[len(full) * WIDTH :]))
            level += 1
        return Edge(size=self.size + len(leaves), rows=tuple(rows)), tiles

    def frontier(self) -> Frontier:
        """Return the frontier of the log that this is the edge of; at most 255 hashes a level."""
        nodes = [node for row in reversed(self.rows) for node in _perfect_roots(row)]
        return Frontier(size=self.size, nodes=tuple(nodes))

    def check(self, frontier: Frontier) -> None:
        """Return if these hashes add up to `frontier`; else raise TilesDisagree.

        The head's tag vouches for the frontier, and the frontier for every hash of the edge.
        """
        nodes = [node for row in reversed(self.rows) for node in _perfect_roots(row)]
        if self.size != frontier.size or tuple(nodes) != frontier.nodes:
            raise TilesDisagree


def load_edge(connection: Connection, schema: str, frontier: Frontier) -> Edge:
    """Read the edge of the log of `frontier.size` entries and check it against the frontier."""
    size = frontier.size
    book = sql.Identifier(schema)
    leaves = sql.SQL(
        "SELECT leaf FROM {}.entry WHERE position >= %s AND position < %s ORDER BY position"
    ).format(book)
    roots = sql.SQL(
        'SELECT root FROM {}.tile WHERE level = %s AND "index" >= %s AND "index" < %s'
        ' ORDER BY "index"'
    ).format(book)
    rows = [_column(connection, leaves, (size - size % WIDTH, size))]
    level, width = 1, size // WIDTH
    while width:
        rows.append(_column(connection, roots, (level - 1, width - width % WIDTH, width)))
        level, width = level + 1, width // WIDTH
    edge = Edge(size=size, rows=tuple(rows))
    edge.check(frontier)
    return edge


def _column(
    connection: Connection, query: sql.Composed, parameters: tuple[Any, ...]
) -> tuple[bytes, ...]:
    return tuple(bytes(value) for (value,) in connection.execute(query, parameters))


def _perfect_roots(hashes: Sequence[bytes]) -> list[bytes]:
    """Roots of the perfect subtrees over `hashes`, largest first."""
    roots = []
    at = 0
    for bit in range(7, -1, -1):
        width = 1 << bit
        if len(hashes) & width:
            roots.append(tree_root(hashes[at : at + width]))
            at += width
    return roots
