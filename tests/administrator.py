# SPDX-License-Identifier: GPL-3.0-or-later
"""A database administrator with a free hand: no trigger and no permission stands in the way."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from house import House

from ledger.head import Chain
from ledger.tiles import Edge
from sealtrail.verify import canonical
from sealtrail.verify.frontier import Frontier
from sealtrail.verify.merkle import leaf_hash

TABLES = ("head", "entry", "entry_body", "tile", "asset_birth", "anchor", "token")


class Administrator:
    """A superuser's session in the database of one house."""

    def __init__(self, house: House, connection: Any) -> None:
        self._connection, self._house = connection, house
        connection.execute("SET session_replication_role = replica")  # No trigger fires.

    def do(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement; {b} is the schema of the main Book."""
        done = self._connection.execute(statement.replace("{b}", self._house.schema), values)
        return done.fetchall() if done.description else []

    def save(self) -> None:
        """Put every row of the Book aside, as a backup does."""
        self.do("DROP SCHEMA IF EXISTS {b}_saved CASCADE")
        self.do("CREATE SCHEMA {b}_saved")
        for table in TABLES:
            self.do(f"CREATE TABLE {{b}}_saved.{table} AS TABLE {{b}}.{table}")

    def restore(self) -> None:
        """Bring back what was put aside, and nothing else: the database is as it was then."""
        with self._connection.transaction():
            for table in TABLES:
                self.do(f"DELETE FROM {{b}}.{table}")
                self.do(f"INSERT INTO {{b}}.{table} TABLE {{b}}_saved.{table}")

    def forge(self, change: Callable[[int, dict[str, Any]], None], *, chain: Chain | None) -> None:
        """Rewrite the whole log consistently: bodies, leaves, tiles, frontier and head.

        change: alters the entry at a position. chain: the stolen keys of epoch 0, for MACs and the
        head's tag; without them both stay what they were.
        """
        rows = self.do(
            "SELECT position, e.mac, bytes FROM {b}.entry e JOIN {b}.entry_body USING (position)"
            " ORDER BY position"
        )
        leaves = []
        mac = chain.start(0, None) if chain is not None else b""
        for position, stored_mac, data in rows:
            entry = json.loads(data)
            change(position, entry)
            changed = canonical.encode(entry)
            leaves.append(leaf_hash(changed))
            mac = chain.link(0, mac, position, leaves[-1]) if chain is not None else stored_mac
            self.do("UPDATE {b}.entry_body SET bytes = %s WHERE position = %s", changed, position)
            self.do(
                "UPDATE {b}.entry SET leaf = %s, mac = %s WHERE position = %s",
                leaves[-1],
                mac,
                position,
            )
        _, tiles = Edge.empty().append(leaves)
        for tile in tiles:
            self.do(
                'UPDATE {b}.tile SET root = %s, hashes = %s WHERE level = %s AND "index" = %s',
                tile.root,
                tile.hashes,
                tile.level,
                tile.index,
            )
        frontier = Frontier.empty().append(leaves)
        self.do("UPDATE {b}.head SET frontier = %s", frontier.pack())
        if chain is not None:
            ((last_time,),) = self.do("SELECT last_time FROM {b}.head")
            head = chain.head(epoch=0, frontier=frontier, mac=mac, last_time=last_time)
            self.do("UPDATE {b}.head SET mac = %s, tag = %s", head.mac, head.tag)


@contextmanager
def administrator(house: House) -> Iterator[Administrator]:
    """Log in as the administrator of this house's database."""
    with house.owner() as connection:
        yield Administrator(house, connection)
