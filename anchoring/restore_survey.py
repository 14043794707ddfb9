# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left of a log after its database was restored: nothing is changed by looking.

registry's origin, head row ──┐
keystore: every incarnation ──┼──► verdict ──► what `restore --accept` would do
checkpoint store: last word ──┘

extends     the database holds all that was signed: nothing has to be done
unsigned    as above; the first entry of a new incarnation still waits for its checkpoint
behind      signed entries are missing at the end: a backup, a standby that lagged
forked      the database holds other entries than those that were signed
closed      the database is older than a restore that has closed its origin
unfinished  a restore was interrupted after its last point of no return
forged      the head row lacks the tag of a chain key that is at hand
store-lost  the checkpoint store has no word of the present origin
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from psycopg import sql

from anchoring.checkpoint import open_of_lineage
from anchoring.checkpoint_store import CheckpointMissing, FileCheckpointStore
from anchoring.tree import Tree
from ledger.database import Connection, Database
from ledger.errors import HeadForged, HistoryRewritten, IntegrityViolation
from ledger.head import Chain, Head, HeadRow
from ledger.keys import KeyMissing, Keys, is_closed, log_key, was_made
from ledger.migrate import BookRow
from sealtrail.verify import chain as chain_values
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.note import Checkpoint

Tag: TypeAlias = Literal["ours", "unknown", "wrong"]
Verdict: TypeAlias = Literal[
    "extends", "unsigned", "behind", "forked", "closed", "unfinished", "forged", "store-lost"
]

#: An epoch is a day, or 65,536 entries; a head row further on was not written by us.
_EPOCHS_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The largest checkpoint that is known of a log."""

    note: bytes
    checkpoint: Checkpoint
    from_store: bool  #: False: it was found among the anchors in the database.


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was found of one Book, and what a restore would make of it."""

    row: BookRow
    head: Head
    tag: Tag  #: Of the head row, by the chain key or by its escrow.
    known: Known | None
    verdict: Verdict
    agreed: int  #: The database holds what was signed up to this size at least.
    number: int  #: Of the incarnation that `--accept` would open, or go on opening.

    @property
    def next_origin(self) -> str:
        return origin_of(self.row.first_origin, self.number)

    @property
    def older_origins(self) -> list[str]:
        """The origins of all incarnations before the next one, oldest first."""
        return [origin_of(self.row.first_origin, number) for number in range(1, self.number)]

    @property
    def orphaned(self) -> tuple[int, int] | None:
        """Positions [from, to) whose receipts a restore orphans; some of them, if it forked."""
        if self.known is None or self.verdict not in ("behind", "forked", "closed", "unfinished"):
            return None
        begin, end = self.agreed, self.known.checkpoint.size
        return (begin, end) if begin < end else None


def origin_of(first: str, number: int) -> str:
    """Return the origin of an incarnation: the first has the Book's own."""
    return first if number == 1 else f"{first}/i{number}"


class Lineage:
    """The incarnations of one Book, as the keystore and the checkpoint store know them.

    The database is not asked: it may be older than the last of them.
    """

    def __init__(self, keys: Keys, store: FileCheckpointStore, row: BookRow) -> None:
        self._keys, self._row = keys, row
        newest = 1
        while was_made(keys, log_key(origin_of(row.first_origin, newest + 1))):
            newest += 1
        self.newest = newest  #: The highest number that keys were ever made for.
        self._words: dict[int, Known] = {}
        for number in range(1, newest + 1):
            try:
                note, checkpoint = store.read(origin_of(row.first_origin, number))
            except CheckpointMissing:
                continue
            self._words[number] = Known(note=note, checkpoint=checkpoint, from_store=True)

    @property
    def spoke(self) -> int:
        """The highest number of which the store holds a checkpoint; 0 if there is none."""
        return max(self._words, default=0)

    def known(self, before: int | None = None) -> Known | None:
        """Return the last word of the newest incarnation that spoke; of those `before` one."""
        numbers = [one for one in self._words if before is None or one < before]
        return self._words[max(numbers)] if numbers else None

    @property
    def present(self) -> int:
        """The number of the registry's origin; raises IntegrityViolation for a made-up one."""
        for number in range(1, self.newest + 1):
            if origin_of(self._row.first_origin, number) == self._row.origin:
                if was_made(self._keys, log_key(self._row.origin)):
                    return number
                break
        raise IntegrityViolation(
            f"the registry names the origin {self._row.origin}, of which this keystore never had"
            " a key: another keystore is mounted, or somebody wrote into the registry"
        )


