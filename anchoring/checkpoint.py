# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed checkpoints, and never two histories.

A notary signs the heads of one log in one process. It remembers the largest size and root that it
has signed or read from the checkpoint store. A head that is smaller, or does not extend it
(a standby that lagged, a restore, a rewound database), gets no signature and stops the writer.
No receipt leaves before the checkpoint store has accepted its checkpoint, or a larger one that was
proved consistent with it. Source: C2SP tlog-checkpoint; docs/formats.md §5.

The same key signs the same roots once more for COSE receipts (`countersign`): never a root that is
not under a note which the store has accepted, and never bytes that anybody else has made. So a
receipt in that form can tell no history that a checkpoint does not tell.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, TypeVar

from anchoring.checkpoint_store import FileCheckpointStore
from anchoring.tree import Tree
from ledger import clock
from ledger.errors import HOW_TO_GO_ON, HistoryRewritten, IntegrityViolation, Unavailable
from ledger.head import Head
from ledger.keys import KeyDestroyed, Keys, log_key, log_keys
from ledger.migrate import BookRow
from sealtrail.verify import cose_receipt, merkle
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.note import (
    Checkpoint,
    Note,
    SignatureLine,
    VerifierKey,
    open_checkpoint,
)

_Signed = TypeVar("_Signed")

#: A process that has signed nothing for so long looks into the store before its next commit.
_IDLE_S: Final = 0.05


#: A root that was signed for receipts is used again for so long, while it covers what is asked.
_COUNTERSIGNED_S: Final = 1.0


class Countersigned(NamedTuple):
    """A checkpoint's root under the COSE signature of the log's newest key."""

    checkpoint: Checkpoint
    kid: str
    signature: bytes


class Signer(NamedTuple):
    """A key that signs for a log: its name in the keystore, and its public half."""

    name: str
    key: VerifierKey


def verifier_keys(keys: Keys, origin: str) -> list[VerifierKey]:
    """Return every public key that a log ever had, oldest first, as strangers are given them."""
    return [_verifier_key(keys, origin, name) for name in log_keys(keys, origin)]


def verifier_key(keys: Keys, origin: str) -> VerifierKey:
    """Return the newest public key of a log."""
    names = log_keys(keys, origin)
    return _verifier_key(keys, origin, names[-1] if names else log_key(origin))


def signers_of(keys: Keys, origin: str) -> list[Signer]:
    """Return the keys that sign for a log now: one, and while it is being replaced, two."""
    names = log_keys(keys, origin)
    usable = [name for name in names if keys.has(name)] or [log_key(origin)]
    return [Signer(name, _verifier_key(keys, origin, name)) for name in usable]


def sign_checkpoint(
    keys: Keys, checkpoint: Checkpoint, signers: Sequence[Signer] | None = None
) -> bytes:
    """Return the signed note. Ed25519 is deterministic: the same head gives the same bytes."""
    text = checkpoint.print()
    lines = tuple(
        SignatureLine(
            name=signer.key.name,
            key_id=signer.key.key_id,
            signature=keys.sign(signer.name, text.encode()),
        )
        for signer in signers or signers_of(keys, checkpoint.origin)
    )
    return Note(text=text, signatures=lines).print()


def _verifier_key(keys: Keys, origin: str, name: str) -> VerifierKey:
    return VerifierKey.ed25519(origin, keys.public_key(name))


def open_of_lineage(note: bytes, row: BookRow, keys: Keys) -> Checkpoint:
    """Return what a note of any of this Book's origins says; raises VerifyError for others."""
    origin = Checkpoint.parse(Note.parse(note).text).origin
    trusted = verifier_keys(keys, origin) if origin in row.origins else []
    _, checkpoint = open_checkpoint(note, origin=origin, keys=trusted)
    return checkpoint


class CheckpointNotary:
    """Signs the heads of the log `origin`; implements ledger.writer.Notary."""

    def __init__(self, *, origin: str, keys: Keys, store: FileCheckpointStore, tree: Tree) -> None:
        """Read the store. Raises CheckpointMissing when it holds nothing for this log."""
        self.origin = origin
        self._keys, self._store, self._tree = keys, store, tree
        self._lock = threading.Lock()
        self._signers: list[Signer] = []
        self._generation = 1  # How many keys the log had when they were last counted.
        self._note, self._largest = store.read(origin)
        self._looked = clock.monotonic()
        self._countersigned: tuple[float, Countersigned] | None = None

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
        note = self._signed(checkpoint)

        def prove(old: int, new: int) -> Sequence[bytes]:
            if (old, new) == (base, head.size):
                return extension
            return self._tree.consistency(old, new)

        stored = self._store.put(self.origin, note, prove)
        self._remember(note, checkpoint)
        if stored.size > checkpoint.size:
            self.refresh()
        return note

    def countersign(self, size: int) -> Countersigned:
        """Sign the root of the newest checkpoint for COSE receipts (RFC 9942).

        size: what it has to cover at least. Signs one root a second at most, however many ask.
        Raises Unavailable when no checkpoint that the store has accepted is as large, KeyDestroyed
        for a log that signs nothing more, and what the store raises.
        """
        with self._lock:
            known = self._countersigned
        if known and known[0] > clock.monotonic() and known[1].checkpoint.size >= size:
            return known[1]
        _, checkpoint = self.refresh()  # By note or by the store: all of it was accepted there.
        if checkpoint.size < size:
            raise Unavailable("no signed checkpoint covers this yet; ask again")
        made = self._by_signers(lambda signers: self._countersign(checkpoint, signers[-1]))
        with self._lock:
            self._countersigned = (clock.monotonic() + _COUNTERSIGNED_S, made)
        return made

    def _countersign(self, checkpoint: Checkpoint, signer: Signer) -> Countersigned:
        kid = signer.key.label()
        header = cose_receipt.protected_header(origin=self.origin, size=checkpoint.size, kid=kid)
        message = cose_receipt.to_be_signed(header, checkpoint.root)
        return Countersigned(checkpoint, kid, self._keys.sign(signer.name, message))

    def _signed(self, checkpoint: Checkpoint) -> bytes:
        """Sign with every key that signs for this log now."""
        return self._by_signers(lambda signers: sign_checkpoint(self._keys, checkpoint, signers))

    def _by_signers(self, sign: Callable[[list[Signer]], _Signed]) -> _Signed:
        """Call `sign` with the keys that sign for this log now, the newest last.

        Looked up for each signature: another process may begin or end a rotation at any moment. A
        key that begins is seen before the head that is signed here can have grown beyond the size
        up to which the old one speaks alone (anchoring/rotation.py).
        """
        begun = self._keys.has(log_key(self.origin, self._generation + 1))
        ended = len(self._signers) > 1 and not self._keys.has(self._signers[0].name)
        if begun or ended or not self._signers:
            self._find_signers()
        try:
            return sign(self._signers)
        except KeyDestroyed:
            self._find_signers()
            return sign(self._signers)

    def _find_signers(self) -> None:
        self._generation = len(log_keys(self._keys, self.origin))
        self._signers = signers_of(self._keys, self.origin)

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
