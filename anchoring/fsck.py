# SPDX-License-Identifier: GPL-3.0-or-later
"""Re-derives everything from the stored bytes and says, by position, where they were damaged.

    bytes ──► canonical? shape? ──► leaf ──► tiles, frontier, root ──► head row, checkpoint store,
      │                              └─────► MACs, epochs                anchors, tokens
      └─────► columns, request digest, births, lifecycles, times

It reads one snapshot of the database and writes nothing. What the chain and the head's tag show is
shown without the checkpoint store; entries and tiles that were rewritten consistently, or cut off
together with the head, only the store (and receipts, and anchors) can show.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg import sql

from anchoring.anchor_walk import AnchorWalk
from anchoring.chain_walk import ChainWalk
from anchoring.lifecycle_walk import LifecycleWalk, births
from anchoring.second_opinion import GrowingTree
from anchoring.shelf import Book
from anchoring.tile_walk import TileWalk
from ledger.database import Connection
from ledger.errors import HistoryRewritten, IntegrityViolation, LedgerError, Unavailable
from ledger.head import Head, HeadRow
from ledger.keys import KeyMissing
from ledger.reader import disagreement
from ledger.store import Entry
from sealtrail.verify.entry import check_entry, client_part, request_digest
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.frontier import Frontier
from sealtrail.verify.merkle import leaf_hash
from sealtrail.verify.note import Checkpoint

_STEP: Final = 4_096
_MOST: Final = 100  #: More damage than this is not listed.


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that does not fit."""

    position: int | None  #: Of the first entry that it concerns; None for the head and the store.
    what: str  #: Stable name: body, bytes, column, mac, entry, tile, head, store, anchor, birth, …
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
    _first: Finding | None = None

    @property
    def first(self) -> Finding | None:
        """The damage at the smallest position; the head's and the store's come last."""
        return self._first or (self.damage[0] if self.damage else None)

    def add(self, position: int | None, what: str, sentence: str) -> None:
        found = Finding(position=position, what=what, sentence=sentence)
        first = None if self._first is None else self._first.position
        if position is not None and (first is None or position < first):
            self._first = found
        if len(self.damage) < _MOST:
            self.damage.append(found)
        else:
            self.more = True


