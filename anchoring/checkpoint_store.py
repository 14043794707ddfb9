# SPDX-License-Identifier: GPL-3.0-or-later
"""The last word of each log, kept where the database is not.

Whoever rewinds or replaces the database must also rewind this store, on other storage. Before a
receipt leaves, its checkpoint is put here; a checkpoint is accepted only if it extends the stored
one, or is proved to be a prefix of it.

    <directory>/<origin>.checkpoint    two slots of 4,096 bytes: in each a signed note, byte for
                                       byte, and zero bytes; the note of the larger log counts
    <directory>/<origin>.lock          held exclusively during one `put`; never removed

    put:  lock, read, verify the stored notes, prove the shorter log a prefix of the longer,
          write over the older slot, fdatasync, unlock

The newer slot is never touched, so at every moment one durable note is there, and nothing but data
is written: a sixth of the time of a new file, its name and its directory (docs/decisions). A slot
that is neither empty nor valid is an alarm; a note up to 512 bytes is written whole or not at all.

KNOWN GAP: the store protects only against what did not restore it, too. Who rewinds database and
store together is found by clients' receipts and by witnesses. Within one process even that is seen:
a stored checkpoint older than one seen before stops the process.

KNOWN GAP: a network file system mounted with locks that hold on one host only (NFS `nolock`) passes
the check made here. Considered: lease files, which need a clock that all hosts share.

Source: C2SP tlog-checkpoint and signed-note; RFC 9162 §2.1.4.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from ledger import durable
from ledger.errors import Conflict, HistoryRewritten, IntegrityViolation, Refused, Unavailable
from sealtrail.verify import merkle
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.note import Checkpoint, Note, NoteRefused, VerifierKey, check_note

#: Makes the RFC 9162 consistency path from the first size to the second.
Prove: TypeAlias = Callable[[int, int], Sequence[bytes]]

#: Returns the keys that may sign for an origin, old ones included.
KeysOf: TypeAlias = Callable[[str], Sequence[VerifierKey]]

_SLOT: Final = 4_096
_SIZE: Final = 2 * _SLOT


class StoreUnavailable(Unavailable):
    """The checkpoint store cannot be read or written, so no receipt may leave."""

    problem = "checkpoint-store-unavailable"


class LocksRefused(Unavailable):
    """The checkpoint store's file system does not keep two writers apart; use another one."""

    problem = "checkpoint-store-locks"


class CheckpointExists(Conflict):
    """The checkpoint store already holds another checkpoint of this log."""

    problem = "checkpoint-exists"


class CheckpointMissing(IntegrityViolation):
    """The checkpoint store holds nothing for this log: wrong or unmounted directory, or a loss."""

    problem = "checkpoint-missing"


class CheckpointDamaged(IntegrityViolation):
    """A checkpoint is unreadable, speaks for another log, or lacks a valid signature of ours."""

    problem = "checkpoint-damaged"


class _Seen(NamedTuple):
    """The newest checkpoint of one log that this process found valid."""

    note: bytes
    checkpoint: Checkpoint
    durable: bool  #: Whether this process knows that it survives a power failure.
    slot: int | None  #: Where it lies; None for a file without slots, as all once were.
    other: bytes  #: What lies in the other slot, valid or empty.


