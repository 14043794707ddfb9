# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed checkpoints, and never two histories.

A notary signs the heads of one log in one process. It remembers the largest size and root that it
has signed or read from the checkpoint store. A head that is smaller, or does not extend it
(a standby that lagged, a restore, a rewound database), gets no signature and stops the writer.
No receipt leaves before the checkpoint store has accepted its checkpoint, or a larger one that was
proved consistent with it. Source: C2SP tlog-checkpoint; docs/formats.md §5.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from anchoring.checkpoint_store import FileCheckpointStore
from anchoring.tree import Tree
from ledger import clock
from ledger.errors import HOW_TO_GO_ON, HistoryRewritten, IntegrityViolation, Unavailable
from ledger.head import Head
from ledger.keys import Keys, log_key
from ledger.migrate import BookRow
from sealtrail.verify import merkle
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.note import (
    Checkpoint,
    Note,
    SignatureLine,
    VerifierKey,
    open_checkpoint,
)

#: A process that has signed nothing for so long looks into the store before its next commit.
_IDLE_S: Final = 0.05


def verifier_key(keys: Keys, origin: str) -> VerifierKey:
    """Return the public key of a log, in the form that strangers are given."""
    return VerifierKey.ed25519(origin, keys.public_key(log_key(origin)))


def sign_checkpoint(keys: Keys, checkpoint: Checkpoint, key: VerifierKey | None = None) -> bytes:
    """Return the signed note. Ed25519 is deterministic: the same head gives the same bytes."""
    text = checkpoint.print()
    key = key or verifier_key(keys, checkpoint.origin)
    line = SignatureLine(
        name=key.name,
        key_id=key.key_id,
        signature=keys.sign(log_key(checkpoint.origin), text.encode()),
    )
    return Note(text=text, signatures=(line,)).print()


def open_of_lineage(note: bytes, row: BookRow, keys: Keys) -> Checkpoint:
    """Return what a note of any of this Book's origins says; raises VerifyError for others."""
    origin = Checkpoint.parse(Note.parse(note).text).origin
    trusted = [verifier_key(keys, origin)] if origin in row.origins else []
    _, checkpoint = open_checkpoint(note, origin=origin, keys=trusted)
    return checkpoint


class CheckpointNotary:
    """Signs the heads of the log `origin`; implements ledger.writer.Notary."""

    def __init__(self, *, origin: str, keys: Keys, store: FileCheckpointStore, tree: Tree) -> None:
        """Read the store. Raises CheckpointMissing when it holds nothing for this log."""
        self.origin = origin
        self._keys, self._store, self._tree = keys, store, tree
        self._lock = threading.Lock()
        self._key: VerifierKey | None = None
        self._note, self._largest = store.read(origin)
        self._looked = clock.monotonic()

    @property
    def size(self) -> int:
        """The largest size signed or read; a process that was idle reads the store again first.

        So a head that was rewound to just where this process had left it is not built upon: others
        went on meanwhile, and the store has seen that. Raises like `refresh`, but for a store that
        cannot be read now, which `seal` will complain about.
        """
        if clock.monotonic() - self._looked > _IDLE_S:
            with suppress(Unavailable):
                self.refresh()
        return self._largest.size

    def latest(self) -> tuple[bytes, Checkpoint]:
        """Return the largest checkpoint that this process signed or read: note and meaning."""
        with self._lock:
            return self._note, self._largest

    def refresh(self) -> tuple[bytes, Checkpoint]:
        """Like `latest`, after a look at what other processes have put into the store."""
        note, stored = self._store.read(self.origin)
        self._remember(note, stored)
        return self.latest()

    def check(self, head: Head) -> None:
        """Return if `head` extends everything signed or read; else raise HistoryRewritten.

        Also returns if `head` has been overtaken since it was read, by a database that now holds
        everything signed or read and of which `head` is a prefix.
        """
        with self._lock:
            largest = self._largest
        _, stored = self._store.read(self.origin)
        present = Checkpoint(origin=self.origin, size=head.size, root=head.root)
        for known in (largest, stored):
            if known.size > head.size and self._tree.size() < known.size:
                raise HistoryRewritten(
                    f"the database ends at {head.size} entries; {known.size} were signed before."
                    f" {HOW_TO_GO_ON}"
                )
            self._check_prefix(known, present)

    def seal(self, head: Head, *, base: int, extension: Sequence[bytes]) -> bytes:
        """Sign `head`; return its note once the store has accepted it or a larger one."""
        if head.size <= self.size:
            self.check(head)  # What does not extend the largest gets no signature at all.
        checkpoint = Checkpoint(origin=self.origin, size=head.size, root=head.root)
        if self._key is None:
            self._key = verifier_key(self._keys, self.origin)
        note = sign_checkpoint(self._keys, checkpoint, self._key)

        def prove(old: int, new: int) -> Sequence[bytes]:
            if (old, new) == (base, head.size):
                return extension
            return self._tree.consistency(old, new)

        stored = self._store.put(self.origin, note, prove, signed=checkpoint)
        self._remember(note, checkpoint)
        if stored.size > checkpoint.size:
            self.refresh()
        return note

    def _remember(self, note: bytes, checkpoint: Checkpoint) -> None:
        self._looked = clock.monotonic()
        with self._lock:
            if checkpoint.size >= self._largest.size:
                self._note, self._largest = note, checkpoint

    def _check_prefix(self, one: Checkpoint, other: Checkpoint) -> None:
        """Return if the smaller of two logs is a prefix of the larger, by the database's tree."""
        old, new = (one, other) if one.size <= other.size else (other, one)
        if old.size == new.size:
            if old.root != new.root:
                raise HistoryRewritten(
                    f"the database has another root than the one signed before. {HOW_TO_GO_ON}"
                )
            return
        if old.size == 0:
            return  # Every log extends the empty one.
        try:
            merkle.check_consistency(
                old_size=old.size,
                old_root=old.root,
                new_size=new.size,
                new_root=new.root,
                path=self._tree.consistency(old.size, new.size),
            )
        except (VerifyError, IntegrityViolation) as error:
            raise HistoryRewritten(f"{HistoryRewritten.__doc__} {HOW_TO_GO_ON}") from error