class Fsck:
    """Checks one Book.

    first_key: the escrowed K_0, to check the MACs of every epoch. full: have the second
    implementation compute the root, too, from all leaf hashes; about twice the time for the tree.
    """

    def __init__(self, book: Book, *, first_key: bytes | None = None, full: bool = False) -> None:
        self._book, self._schema = book, book.row.schema
        self._second = GrowingTree(Frontier.empty()) if full else None
        self._chain = ChainWalk(book.chain, first_key)
        self._tiles = TileWalk(self._schema)
        self._lifecycles = LifecycleWalk(self._schema)
        self._anchors = AnchorWalk(self._schema)
        self._frontier = Frontier.empty()
        self._roots: dict[int, bytes] = {0: self._frontier.root()}
        self._previous_mac = b""
        self._last_time = 0
        self._born: dict[str, int] = {}  # Of the present range: asset → position.
        self.report = FsckReport(book=book.row.name, origin=book.origin)

    def run(self, progress: Callable[[int, int], None] = lambda _done, _all: None) -> FsckReport:
        """Check everything; `progress(done, all)` is called every few thousand entries."""
        # First the store, then the snapshot: what was signed by now is in it.
        stored = self._stored()
        with self._book.database.duty(self._schema, "read") as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                self._run(connection, stored, progress)
            finally:
                connection.execute("ROLLBACK")
        return self.report

    def _run(
        self,
        connection: Connection,
        stored: Checkpoint | None,
        progress: Callable[[int, int], None],
    ) -> None:
        head, size = self._head(connection)
        expected = self._expected_roots(connection, stored, size)
        self.report.size = size
        for begin in range(0, size, _STEP):
            end = min(begin + _STEP, size)
            leaves = self._range(connection, begin, end)
            self._have_computed(leaves)
            self._grow(leaves, {one for one, _, _ in expected if begin < one <= end}, begin)
            self._take(self._tiles.extend(connection, leaves))
            self._take(
                (at, "birth", sentence)
                for at, sentence in self._lifecycles.compare_births(connection, self._born)
            )
            self._born = {}
            progress(end, size)
        if self._second is not None and self._second.root() != self._frontier.root():
            self.report.add(None, "tree", "two implementations computed two roots")
        self.report.root = f"sha256:{self._frontier.root().hex()}"
        self._take(self._tiles.finish(connection))
        self._take((at, "birth", said) for at, said in self._lifecycles.finish(connection))
        self._take(self._anchors.finish(connection))
        self._beyond(connection, size)
        if head is not None:
            self._compare_head(head, size)
        self._compare_roots(expected)
        if self._chain.unchecked:
            epochs = self._chain.unchecked
            self.report.not_checked.append(
                f"MACs of {len(epochs)} older epochs ({epochs[0]} to {epochs[-1]}): "
                "escrow key needed"
            )

    def _take(self, damage: Iterator[tuple[int | None, str, str]]) -> None:
        for one in damage:
            self.report.add(*one)

    # One entry after the other

    def _range(self, connection: Connection, begin: int, end: int) -> list[bytes]:
        """Check the entries of [begin, end) and return the leaf hashes of their bytes."""
        leaves: list[bytes] = []
        for row in self._book.reader.stream_rows(connection, begin, end, step=_STEP):
            position = begin + len(leaves)
            if row[0] < position:
                self.report.add(row[0], "entry", f"two rows claim position {row[0]}")
                continue
            leaves.extend(self._gone(gone) for gone in range(position, row[0]))
            leaves.append(self._entry(connection, row))
        leaves.extend(self._gone(gone) for gone in range(begin + len(leaves), end))
        return leaves

    def _gone(self, position: int) -> bytes:
        self.report.add(position, "entry", f"the entry at position {position} is gone")
        self._chain.step(position, bytes(32), bytes(32))
        return bytes(32)

    def _entry(self, connection: Connection, row: tuple[Any, ...]) -> bytes:
        position, stored_leaf, mac, *columns, data = row
        before, self._previous_mac = self._previous_mac, mac
        if data is None:
            self.report.add(position, "body", f"the body at position {position} is gone")
            self._chain.step(position, stored_leaf, mac)
            return bytes(stored_leaf)
        leaf = leaf_hash(data)
        # The MAC was made over the leaf that was recorded; an altered body breaks it here.
        linked = self._chain.step(position, leaf, mac)
        if leaf == stored_leaf and not linked:
            self.report.add(position, "mac", f"the MAC at position {position} does not follow")
        elif leaf != stored_leaf and linked and self._chain.checkable:
            self.report.add(
                position, "column", f"at position {position} the column leaf was changed"
            )
        elif leaf != stored_leaf:
            self.report.add(
                position, "body", f"the entry at position {position} is not the one recorded"
            )
        try:
            value = check_entry(data)
            self._meaning(connection, position, Entry(data=data, value=value), columns, before)
        except VerifyError as error:
            self.report.add(position, "bytes", f"the bytes at position {position}: {error}")
        except Unavailable:
            raise
        except (LedgerError, LookupError, TypeError, ValueError, AttributeError):
            # The envelope has been checked; what is left is a body of another shape.
            self.report.add(
                position, "bytes", f"the body at position {position} does not fit its event type"
            )
        return leaf

    def _meaning(
        self,
        connection: Connection,
        position: int,
        entry: Entry,
        columns: list[Any],
        before: bytes,
    ) -> None:
        type_, body = entry.value["type"], entry.value["body"]
        if type_ == "EPOCH_SEALED":
            complaint = self._chain.seal(body, position, before)
            if complaint is not None:
                self.report.add(position, "epoch", f"EPOCH_SEALED at {position}: {complaint}")
        wrong = disagreement(entry, leaf_fits=True, columns=columns)
        if wrong is None and not _digest_fits(entry.value, columns[5]):
            wrong = "request_digest"
        if wrong is not None:
            self.report.add(
                position, "column", f"at position {position} the column {wrong} was changed"
            )
        recorded_ms = entry.recorded_ms
        if recorded_ms < self._last_time:
            self.report.add(position, "time", f"time goes back at position {position}")
        self._last_time = recorded_ms
        if type_ == "ANCHOR":
            self._anchors.take(position, body)
        for asset in births(entry):
            self._born.setdefault(asset, position)
        complaint = self._lifecycles.step(connection, position, entry)
        if complaint is not None:
            self.report.add(position, "lifecycle", f"at position {position} {complaint}")

    def _grow(self, leaves: list[bytes], sizes: set[int], begin: int) -> None:
        """Append leaves, keeping the root at each size that somebody has signed or anchored."""
        at = begin
        for size in [*sorted(sizes), begin + len(leaves)]:
            self._frontier = self._frontier.append(leaves[at - begin : size - begin])
            self._roots[size] = self._frontier.root()
            at = size

    def _have_computed(self, leaves: list[bytes]) -> None:
        """Append leaves to the second implementation's tree, in bounded memory."""
        if self._second is not None:
            self._second.extend_hashes(leaves)
            self._second = self._second.folded()

    # What the rest of the database and the store say

    def _stored(self) -> Checkpoint | None:
        try:
            return self._book.notary.refresh()[1]
        except IntegrityViolation as error:
            self.report.add(None, "store", f"the checkpoint store: {error}")
        except Unavailable:
            self.report.not_checked.append("the checkpoint store: it cannot be read now")
        return None

    def _head(self, connection: Connection) -> tuple[Head | None, int]:
        """Return the head row, if it can be read at all, and the size of the log to check.

        A head without our tag says nothing about the size: then it is what rows there are.
        """
        head = None
        try:
            head = HeadRow(self._schema).read(connection)
            self._book.chain.check(head)
        except KeyMissing:
            self.report.not_checked.append("the head's tag: no chain key is at hand")
        except HistoryRewritten as error:
            if head is None or self._book.reader.head().epoch <= head.epoch:
                self.report.add(None, "head", f"the head row was changed: {error}")
            else:
                self.report.not_checked.append("the head's tag: its epoch ended meanwhile")
        except IntegrityViolation as error:
            self.report.add(None, "head", f"the head row was changed: {error}")
        else:
            return head, head.size
        query = sql.SQL("SELECT coalesce(max(position) + 1, 0) FROM {}.entry").format(
            sql.Identifier(self._schema)
        )
        row = connection.execute(query).fetchone()
        return head, row[0] if row is not None else 0

    def _expected_roots(
        self, connection: Connection, stored: Checkpoint | None, size: int
    ) -> list[tuple[int, str, bytes]]:
        """Return (size, who says so, root) for the store's checkpoint and every anchor."""
        query = sql.SQL("SELECT anchor_id, size, root FROM {}.anchor").format(
            sql.Identifier(self._schema)
        )
        expected = [
            (anchored, "store", f"anchor {anchor_id}", bytes(root))
            for anchor_id, anchored, root in connection.execute(query)
        ]
        if stored is not None:
            expected.append((stored.size, "store", "the checkpoint store", stored.root))
        for signed, what, who, _ in expected:
            if signed > size:
                self.report.add(
                    size, what, f"the log ends at {size}; {who} has signed {signed} entries"
                )
        return [(signed, who, root) for signed, _, who, root in expected]

    def _compare_roots(self, expected: list[tuple[int, str, bytes]]) -> None:
        agreed = 0
        for size, who, root in sorted(expected):
            if self._roots.get(size, root) != root:
                self.report.add(
                    None,
                    "store",
                    f"{who} names another root at size {size}: history was rewritten "
                    f"at position {agreed} or after",
                )
            elif size in self._roots:
                agreed = size

    def _compare_head(self, head: Head, size: int) -> None:
        for name, there, derived in (
            ("size", head.size, size),
            ("frontier", head.frontier.nodes, self._frontier.nodes),
            ("mac", head.mac, self._chain.mac or head.mac),
            ("epoch", head.epoch, self._chain.epoch),
            ("last_time", head.last_time, self._last_time if size else head.last_time),
        ):
            if there != derived:
                self.report.add(None, "head", f"the head row's {name} is not what the entries give")

    def _beyond(self, connection: Connection, size: int) -> None:
        """Find rows that no head ever covered."""
        for what, table in (("entry", "entry"), ("body", "entry_body")):
            query = sql.SQL(
                "SELECT position FROM {}.{} WHERE position >= %s OR position < 0"
                " ORDER BY position LIMIT 10"
            ).format(sql.Identifier(self._schema), sql.Identifier(table))
            for (position,) in connection.execute(query, (size,)):
                self.report.add(
                    position, what, f"the {what} at position {position} was never recorded"
                )


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