class FileCheckpointStore:
    """One signed checkpoint for each origin in one directory, replaced by compare-and-swap."""

    def __init__(self, directory: Path, keys: KeysOf) -> None:
        """Open the store; make its directory if it is missing, which `read` then complains about.

        Raises LocksRefused if its locks do not exclude, StoreUnavailable if it cannot be written.
        """
        self._directory = directory
        self._keys = keys
        self._verifiers: dict[str, Sequence[VerifierKey]] = {}
        self._paths: dict[tuple[str, str], Path] = {}
        self._seen: dict[str, _Seen] = {}  # each origin's is touched under that origin's lock only
        try:
            directory.mkdir(parents=True, exist_ok=True)
            _check_locks(directory / ".locks")
            self._probe()  # Its room is there from now on, as that of every checkpoint.
        except OSError as error:
            raise _unavailable(error) from error

    def initialise(self, origin: str, note: bytes) -> Checkpoint:
        """Store the first checkpoint of a new log; durable on return, safe to repeat.

        Raises CheckpointExists if another one is stored.
        """
        checkpoint = self._verified(origin, note)
        try:
            with durable.locked(self._path(origin, "lock")):
                stored = [one for one in self._stored(origin) if one]
                if stored not in ([], [note]):
                    raise CheckpointExists(origin=origin)
                _refuse_older(origin, self._seen.get(origin), checkpoint)
                self._write_slot(origin, note, None)
                self._seen[origin] = _Seen(note, checkpoint, durable=True, slot=0, other=b"")
        except OSError as error:
            raise _unavailable(error) from error
        return checkpoint

    def read(self, origin: str) -> tuple[bytes, Checkpoint]:
        """Return the stored note and what it says, verified; it is durable then.

        Whoever reads it may rely on it as on one that was put: a receipt may leave.

        Raises CheckpointMissing if nothing is stored, CheckpointDamaged if it does not verify,
        HistoryRewritten if it is older than one this process has seen.
        """
        try:
            with durable.locked(self._path(origin, "lock")):
                seen = self._made_sure(origin, self._current(origin))
        except OSError as error:
            if error.errno != errno.EROFS:
                raise _unavailable(error) from error
            seen = self._read_only(origin)
        return seen.note, seen.checkpoint

    def check_ready(self) -> None:
        """Return if a checkpoint could be stored now (an fdatasync); raises StoreUnavailable."""
        try:
            self._probe()
        except OSError as error:
            raise _unavailable(error) from error

    def _probe(self) -> None:
        """Write where nobody reads."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        descriptor = os.open(self._directory / ".probe", flags, 0o600)
        try:
            _write(descriptor, bytes(_SLOT), 0)
        finally:
            os.close(descriptor)

    def put(self, origin: str, new_note: bytes, prove: Prove) -> Checkpoint:
        """Store `new_note` unless the stored one is at least as large; return what is then stored.

        Ours is verified like any other: a signature that a fault of the machine has spoilt could
        tell whoever sees it the key.

        prove(old size, new size) is asked once, under the lock, for the path from the smaller of
        the two logs to the larger; never for size 0 or equal sizes. Costs one fdatasync. After
        StoreUnavailable nobody knows which of the two is stored: put again.

        Raises HistoryRewritten if neither extends the other: stop writing and signing.
        """
        new = self._verified(origin, new_note)
        try:
            with durable.locked(self._path(origin, "lock")):
                stored = self._current(origin)
                _check_extends(stored.checkpoint, new, prove)
                # Before the older slot is written over, the newer one has to be safe.
                stored = self._made_sure(origin, stored)
                if stored.checkpoint.size < new.size:
                    self._replace(origin, new_note, new, stored)
                    return new
                return stored.checkpoint
        except OSError as error:
            raise _unavailable(error) from error

    def _made_sure(self, origin: str, stored: _Seen) -> _Seen:
        """Make what is stored durable, unless we know that it is: the same bytes once more.

        Whoever wrote it may have died before the end; or it was us, and the disk said no.
        """
        if not stored.durable:
            self._write_slot(origin, stored.note, stored.slot)
            stored = stored._replace(durable=True, slot=stored.slot or 0)
            self._seen[origin] = stored
        return stored

    def _current(self, origin: str) -> _Seen:
        """Return what is stored, verified unless it is byte for byte what we verified before."""
        seen = self._seen.get(origin)
        found = self._found(origin, seen)
        if found is not seen:
            _refuse_older(origin, seen, found.checkpoint)
            self._seen[origin] = found
        return found

    def _found(self, origin: str, seen: _Seen | None) -> _Seen:
        """Read the slots; `seen` itself is returned if nothing has changed."""
        notes = self._stored(origin)
        if not any(notes):
            raise CheckpointMissing(origin=origin)
        if seen is not None and _lies_in(notes, seen):
            return seen
        found = [
            _Seen(
                note=note,
                checkpoint=self._verified(origin, note),
                durable=False,
                slot=slot if len(notes) == 2 else None,
                other=notes[1 - slot] if len(notes) == 2 else b"",
            )
            for slot, note in enumerate(notes)
            if note
        ]
        return max(found, key=lambda one: one.checkpoint.size)

    def _read_only(self, origin: str) -> _Seen:
        """Return what is stored where not even a lock can be taken: proofs are still given.

        Others may write, by another way in: what we had seen before the look is compared, and
        nothing is remembered.
        """
        before = self._seen.get(origin)
        try:
            found = self._found(origin, before)
        except OSError as error:
            raise _unavailable(error) from error
        if found is not before:
            _refuse_older(origin, before, found.checkpoint)
        return found

    def _verified(self, origin: str, note: bytes) -> Checkpoint:
        try:
            parsed = Note.parse(note)
            checkpoint = Checkpoint.parse(parsed.text)
            if checkpoint.origin != origin:
                raise NoteRefused("The checkpoint speaks for another log.")
            check_note(parsed, self._verifiers_of(origin, parsed))
        except VerifyError as error:
            raise CheckpointDamaged(f"{CheckpointDamaged.__doc__} {error}", origin=origin) from None
        if checkpoint.extensions:
            raise CheckpointDamaged("A checkpoint of ours has exactly three lines.", origin=origin)
        return checkpoint

    def _verifiers_of(self, origin: str, note: Note) -> Sequence[VerifierKey]:
        """Return every key that ever signed for a log, remembered while none is missing.

        Reading them from a keystore costs as much as verifying. A log's keys only grow in number,
        so those remembered are true; a line of any other key is a reason to look again.
        """
        known = self._verifiers.get(origin, ())
        ids = {(key.name, key.key_id) for key in known}
        if not all((line.name, line.key_id) in ids for line in note.signatures):
            known = self._verifiers[origin] = self._keys(origin)
        return known

    def _stored(self, origin: str) -> list[bytes]:
        """Read the notes of both slots, empty ones included; one note from a file without slots."""
        try:
            descriptor = os.open(self._path(origin, "checkpoint"), os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return []
        try:
            data = os.read(descriptor, _SIZE + 1)
        finally:
            os.close(descriptor)
        if len(data) != _SIZE:
            return [data]
        return [data[:_SLOT].rstrip(b"\0"), data[_SLOT:].rstrip(b"\0")]

    def _replace(self, origin: str, note: bytes, new: Checkpoint, stored: _Seen) -> None:
        """Write over the older slot. What cannot be written leaves the newer one as it is."""
        # After a failure of the last step nobody calls the new note durable: we still remember the
        # one before, and so verify and write the new one again before we trust it.
        slot = None if stored.slot is None else 1 - stored.slot
        self._write_slot(origin, note, slot)
        self._seen[origin] = _Seen(
            note=note,
            checkpoint=new,
            durable=True,
            slot=slot or 0,
            other=b"" if slot is None else stored.note,
        )

    def _write_slot(self, origin: str, note: bytes, slot: int | None) -> None:
        path = self._path(origin, "checkpoint")
        if slot is None:
            durable.write_durably(path, note.ljust(_SIZE, b"\0"), mode=0o644)
            return
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            _write(descriptor, note.ljust(_SLOT, b"\0"), slot * _SLOT)
        finally:
            os.close(descriptor)

    def _path(self, origin: str, suffix: str) -> Path:
        path = self._paths.get((origin, suffix))
        if path is None:
            try:
                name = durable.safe_name(origin)
            except ValueError:
                raise Refused("This origin is too long for a file name.", origin=origin) from None
            path = self._paths[origin, suffix] = self._directory / f"{name}.{suffix}"
        return path


def _check_extends(stored: Checkpoint, new: Checkpoint, prove: Prove) -> None:
    """Return if one of the two logs is a prefix of the other, or raise HistoryRewritten."""
    old, larger = (stored, new) if stored.size <= new.size else (new, stored)
    try:
        if old.size == larger.size:
            _require(old.root == larger.root, "Two logs of one size have two roots.")
        elif old.size == 0:
            # Every log extends the empty one; only its root is left to check.
            _require(old.root == merkle.EMPTY_ROOT, "A log without entries has a root of entries.")
        else:
            merkle.check_consistency(
                old_size=old.size,
                old_root=old.root,
                new_size=larger.size,
                new_root=larger.root,
                path=prove(old.size, larger.size),
            )
    except VerifyError as error:
        raise HistoryRewritten(
            f"{HistoryRewritten.__doc__} {error}",
            origin=stored.origin,
            stored_size=stored.size,
            new_size=new.size,
        ) from error


def _refuse_older(origin: str, last: _Seen | None, found: Checkpoint) -> None:
    """Raise HistoryRewritten if the store went back behind what this process has seen."""
    if last is None or found.size > last.checkpoint.size:
        return
    if found.size < last.checkpoint.size or found.root != last.checkpoint.root:
        raise HistoryRewritten(
            "The checkpoint store went back behind a checkpoint that it held before.",
            origin=origin,
            seen_size=last.checkpoint.size,
            stored_size=found.size,
        )


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise merkle.ProofInvalid(otherwise)


def _lies_in(notes: Sequence[bytes], seen: _Seen) -> bool:
    """Whether the slots hold, byte for byte, what was verified before."""
    if seen.slot is None or len(notes) != 2:
        return False
    return (notes[seen.slot], notes[1 - seen.slot]) == (seen.note, seen.other)


def _write(descriptor: int, data: bytes, offset: int) -> None:
    """Write over what is there; durable on return."""
    written = os.pwrite(descriptor, data, offset)
    if written != len(data):
        raise OSError(errno.EIO, "the disk took a part of a checkpoint")
    durable.sync_data(descriptor)


def _check_locks(path: Path) -> None:
    """Return if an exclusive lock on `path` keeps a second one out, or raise LocksRefused."""
    first = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        second = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.flock(first, fcntl.LOCK_EX)
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        finally:
            os.close(second)
    finally:
        os.close(first)
    raise LocksRefused


def _unavailable(error: OSError) -> StoreUnavailable:
    """Wrap an OSError; the reason is kept, the path is not shown."""
    return StoreUnavailable(reason=error.strerror or type(error).__name__)
