# SPDX-License-Identifier: GPL-3.0-or-later
"""The hands of a database administrator: any row of one Book, and no trigger in the way.

Only a scratch copy, or a test's own database, is ever given into them: nothing here asks twice. The
connection is a superuser's. What he makes can be as complete as our own writer's work, tiles and
index columns included; what he lacks are the keys, unless somebody hands him a chain.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from ledger import catalog
from ledger.clock import parse_time
from ledger.database import Connection
from ledger.head import Chain, Head
from ledger.store import Entry, read_entry
from ledger.tiles import Edge
from sealtrail.verify import canonical
from sealtrail.verify.entry import client_part, request_digest
from sealtrail.verify.frontier import Frontier
from sealtrail.verify.merkle import leaf_hash

#: Every table of a Book's log.
TABLES: Final = ("head", "entry", "entry_body", "tile", "asset_birth", "anchor", "token")

#: What says of bodies that they left the database lawfully; each after those that it refers to.
KEPT: Final = ("bundle", "moved", "remains", "manifest", "tombstone", "expired")

#: Trees whose roots the log names.
TREES: Final = ("sparse_tree", "sparse_bucket", "dataset")

#: Far beyond any log: where rows wait while they change places.
_ASIDE: Final = 1 << 60

#: Alters the entry at a position in place.
Change = Callable[[int, dict[str, Any]], None]


def unchanged(_position: int, _entry: dict[str, Any]) -> None:
    """Leave every entry as it is."""


class Administrator:
    """A superuser's session over the Book in `schema`; {b} in a statement is that schema."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection, self._schema = connection, schema
        connection.execute("SET session_replication_role = replica")  # No trigger fires.

    def do(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        text = statement.replace("{b}", self._schema).encode()
        done = self._connection.execute(text, values)
        return done.fetchall() if done.description else []

    def save(self) -> None:
        """Put every row of the Book aside, as a backup does."""
        self.do("DROP SCHEMA IF EXISTS {b}_saved CASCADE")
        self.do("CREATE SCHEMA {b}_saved")
        for table in (*TABLES, *KEPT, *TREES):
            self.do(f"CREATE TABLE {{b}}_saved.{table} AS TABLE {{b}}.{table}")

    def restore(self) -> None:
        """Bring back what was put aside, and nothing else: the database is as it was then."""
        with self._connection.transaction():
            for table in (*TABLES, *KEPT, *TREES):
                self.do("DELETE FROM {b}.{t}".replace("{t}", table))
                self.do("INSERT INTO {b}.{t} TABLE {b}_saved.{t}".replace("{t}", table))

    # One entry

    def size(self) -> int:
        """Return what the head row says."""
        ((size,),) = self.do("SELECT size FROM {b}.head")
        return int(size)

    def data(self, position: int) -> bytes:
        """Return the stored bytes at a position."""
        ((data,),) = self.do("SELECT bytes FROM {b}.entry_body WHERE position = %s", position)
        return bytes(data)

    def put(self, position: int, data: bytes) -> None:
        """Store other bytes at a position, with the leaf hash that they have."""
        self.do("UPDATE {b}.entry_body SET bytes = %s WHERE position = %s", data, position)
        self.do("UPDATE {b}.entry SET leaf = %s WHERE position = %s", leaf_hash(data), position)

    def edit(self, position: int, change: Callable[[dict[str, Any]], None]) -> None:
        """Alter one entry: its bytes, its leaf hash, and every index column that follows."""
        value = json.loads(self.data(position))
        change(value)
        self.put(position, canonical.encode(value))
        self._index(position, read_entry(canonical.encode(value)))

    def insert(self, position: int, data: bytes) -> None:
        """Add a row with every column that our writer would give it, but its MAC."""
        entry = read_entry(data)
        self.do(
            "INSERT INTO {b}.entry (position, leaf, mac, event_id, stream, version, topic,"
            " recorded_at, request_digest) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            *(position, leaf_hash(data), bytes(32), entry.event_id, entry.stream),
            *(entry.originator_version, entry.topic, entry.recorded_ms, _digest(entry)),
        )
        self.do("INSERT INTO {b}.entry_body (position, bytes) VALUES (%s, %s)", position, data)

    # The whole log

    def forge(self, change: Change, *, chain: Chain | None) -> None:
        """Rewrite the whole log consistently: bodies, columns, leaves, tiles, frontier, head.

        chain: stolen keys, for the MACs of the present epoch and the head's tag; without them both
        stay what they were. Older epochs' keys are destroyed, so their MACs stay in any case.
        """
        self.relay(range(self.size()), change=change, chain=chain)

    def relay(
        self,
        order: Sequence[int],
        *,
        change: Change = unchanged,
        more: Sequence[bytes] = (),
        chain: Chain | None = None,
    ) -> None:
        """Lay the log anew from its entries at `order`, then `more`; each keeps its own MAC.

        What is not named in `order` is gone. With a chain, MACs and tag are made anew, as `forge`
        does.
        """
        with self._connection.transaction():
            kept = self.entries()
            self._move(order, len(kept))
            leaves: list[bytes] = []
            for position, old in enumerate(order):
                data = kept[old]
                value = json.loads(data)
                change(position, value)
                changed = canonical.encode(value)
                if changed != data:
                    self.put(position, changed)
                    self._index(position, read_entry(changed))
                leaves.append(leaf_hash(changed))
            for data in more:
                self.insert(len(leaves), data)
                leaves.append(leaf_hash(data))
            self._relay_tiles(leaves)
            self._relay_births()
            self._relay_head(leaves, chain)

    def rewind(self, size: int, chain: Chain) -> None:
        """Be the backup of the moment when the log had `size` entries: every row as it was then.

        chain makes the head's tag as it was made then; the epoch must still be the same.
        """
        with self._connection.transaction():
            self.do("DELETE FROM {b}.entry_body WHERE position >= %s", size)
            self.do("DELETE FROM {b}.entry WHERE position >= %s", size)
            self.do("DELETE FROM {b}.asset_birth WHERE position >= %s", size)
            self.do(
                "DELETE FROM {b}.token WHERE anchor_id IN"
                " (SELECT anchor_id FROM {b}.anchor WHERE size > %s)",
                size,
            )
            self.do("DELETE FROM {b}.anchor WHERE size > %s", size)
            rows = self.do("SELECT leaf, mac, recorded_at FROM {b}.entry ORDER BY position")
            leaves = [bytes(leaf) for leaf, _, _ in rows]
            self._relay_tiles(leaves)
            self._write_head(
                chain.head(
                    epoch=self.epoch(),
                    frontier=Frontier.empty().append(leaves),
                    mac=bytes(rows[-1][1]),
                    last_time=rows[-1][2],
                )
            )

    def epoch(self) -> int:
        """Return the epoch that the head row names."""
        ((epoch,),) = self.do("SELECT epoch FROM {b}.head")
        return int(epoch)

    def epoch_start(self) -> int:
        """Return the first position of the present epoch."""
        ((first,),) = self.do(
            "SELECT max(CASE topic WHEN 'EPOCH_SEALED/1' THEN position + 1 ELSE position END)"
            " FROM {b}.entry WHERE topic IN ('EPOCH_SEALED/1', 'INCARNATION_OPENED/1')"
        )
        return 0 if first is None else int(first)

    def entries(self) -> list[bytes]:
        """Return the bytes of every entry, in order."""
        rows = self.do("SELECT bytes FROM {b}.entry_body ORDER BY position")
        return [bytes(data) for (data,) in rows]

    def leaves(self) -> list[bytes]:
        """Return the leaf hash of every entry, from its bytes."""
        return [leaf_hash(data) for data in self.entries()]

    def _move(self, order: Sequence[int], size: int) -> None:
        """Give each row its new position; what is not named goes."""
        moved = [(old, new) for new, old in enumerate(order) if old != new]
        if not moved and len(order) == size:
            return
        self._both("UPDATE {b}.{t} SET position = position + %s", _ASIDE)
        self._both(
            "UPDATE {b}.{t} t SET position = m.new"
            " FROM unnest(%s::bigint[], %s::bigint[]) AS m (old, new) WHERE t.position = m.old",
            *([old + _ASIDE for old in order], list(range(len(order)))),
        )
        self._both("DELETE FROM {b}.{t} WHERE position >= %s", _ASIDE)

    def _both(self, statement: str, *values: Any) -> None:
        """Run a statement over the rows and over their bodies; {t} is the table."""
        for table in ("entry", "entry_body"):
            self.do(statement.replace("{t}", table), *values)

    def _index(self, position: int, entry: Entry) -> None:
        source = entry.value.get("source", {})
        self.do(
            "UPDATE {b}.entry SET event_id = %s, stream = %s, version = %s, topic = %s,"
            " recorded_at = %s, request_digest = %s, source_id = %s, source_n = %s"
            " WHERE position = %s",
            *(entry.event_id, entry.stream, entry.originator_version, entry.topic),
            *(entry.recorded_ms, _digest(entry), source.get("id"), source.get("n"), position),
        )

    def _relay_tiles(self, leaves: Sequence[bytes]) -> None:
        self.do("DELETE FROM {b}.tile")
        _, tiles = Edge.empty().append(leaves)
        for tile in tiles:
            self.do(
                'INSERT INTO {b}.tile (level, "index", root, hashes) VALUES (%s, %s, %s, %s)',
                *(tile.level, tile.index, tile.root, tile.hashes),
            )

    def _relay_births(self) -> None:
        self.do("DELETE FROM {b}.asset_birth")
        rows = self.do(
            "SELECT position, bytes FROM {b}.entry JOIN {b}.entry_body USING (position)"
            " WHERE topic IN ('INGEST/1', 'GEN/1') ORDER BY position"
        )
        for position, data in rows:
            value = json.loads(data)
            born = catalog.born_assets(value["type"], value["aggregate"]["id"], value["body"])
            for asset in born:
                self.do(
                    "INSERT INTO {b}.asset_birth (asset_id, position) VALUES (%s, %s)"
                    " ON CONFLICT DO NOTHING",
                    *(asset, position),
                )

    def _relay_head(self, leaves: Sequence[bytes], chain: Chain | None) -> None:
        frontier = Frontier.empty().append(leaves)
        if chain is None:
            self.do("UPDATE {b}.head SET size = %s, frontier = %s", frontier.size, frontier.pack())
            return
        epoch, first = self.epoch(), self.epoch_start()
        mac = self._start(chain, epoch, first)
        macs, link = [], chain.linker(epoch)
        for position in range(first, len(leaves)):
            mac = link(mac, position, leaves[position])
            macs.append(mac)
        self.do(
            "UPDATE {b}.entry e SET mac = m.mac FROM unnest(%s::bigint[], %s::bytea[])"
            " AS m (position, mac) WHERE e.position = m.position",
            *(list(range(first, len(leaves))), macs),
        )
        last_time = parse_time(json.loads(self.data(len(leaves) - 1))["time"]["recorded"])
        head = chain.head(epoch=epoch, frontier=frontier, mac=mac, last_time=last_time)
        self._write_head(head)

    def _start(self, chain: Chain, epoch: int, first: int) -> bytes:
        """Return the value from which the present epoch's MACs begin."""
        if epoch == 0:
            return chain.start(0, None)
        ((last,),) = self.do("SELECT mac FROM {b}.entry WHERE position = %s", first - 1)
        return chain.start(epoch, bytes(last))

    def _write_head(self, head: Head) -> None:
        self.do(
            "UPDATE {b}.head SET epoch = %s, size = %s, frontier = %s, mac = %s, last_time = %s,"
            " tag = %s",
            *(head.epoch, head.size, head.frontier.pack(), head.mac, head.last_time, head.tag),
        )


def _digest(entry: Entry) -> bytes:
    return request_digest(client_part(entry.value))
