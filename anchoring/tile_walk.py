# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds every tile again from the leaf hashes and compares it with the stored one."""

from collections.abc import Iterator, Sequence
from typing import Final

from psycopg import sql

from ledger.database import Connection
from ledger.tiles import WIDTH, Edge, Tile

HASH: Final = 32
Damage = tuple[int | None, str, str]


class TileWalk:
    """Follows one log from position 0; yields what is wrong with its tiles, by position."""

    def __init__(self, schema: str) -> None:
        book = sql.Identifier(schema)
        self._edge = Edge.empty()
        self._found = 0  # Stored tiles that the log completed.
        self._count = sql.SQL("SELECT count(*) FROM {}.tile").format(book)
        self._all = sql.SQL('SELECT level, "index" FROM {}.tile ORDER BY level, "index"').format(
            book
        )
        self._select = sql.SQL(
            'SELECT root, hashes FROM {}.tile WHERE level = %s AND "index" = %s'
        ).format(book)

    def extend(self, connection: Connection, leaves: Sequence[bytes]) -> Iterator[Damage]:
        """Append leaf hashes; compare each tile that they complete."""
        self._edge, tiles = self._edge.append(leaves)
        for tile in tiles:
            row = connection.execute(self._select, (tile.level, tile.index)).fetchone()
            self._found += row is not None
            wrong = _first_difference(tile, None if row is None else (row[0], row[1]))
            if wrong is not None:
                element, sentence = wrong
                position = (tile.index * WIDTH + element) << (8 * tile.level)
                yield position, "tile", f"tile {tile.level}/{tile.index} {sentence}"

    def finish(self, connection: Connection) -> Iterator[Damage]:
        """Find tiles that the log never completed."""
        row = connection.execute(self._count).fetchone()
        if row is None or row[0] == self._found:
            return
        for level, index in connection.execute(self._all):
            if not 0 <= level <= 7 or index < 0 or (index + 1) << 8 * (level + 1) > self._edge.size:
                position = max(index, 0) * WIDTH << 8 * min(max(level, 0), 7)
                yield position, "tile", f"tile {level}/{index} was never completed by the log"


def _first_difference(tile: Tile, stored: tuple[bytes, bytes] | None) -> tuple[int, str] | None:
    """Return the first element that differs, and how; None if the tile is as it should be."""
    if stored is None:
        return 0, "is gone"
    root, hashes = bytes(stored[0]), bytes(stored[1])
    for element in range(WIDTH):
        part = slice(element * HASH, (element + 1) * HASH)
        if hashes[part] != tile.hashes[part]:
            return element, f"was changed at its hash {element}"
    if hashes != tile.hashes:
        return 0, "has more hashes than a tile"
    return None if root == tile.root else (0, "has another root than its hashes give")