def survey(
    row: BookRow,
    *,
    database: Database,
    keys: Keys,
    store: FileCheckpointStore,
    first_keys: Mapping[str, bytes] | None = None,
) -> Survey:
    """Look at one Book. first_keys: escrowed first chain keys by origin, if they are at hand.

    Raises IntegrityViolation when there is nothing to go on from: no head row, a registry that
    names an origin of nobody, a stored checkpoint that does not verify.
    """
    lineage = Lineage(keys, store, row)
    tree = Tree(database, row.schema)
    with database.duty(row.schema, "read") as connection:
        head = HeadRow(row.schema).read(connection)
        anchored = newest_anchored(connection, row, keys)
    tag = _tag(head, Chain(keys, row.origin), (first_keys or {}).get(row.origin))
    number = lineage.newest + (lineage.newest <= max(lineage.spoke, lineage.present))
    known = lineage.known()
    verdict = _Judge(row, head, tag, keys, lineage).verdict(_relation(head, known, tree))
    if verdict == "unfinished":
        number = lineage.spoke
        known = lineage.known(before=number)
    return Survey(
        row=row,
        head=head,
        tag=tag,
        known=known or anchored,
        verdict=verdict,
        agreed=_agreed(head, known, anchored, tree),
        number=number,
    )


def _agreed(head: Head, known: Known | None, anchored: Known | None, tree: Tree) -> int:
    """Return up to which size the database is known to hold what was signed."""
    if known is not None and _relation(head, known, tree) != "forked":
        return min(head.size, known.checkpoint.size)
    if anchored is None or anchored.checkpoint.size > head.size:
        return 0
    signed = anchored.checkpoint
    return signed.size if tree.root(signed.size) == signed.root else 0


def newest_anchored(connection: Connection, row: BookRow, keys: Keys) -> Known | None:
    """Return the largest anchored checkpoint in the database that an origin of ours signed."""
    query = sql.SQL("SELECT stamped FROM {}.anchor ORDER BY size DESC LIMIT 1").format(
        sql.Identifier(row.schema)
    )
    found = connection.execute(query).fetchone()
    if found is None:
        return None
    try:
        checkpoint = open_of_lineage(bytes(found[0]), row, keys)
    except VerifyError:
        return None
    return Known(note=bytes(found[0]), checkpoint=checkpoint, from_store=False)


def _relation(head: Head, known: Known | None, tree: Tree) -> Verdict:
    """Say how the database relates to the largest checkpoint that is known."""
    if known is None:
        return "store-lost"
    signed = known.checkpoint
    if head.size < signed.size:
        return "behind"
    root = head.root if head.size == signed.size else tree.root(signed.size)
    return "extends" if root == signed.root else "forked"


@dataclass(frozen=True, slots=True)
class _Judge:
    row: BookRow
    head: Head
    tag: Tag
    keys: Keys
    lineage: Lineage

    def verdict(self, relation: Verdict) -> Verdict:
        """Return the verdict, given how the database relates to the last word in the store."""
        present, spoke = self.lineage.present, self.lineage.spoke
        if self.tag == "wrong":
            return "forged"
        if present > spoke:
            return "store-lost"
        if present < spoke:
            return self._of_older(relation)
        return self._of_present() if relation == "extends" else relation

    def _of_older(self, relation: Verdict) -> Verdict:
        """Judge a database whose origin is not the last that spoke.

        If the last said no more than what it inherited from here, the restore that opened it was
        interrupted.
        """
        last = self.lineage.known()
        said = last.checkpoint if last is not None else None
        if said is not None and (said.size, said.root) == (self.head.size, self.head.root):
            return "unfinished"
        return "closed" if relation == "extends" else relation

    def _of_present(self) -> Verdict:
        """Judge a database that holds all that its own origin has signed."""
        if is_closed(self.keys, self.row.origin):
            return "closed"
        if self.tag != "ours":
            return "forged"
        last = self.lineage.known()
        said = last.checkpoint.size if last is not None else 0
        opened = self.row.incarnations[-1].size if self.row.incarnations else -1
        return "unsigned" if said == opened < self.head.size else "extends"


def _tag(head: Head, chain: Chain, first_key: bytes | None) -> Tag:
    """Say whose tag the head row carries, as far as keys are at hand."""
    try:
        chain.check(head)
    except HeadForged:
        return "wrong"
    except (HistoryRewritten, KeyMissing):
        if first_key is None:
            return "unknown"
    else:
        return "ours"
    if not 0 <= head.epoch < _EPOCHS_MAX:
        return "wrong"
    key = first_key
    for _ in range(head.epoch):
        key = chain_values.evolve(key, chain.origin)
    try:
        tag = chain_values.head_tag(
            key,
            origin=chain.origin,
            epoch=head.epoch,
            size=head.size,
            frontier_bytes=head.frontier.pack(),
            mac=head.mac,
            last_time_ms=head.last_time,
        )
    except ValueError:  # A MAC of another length, a time before 1970.
        return "wrong"
    return "ours" if hmac.compare_digest(tag, head.tag) else "wrong"
