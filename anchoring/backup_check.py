# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks what came out of a backup: every root is computed again from the restored bytes.

    note over the manifest ──► digest of each file ──► pg_restore ──► fsck of each Book
                                                                        │ root of N entries
    checkpoint before (S ≤ N) ────────── root at S, by fsck ────────────┤
    checkpoint after  (N ≤ M) ────────── consistency path N → M ────────┘
    present checkpoint store  ────────── may not be behind M: else it was rewound

Nothing of it needs a chain key: the checkpoints cover every entry, and the chain says of old epochs
only what the auditor's escrow can check. What was not checked is named all the same.

KNOWN GAP: whoever can write to the backup between the check of its files and pg_restore's reading
of them can still have other SQL run. Considered: a private copy first, which doubles the space and
the time; restore from a medium that nobody else writes to.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import cast

from anchoring.backup import BookState, Manifest, check_covers
from anchoring.checkpoint import open_of_lineage
from anchoring.checkpoint_store import FileCheckpointStore
from anchoring.fsck import Finding, Fsck
from anchoring.shelf import Book
from anchoring.tree import Tree
from ledger.database import Connection, Database
from ledger.errors import IntegrityViolation, Refused, Unavailable
from ledger.head import Chain, Head, HeadRow
from ledger.keys import KeyMissing, Keys, chain_key
from ledger.migrate import BookRow, books, find_book
from ledger.reader import Reader
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.note import Checkpoint, Note

Update = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BookFound:
    """What was found of one Book of a backup."""

    state: BookState
    root: str  #: As computed from the restored entries.
    signed: int  #: The size of the checkpoint that covers all of them.
    damage: tuple[Finding, ...]
    not_checked: tuple[str, ...]


class BackupCheck:
    """Examines a database that a backup was restored into."""

    def __init__(
        self,
        manifest: Manifest,
        *,
        database: Database,
        owner: Connection,
        keys: Keys,
        first_keys: Mapping[str, bytes] | None = None,
    ) -> None:
        self._manifest, self._database, self._owner = manifest, database, owner
        self._keys, self._first_keys = keys, dict(first_keys or {})

    def run(self, progress: Callable[[str], Update]) -> Iterator[BookFound]:
        """Yield what is found of each Book; `progress(name)` gives what is told (done, all)."""
        names = {row.name for row in books(self._owner)}
        if names != {state.name for state in self._manifest.books}:
            raise IntegrityViolation("the registry names other Books than were backed up")
        for state in self._manifest.books:
            yield self._book(state, progress(state.name))

    def _book(self, state: BookState, update: Update) -> BookFound:
        row = find_book(self._owner, state.name)
        if (row.schema, row.origin) != (state.schema, state.origin):
            raise IntegrityViolation(
                f"the registry names another log than was backed up: {row.name}"
            )
        head = HeadRow(row.schema).read(self._owner)
        known = self._keys.has(chain_key(row.origin, head.epoch))
        restored = _Restored(
            row=row,
            database=self._database,
            keys=self._keys,
            chain=(Chain if known else _Untold)(self._keys, row.origin),
            tree=Tree(self._database, row.schema),
            reader=Reader(self._database, row.schema),
            notary=_Noted(state.before, row, self._keys),
        )
        report = Fsck(cast("Book", restored), first_key=self._first_keys).run(update)
        damage = list(report.damage)
        if (report.size, report.root) != (state.size, f"sha256:{state.root.hex()}"):
            said = f"{report.size} entries were restored that give another root than the backup's"
            damage.append(Finding(position=None, what="backup", sentence=said))
        signed = 0
        try:
            after = open_of_lineage(state.after, row, self._keys)
            signed = after.size
            check_covers(state, after.size, after.root)
        except (VerifyError, IntegrityViolation) as error:
            damage.append(Finding(position=None, what="checkpoint", sentence=str(error)))
        return BookFound(
            state=state,
            root=report.root,
            signed=signed,
            damage=tuple(damage),
            not_checked=tuple(report.not_checked),
        )


def compare_with_store(
    manifest: Manifest, *, store: FileCheckpointStore, present: Database | None
) -> dict[str, str]:
    """Return for each Book how the present log relates to the backup, in a sentence.

    present: the ledger's database, to prove that its log begins with the backup's entries; None:
    only the checkpoint store is asked. Raises IntegrityViolation when the store is behind the
    backup or knows another log: then the store was rewound, or history was rewritten.
    """
    said = {}
    for state in manifest.books:
        _, last = store.read(state.origin)
        covered = Checkpoint.parse(Note.parse(state.after).text)
        if last.size < covered.size or (last.size == covered.size and last.root != covered.root):
            raise IntegrityViolation(
                f"the backup holds a checkpoint of {state.name} over {covered.size} entries that"
                f" the checkpoint store, at {last.size}, does not know: the store was rewound or"
                " replaced"
            )
        behind = f"{last.size - state.size} entries behind the newest checkpoint"
        said[state.name] = f"{behind}; {_begins(state, last, present)}"
    return said


def _begins(state: BookState, last: Checkpoint, present: Database | None) -> str:
    """Say if the present log begins with the backup's entries; raises if it does not."""
    if present is None:
        return "the present log was not compared"
    try:
        with present.connection() as connection:
            row = find_book(connection, state.name)
        if row.origin != state.origin:
            return f"a restore has gone on since as {row.origin}"
        tree = Tree(present, row.schema)
        if tree.size() < last.size:
            return f"the present database ends at {tree.size()} entries"
        path = tree.consistency(state.size, last.size) if 0 < state.size < last.size else ()
    except (Refused, Unavailable) as error:
        return f"the present log was not compared ({type(error).__name__})"
    check_covers(replace(state, path=tuple(path)), last.size, last.root)
    return "the present log begins with the same entries"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Restored:
    """What fsck reads of a Book that nobody may open."""

    row: BookRow
    database: Database
    keys: Keys
    chain: Chain
    tree: Tree
    reader: Reader
    notary: "_Noted"

    @property
    def origin(self) -> str:
        return self.row.origin


class _Noted:
    """Stands for the checkpoint store: what it said when the backup began."""

    def __init__(self, note: bytes, row: BookRow, keys: Keys) -> None:
        self._note, self._row, self._keys = note, row, keys

    def refresh(self) -> tuple[bytes, Checkpoint]:
        try:
            return self._note, open_of_lineage(self._note, self._row, self._keys)
        except VerifyError as error:
            raise IntegrityViolation(str(error)) from None


class _Untold(Chain):
    """The chain of an origin whose key of that time is gone, as it should be."""

    def check(self, head: Head) -> None:
        raise KeyMissing(f"the key of epoch {head.epoch} was destroyed when the log moved on")
