# SPDX-License-Identifier: GPL-3.0-or-later
"""Re-derives everything from the stored bytes and says, by position, where they were damaged.

    bytes ──► canonical? shape? ──► leaf ──► tiles, frontier, root ──► head row, checkpoint store,
      │                              └─────► MACs, epochs                anchors, tokens
      └─────► columns, request digest, births, lifecycles, times

It reads one snapshot of the database and writes nothing. What the chain and the head's tag show is
shown without the checkpoint store; entries and tiles that were rewritten consistently, or cut off
together with the head, only the store (and receipts, and anchors) can show.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg import sql

from anchoring.anchor_walk import AnchorWalk
from anchoring.chain_walk import ChainWalk, FirstKeys
from anchoring.completeness import REPORT
from anchoring.completeness_walk import CompletenessWalk
from anchoring.hold_walk import holds_that_differ
from anchoring.incarnation_walk import IncarnationWalk
from anchoring.lifecycle_walk import Streams
from anchoring.range_jobs import WORTH, all_cores, check_ranges
from anchoring.range_walk import RangeFound
from anchoring.retention_walk import TOLD, Absent, RetentionWalk
from anchoring.rotation_walk import RotationWalk
from anchoring.second_opinion import GrowingTree
from anchoring.shelf import Book
from anchoring.sparse_walk import SparseWalk
from anchoring.tile_walk import Damage, TileWalk
from anchoring.vault_walk import VaultWalk
from ledger.database import Connection
from ledger.errors import HistoryRewritten, IntegrityViolation, Unavailable
from ledger.head import Head, HeadRow
from ledger.keys import KeyMissing
from ledger.retention.cold import Cold
from ledger.tiles import WIDTH
from sealtrail.verify.frontier import Frontier
from sealtrail.verify.note import Checkpoint

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
    absent: Absent = field(default_factory=Absent)  #: Bodies that are lawfully elsewhere, or gone.
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

    first_key: the escrowed K_0, to check the MACs of every epoch; after a restore those of several
    origins, by their names. full: have the second implementation compute the root, too, from all
    leaf hashes. cold: the Book's archive, asked for each bundle; read_cold: have all of it read.
    jobs: in so many processes; None: as many as there are cores, if the log is long
    enough.
    """

    def __init__(
        self,
        book: Book,
        *,
        first_key: FirstKeys = None,
        full: bool = False,
        cold: Cold | None = None,
        read_cold: bool = False,
        jobs: int | None = None,
    ) -> None:
        self._book, self._schema, self._jobs = book, book.row.schema, jobs
        self._second = GrowingTree(Frontier.empty()) if full else None
        self._chain = ChainWalk(book.chain, first_key, book.row.incarnations)
        self._incarnations = IncarnationWalk(book.row)
        self._rotations = RotationWalk()
        self._tiles = TileWalk(self._schema)
        self._vault = VaultWalk(book.row, book.chain, full)
        self._sparse = SparseWalk(self._schema, full=full)
        self._streams = Streams(self._schema)
        self._anchors = AnchorWalk(self._schema)
        self._completeness = CompletenessWalk(self._schema, book.row.origins)
        self._kept = RetentionWalk(self._schema, cold, read_cold)
        self._frontier = Frontier.empty()
        self._roots: dict[int, bytes] = {0: self._frontier.root()}
        self._previous_mac = b""
        self._last_time = self._log_version = 0
        self._births = self._begun = 0
        self.report = FsckReport(book=book.row.name, origin=book.origin)

    def run(self, progress: Callable[[int, int], None] = lambda _done, _all: None) -> FsckReport:
        """Check everything; `progress(done, all)` is called every few thousand entries."""
        # First the store, then the snapshot: what was signed by now is in it.
        stored = self._stored()
        with self._book.database.duty(self._schema, "read") as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                # First of all: no body leaves the database while it is read (TRUNCATE knows no
                # snapshots). The sweep comes back later; whoever writes is in nobody's way.
                connection.execute(
                    sql.SQL("LOCK TABLE {}.entry_body IN ACCESS SHARE MODE").format(
                        sql.Identifier(self._schema)
                    )
                )
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
        jobs = self._jobs or max(1, min(all_cores(), size // WORTH))
        book = self._book
        for found in check_ranges(
            connection, book.reader, book.database, self._schema, size=size, jobs=jobs
        ):
            self._range(found)
            self._have_computed(found.leaves)
            sizes = {one for one, _, _ in expected if found.begin < one <= found.end}
            self._grow(connection, found, sizes)
            progress(found.end, size)
        if self._second is not None and self._second.root() != self._frontier.root():
            self.report.add(None, "tree", "two implementations computed two roots")
        self.report.root = f"sha256:{self._frontier.root().hex()}"
        self._take(self._tiles.finish(connection, size))
        for at, said in self._streams.births(connection, self._births):
            self.report.add(at, "birth", said)
        for at, said in self._streams.begun_twice(connection, self._begun):
            self.report.add(at, "lifecycle", said)
        self._take(self._anchors.finish(connection))
        self._take(self._completeness.finish(connection))
        self._take(self._kept.finish(connection, progress))
        self._say_absent()
        self._take(self._vault.finish(connection))
        self.report.not_checked += self._vault.not_checked(connection)
        self._take(self._sparse.finish(connection))
        self._take(holds_that_differ(connection, self._schema, self._book.chain))
        self._take(self._incarnations.finish())
        self._take(self._rotations.finish())
        self._beyond(connection, size)
        if head is not None:
            self._compare_head(head, size)
        self._compare_roots(expected)
        self.report.not_checked += self._chain.not_checked()

    def _take(self, damage: Iterable[Damage]) -> None:
        for one in damage:
            self.report.add(*one)

    # One range after the other

    def _range(self, found: RangeFound) -> None:
        """Judge what only the order of the whole log can show; report what was found before."""
        damage = [*self._seams(found), *self._links(found)]
        for position, type_, body in found.told:
            if type_ == "ANCHOR" or type_ in TOLD:
                self._kept.take(position, type_, body)
            if type_ in ("ANCHOR", REPORT):
                self._completeness.take(position, type_, body)
            if type_ == "ANCHOR":
                self._anchors.take(position, body)
            elif type_ == "INCARNATION_OPENED":
                self._incarnations.take(position, body)
            elif type_ == "KEY_ROTATED":
                self._rotations.take(position, body)
        # Of one position first what is said of its place in the log.
        for one in sorted([*damage, *found.damage], key=lambda one: one[0] or 0):
            self.report.add(*one)
        self._births += found.births
        self._begun += found.begun

    def _links(self, found: RangeFound) -> Iterator[Damage]:
        """Walk the chain over the leaves of the bytes; end an epoch where an entry says so."""
        step, position = self._chain.step, found.begin
        odd = found.missing.keys() | found.stored_leaves.keys()
        sealed = {at: body for at, type_, body in found.told if type_ == "EPOCH_SEALED"}
        before = self._previous_mac
        for leaf, mac in zip(found.leaves, found.macs, strict=True):
            # The MAC was made over the leaf that was recorded; an altered body breaks it here.
            linked = step(position, leaf, mac)
            if linked and found.missing.get(position) == "body":
                self._kept.gone(position)  # Where it may be is judged at the end.
            elif position in odd:
                yield self._odd(found, position, linked=linked)
            elif not linked:
                yield position, "mac", f"the MAC at position {position} does not follow"
            if position in sealed:
                complaint = self._chain.seal(sealed[position], position, before)
                if complaint is not None:
                    yield position, "epoch", f"EPOCH_SEALED at {position}: {complaint}"
            before = mac
            position += 1
        self._previous_mac = before

    def _odd(self, found: RangeFound, position: int, *, linked: bool) -> Damage:
        gone = found.missing.get(position)
        if gone is not None:
            return position, gone, f"the {gone} at position {position} is gone"
        if linked and self._chain.checkable:
            return position, "column", f"at position {position} the column leaf was changed"
        return position, "body", f"the entry at position {position} is not the one recorded"

    def _seams(self, found: RangeFound) -> Iterator[Damage]:
        """Compare the first entries of a range with the last ones of those before it."""
        if found.times:
            (position, first), (_, last) = found.times
            if first < self._last_time:
                yield position, "time", f"time goes back at position {position}"
            self._last_time = last
        if found.log:
            (position, first), (_, last) = found.log
            if first != self._log_version + 1:
                said = f"at position {position} the Log stream's version has a gap"
                yield position, "lifecycle", said
            self._log_version = last

    def _grow(self, connection: Connection, found: RangeFound, sizes: set[int]) -> None:
        """Append leaves, keeping the root at each size that somebody has signed or anchored."""
        at, stored = 0, found.tiles
        for size in [*sorted(sizes), found.end]:
            full = (size - found.begin) // WIDTH
            self._take(self._tiles.extend(connection, found.tile_roots[at:full], stored))
            self._frontier = self._tiles.frontier(found.leaves[full * WIDTH : size - found.begin])
            self._roots[size] = self._frontier.root()
            at, stored = full, 0

    def _have_computed(self, leaves: list[bytes]) -> None:
        """Append leaves to the second implementation's tree, in bounded memory."""
        if self._second is not None:
            self._second.extend_hashes(leaves)
            self._second = self._second.folded()

    def _say_absent(self) -> None:
        self.report.absent = self._kept.absent
        if self._kept.absent.unread:
            self.report.not_checked.append(
                f"bodies of {self._kept.absent.unread} cold entries: read the archive (--cold)"
            )

        if self._kept.absent.unreachable:
            self.report.not_checked.append("the archive: it cannot be read now")

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
        expected += [
            (size_, "store", who, root) for size_, who, root in self._incarnations.expected_roots()
        ]
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


def findings_json(found: list[Finding]) -> Iterator[dict[str, Any]]:
    for one in found:
        yield {"position": one.position, "what": one.what, "sentence": one.sentence}
