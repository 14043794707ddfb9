# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds every tile again from the leaf hashes and compares it with the stored one.

Tiles of level 0 follow from their own leaves, so each range of the log compares its own; their
roots, one after the other, give all tiles above, the frontier and the root at any size.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from psycopg import sql

from ledger.database import Connection
from ledger.tiles import WIDTH, Edge, Tile
from sealtrail.verify.frontier import Frontier
from sealtrail.verify.merkle import tree_root

HASH: Final = 32
Damage = tuple[int | None, str, str]

_SELECT: Final = """
SELECT "index", root, hashes FROM {}.tile WHERE level = %s AND "index" >= %s AND "index" < %s
"""


class TileWalk:
    """Follows one log by the roots of its full tiles; yields what is wrong with those above."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        book = sql.Identifier(schema)
        self._edge = Edge.empty()  # Its leaves are the roots of tiles of level 0.
        self._found = 0  # Stored tiles that the log completed.
        self._count = sql.SQL("SELECT count(*) FROM {}.tile").format(book)
        self._all = sql.SQL('SELECT level, "index" FROM {}.tile ORDER BY level, "index"').format(
            book
        )

    def extend(
        self, connection: Connection, roots: Sequence[bytes], found: int = 0
    ) -> Iterator[Damage]:
        """Append roots of full tiles, of which `found` are stored; compare what they complete."""
        self._found += found
        self._edge, tiles = self._edge.append(roots)
        for tile in tiles:
            above = Tile(level=tile.level + 1, index=tile.index, root=tile.root, hashes=tile.hashes)
            stored, damage = _compare(connection, self._schema, [above])
            self._found += stored
            yield from damage

    def frontier(self, rest: Sequence[bytes]) -> Frontier:
        """Return the frontier of the full tiles so far and fewer than 256 leaves after them."""
        tiles = self._edge.frontier()
        ragged = Frontier.empty().append(rest)
        return Frontier(size=tiles.size * WIDTH + ragged.size, nodes=(*tiles.nodes, *ragged.nodes))

    def finish(self, connection: Connection, size: int) -> Iterator[Damage]:
        """Find tiles that the log of `size` entries never completed."""
        row = connection.execute(self._count).fetchone()
        if row is None or row[0] == self._found:
            return
        for level, index in connection.execute(self._all):
            if not 0 <= level <= 7 or index < 0 or (index + 1) << 8 * (level + 1) > size:
                position = max(index, 0) * WIDTH << 8 * min(max(level, 0), 7)
                yield position, "tile", f"tile {level}/{index} was never completed by the log"


def compare_leaves(
    connection: Connection, schema: str, begin: int, leaves: Sequence[bytes]
) -> tuple[list[bytes], int, list[Damage]]:
    """Return the roots of the full tiles over `leaves`, how many are stored, and what is wrong.

    begin: the position of the first leaf, a multiple of 256.
    """
    tiles = []
    for at in range(0, len(leaves) - WIDTH + 1, WIDTH):
        hashes = leaves[at : at + WIDTH]
        index = (begin + at) // WIDTH
        tiles.append(Tile(level=0, index=index, root=tree_root(hashes), hashes=b"".join(hashes)))
    found, damage = _compare(connection, schema, tiles)
    return [tile.root for tile in tiles], found, damage


def _compare(
    connection: Connection, schema: str, tiles: Sequence[Tile]
) -> tuple[int, list[Damage]]:
    """Compare neighbouring tiles of one level with the stored ones."""
    if not tiles:
        return 0, []
    query = sql.SQL(_SELECT).format(sql.Identifier(schema))
    bounds = (tiles[0].level, tiles[0].index, tiles[-1].index + 1)
    rows: dict[int, tuple[Any, Any]] = {
        index: (root, hashes)
        for index, root, hashes in connection.execute(query, bounds, binary=True)
    }
    damage: list[Damage] = []
    for tile in tiles:
        wrong = _first_difference(tile, rows.get(tile.index))
        if wrong is not None:
            element, sentence = wrong
            position = (tile.index * WIDTH + element) << (8 * tile.level)
            damage.append((position, "tile", f"tile {tile.level}/{tile.index} {sentence}"))
    return len(rows), damage


def _first_difference(tile: Tile, stored: tuple[bytes, bytes] | None) -> tuple[int, str] | None:
    """Return the first element that differs, and how; None if the tile is as it should be."""
    if stored is None:
        return 0, "is gone"
    root, hashes = stored
    if hashes == tile.hashes:
        return None if root == tile.root else (0, "has another root than its hashes give")
    for element in range(WIDTH):
        part = slice(element * HASH, (element + 1) * HASH)
        if hashes[part] != tile.hashes[part]:
            return element, f"was changed at its hash {element}"
    return 0, "has more hashes than a tile"
