# SPDX-License-Identifier: GPL-3.0-or-later
"""Re-derives everything from the stored bytes and says, by position, where they were damaged.

    bytes ──► canonical? shape? ──► leaf ──► tiles, frontier, root ──► head row, checkpoint store,
      │                              └─────► MACs, epochs                anchors
      └─────► columns, request digest, births, lifecycles, times

It reads one snapshot of the database and writes nothing. What the chain and the head's tag show is
shown without the checkpoint store; entries and tiles that were rewritten consistently, or cut off
together with the head, only the store (and receipts, and anchors) can show.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg import sql

from anchoring.chain_walk import ChainWalk
from anchoring.lifecycle_walk import LifecycleWalk
from anchoring.shelf import Book
from anchoring.tile_walk import TileWalk
from ledger import catalog
from ledger.database import Connection
from ledger.errors import IntegrityViolation, LedgerError
from ledger.head import Head, HeadRow
from ledger.reader import disagreement
from ledger.store import Entry
from sealtrail.verify.entry import check_entry, client_part, request_digest
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.frontier import Frontier
from sealtrail.verify.merkle import leaf_hash

_STEP: Final = 4_096
_MOST: Final = 100  #: More damage than this is not listed.


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that does not fit."""

    position: int | None  #: Of the first entry that it concerns; None for the head and the store.
    what: str  #: Stable name: body, leaf, mac, column, tile, head, store, anchor, lifecycle, …
    sentence: str


@dataclass(slots=True, kw_only=True)
class FsckReport:
    """What was re-derived, what was found, and what could not be checked."""

    book: str
    origin: str
    size: int = 0
    root: str = ""
    damage: list[Finding] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    more: bool = False  #: Whether there is more damage than is listed.

    @property
    def first(self) -> Finding | None:
        """The damage at the smallest position; the head's and the store's come last."""
        placed = [found for found in self.damage if found.position is not None]
        if placed:
            return min(placed, key=lambda found: found.position or 0)
        return self.damage[0] if self.damage else None

    def add(self, position: int | None, what: str, sentence: str) -> None:
        if len(self.damage) < _MOST:
            self.damage.append(Finding(position=position, what=what, sentence=sentence))
        else:
            self.more = True


class Fsck:
    """Checks one Book.

    first_key: the escrowed K_0, to check the MACs of every epoch.
    """

    def __init__(self, book: Book, *, first_key: bytes | None = None) -> None:
        self._book, self._schema = book, book.row.schema
        self._chain = ChainWalk(book.chain, first_key)
        self._tiles = TileWalk(self._schema)
        self._lifecycles = LifecycleWalk(book)
        self._frontier = Frontier.empty()
        self._roots: dict[int, str] = {}
        self._previous_mac = b""
        self._last_time = 0
        self._born = 0
        self.report = FsckReport(book=book.row.name, origin=book.origin)

    def run(self, progress: Callable[[int, int], None] = lambda _done, _all: None) -> FsckReport:
        """Check everything; `progress(done, all)` is called every few thousand entries."""
        with self._book.database.duty(self._schema, "read") as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                self._run(connection, progress)
            finally:
                connection.execute("ROLLBACK")
        return self.report

    def _run(self, connection: Connection, progress: Callable[[int, int], None]) -> None:
        head = self._head(connection)
        expected = self._expected_roots(connection, head.size)
        self.report.size = head.size
        for begin in range(0, head.size, _STEP):
            end = min(begin + _STEP, head.size)
            leaves = self._range(connection, begin, end)
            self._grow(leaves, [size for size in expected if begin < size <= end], begin)
            for damage in self._tiles.extend(connection, leaves):
                self.report.add(*damage)
            progress(end, head.size)
        self._roots.setdefault(0, Frontier.empty().root().hex())
        self.report.root = f"sha256:{self._frontier.root().hex()}"
        for damage in self._tiles.finish(connection):
            self.report.add(*damage)
        self._beyond(connection, head.size)
        self._compare_head(head)
        self._compare_roots(expected)
        if self._chain.unchecked:
            epochs = self._chain.unchecked
            self.report.not_checked.append(
                f"MACs of {len(epochs)} older epochs ({epochs[0]} to {epochs[-1]}): "
                "escrow key needed"
            )

    # One entry after the other

    def _range(self, connection: Connection, begin: int, end: int) -> list[bytes]:
        """Check the entries of [begin, end) and return the leaf hashes of their bytes."""
        leaves: list[bytes] = []
        position = begin
        for row in self._book.reader.stream_rows(connection, begin, end, step=_STEP):
            for gone in range(position, row[0]):
                leaves.append(self._gone(gone))
            leaves.append(self._entry(row))
            position = row[0] + 1
        leaves.extend(self._gone(gone) for gone in range(position, end))
        return leaves

    def _gone(self, position: int) -> bytes:
        self.report.add(position, "entry", f"the entry at position {position} is gone")
        self._chain.step(position, bytes(32), bytes(32))
        return bytes(32)

    def _entry(self, row: tuple[Any, ...]) -> bytes:
        position, stored_leaf, mac, *columns, data = row
        stored_leaf, mac = bytes(stored_leaf), bytes(mac)
        before, self._previous_mac = self._previous_mac, mac
        if data is None:
            self.report.add(position, "body", f"the body at position {position} is gone")
            self._chain.step(position, stored_leaf, mac)
            return stored_leaf
        leaf = leaf_hash(bytes(data))
        if leaf != stored_leaf:
            self.report.add(
                position, "body", f"the entry at position {position} is not the one recorded"
            )
        # The MAC was made over the leaf that was recorded; an altered body breaks it here.
        if not self._chain.step(position, leaf, mac) and leaf == stored_leaf:
            self.report.add(position, "mac", f"the MAC at position {position} does not follow")
        try:
            value = check_entry(bytes(data))
        except VerifyError as error:
            self.report.add(position, "bytes", f"the bytes at position {position}: {error}")
            return leaf
        self._meaning(position, Entry(data=bytes(data), value=value), columns, before)
        return leaf

    def _meaning(self, position: int, entry: Entry, columns: list[Any], before: bytes) -> None:
        wrong = disagreement(entry, True, columns)
        if wrong is None and not _digest_fits(entry.value, bytes(columns[5])):
            wrong = "request_digest"
        if wrong is not None:
            self.report.add(
                position, "column", f"at position {position} the column {wrong} was changed"
            )
        if entry.recorded_ms < self._last_time:
            self.report.add(position, "time", f"time goes back at position {position}")
        self._last_time = entry.recorded_ms
        body = entry.value["body"]
        if entry.value["type"] == "EPOCH_SEALED":
            complaint = self._chain.seal(body, position, before)
            if complaint is not None:
                self.report.add(position, "epoch", f"EPOCH_SEALED at {position}: {complaint}")
        complaint = self._lifecycles.step(position, entry)
        if complaint is not None:
            self.report.add(position, "lifecycle", f"at position {position} {complaint}")
        births = catalog.born_assets(entry.value["type"], entry.value["aggregate"]["id"], body)
        self._born += len(births)
        self._lifecycles.expect_births(position, births)

    def _grow(self, leaves: list[bytes], sizes: list[int], begin: int) -> None:
        """Append leaves, keeping the root at each size that somebody has signed or anchored."""
        at = begin
        for size in [*sorted(sizes), begin + len(leaves)]:
            self._frontier = self._frontier.append(leaves[at - begin : size - begin])
            self._roots[size] = self._frontier.root().hex()
            at = size

    # What the rest of the database and the store say

    def _head(self, connection: Connection) -> Head:
        head = HeadRow(self._schema).read(connection)
        try:
            self._book.chain.check(head)
        except LedgerError as error:
            self.report.add(None, "head", f"the head row was changed: {error}")
        return head

    def _expected_roots(self, connection: Connection, size: int) -> dict[int, tuple[str, str]]:
        """Return size → (what says so, root) for the store's checkpoint and every anchor."""
        expected: dict[int, tuple[str, str]] = {}
        query = sql.SQL("SELECT anchor_id, size, root FROM {}.anchor ORDER BY size").format(
            sql.Identifier(self._schema)
        )
        for anchor_id, anchored, root in connection.execute(query):
            expected[anchored] = (f"anchor {anchor_id}", bytes(root).hex())
        try:
            _, stored = self._book.notary.refresh()
        except IntegrityViolation as error:
            self.report.add(None, "store", f"the checkpoint store: {error}")
            return expected
        expected[stored.size] = ("the checkpoint store", stored.root.hex())
        if stored.size > size:
            self.report.add(
                size, "store", f"the log ends at {size}; {stored.size} entries were signed before"
            )
        return expected

    def _compare_roots(self, expected: dict[int, tuple[str, str]]) -> None:
        for size, (who, root) in sorted(expected.items()):
            if size in self._roots and self._roots[size] != root:
                self.report.add(
                    None, "store", f"{who} names another root at size {size}: history was rewritten"
                )

    def _compare_head(self, head: Head) -> None:
        for name, there, derived in (
            ("frontier", head.frontier.nodes, self._frontier.nodes),
            ("mac", head.mac, self._chain.mac or head.mac),
            ("epoch", head.epoch, self._chain.epoch),
            ("last_time", head.last_time, self._last_time if head.size else head.last_time),
        ):
            if there != derived:
                self.report.add(None, "head", f"the head row's {name} is not what the entries give")

    def _beyond(self, connection: Connection, size: int) -> None:
        """Find rows that no head ever covered, and births that no entry speaks of."""
        for what, table, column in (
            ("entry", "entry", "position"),
            ("body", "entry_body", "position"),
        ):
            query = sql.SQL("SELECT {c} FROM {b}.{t} WHERE {c} >= %s OR {c} < 0 LIMIT 10").format(
                b=sql.Identifier(self._schema), t=sql.Identifier(table), c=sql.Identifier(column)
            )
            for (position,) in connection.execute(query, (size,)):
                self.report.add(
                    position, what, f"the {what} at position {position} was never recorded"
                )
        for position, sentence in self._lifecycles.finish(connection, size):
            self.report.add(position, "birth", sentence)


def _digest_fits(entry: dict[str, Any], stored: bytes) -> bool:
    """Say if request_digest is that of this entry.

    A person taken from a token is not in the digest, so one commitment may have been left out.
    """
    if request_digest(client_part(entry)) == stored:
        return True
    return any(
        request_digest(client_part(entry, without_sd={one})) == stored
        for one in entry.get("_sd", ())
    )


def findings_json(found: list[Finding]) -> Iterator[dict[str, Any]]:
    for one in found:
        yield {"position": one.position, "what": one.what, "sentence": one.sentence}
