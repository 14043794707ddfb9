# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive in a directory, for development and for a file system that locks by itself.

    sha256/ab/<name>          the bytes, mode 0400
    sha256/ab/<name>.lock     {"v":1,"until":"2033-01-14T18:23:45Z","held":false}
    sha256/ab/.turn           held by whoever changes something in this folder
    incoming/<random>         an object on its way; a crash leaves it, `check` removes it

It keeps this program from deleting too early, and damage from staying unseen. It keeps nobody
else from anything: who may write to the directory may delete, and may shorten a lock. Where that
matters the archive is `s3.py`, or a file system with write-once folders beneath this one.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ledger import clock, durable
from ledger.archive.store import (
    OBJECT_MAX,
    PIECE,
    ArchiveLocked,
    ArchiveUnfit,
    LockUnproven,
    ObjectDamaged,
    ObjectMissing,
    Stored,
    check_date,
    check_name,
    checked,
    checked_in,
    reaching,
)
from ledger.clock import Clock
from sealtrail.verify import canonical
from sealtrail.verify.errors import VerifyError

_WHERE: Final = "the archive's directory"
_LOCK_MAX: Final = 4096
_SECOND: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


class DirectoryArchive:
    """`ledger.archive.store.Archive` in a directory of mode 0700, made when it is first needed."""

    def __init__(
        self, directory: Path, *, object_max: int = OBJECT_MAX, now_ms: Clock = clock.now_ms
    ) -> None:
        self._object_max = object_max
        self._objects, self._incoming = directory / "sha256", directory / "incoming"
        self._directory, self._now_ms = directory, now_ms

    def check(self) -> None:
        """Return if only our own user can reach the directory; remove what crashes left."""
        with reaching(_WHERE):
            self._make()
            status = self._directory.lstat()
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise ArchiveUnfit("the archive's directory must have mode 0700 and be our own")
            for path in self._incoming.iterdir():
                _remove_if_left(path)

    def put(self, name: str, chunks: Iterable[bytes], *, until: datetime) -> Stored:
        """Write an object, lock it, read both back: see `Archive.put`."""
        until = check_date(until, self._now())
        path = self._path(name)
        with reaching(_WHERE):
            self._make()
        with reaching(_WHERE), self._received(name, chunks) as arrived:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            durable.sync_directory(self._objects)
            with self._turn(path):
                known = self._lock_of(path) if path.exists() else None
                if known is None:
                    # The lock first: what is readable was locked from its first moment.
                    self._write_lock(path, until=until, held=False)
                    arrived.rename(path)
                    durable.sync_directory(path.parent)
                elif known[0] < until:
                    self._write_lock(path, until=until, held=known[1])
            return self._read_back(name, until)

    def get(self, name: str) -> Iterator[bytes]:
        """Read an object in pieces: see `Archive.get`."""
        path = self._path(name)
        with reaching(_WHERE):
            if not path.exists():
                raise ObjectMissing(object=name)
        return checked(name, _pieces(path))

    def stat(self, name: str) -> Stored | None:
        """Say what is known of an object, without reading its bytes."""
        path = self._path(name)
        with reaching(_WHERE):
            try:
                size = path.lstat().st_size
            except FileNotFoundError:
                return None
            until, held = self._lock_of(path)
        return Stored(name=name, size=size, until=until, held=held)

    def extend(self, name: str, until: datetime) -> Stored:
        """Lock an object until a later date; an earlier one changes nothing."""
        until = check_date(until, self._now())
        path = self._path(name)
        with reaching(_WHERE), self._turn(path):
            if not path.exists():
                raise ObjectMissing(object=name)
            before, held = self._lock_of(path)
            if before < until:
                self._write_lock(path, until=until, held=held)
        return self._known(name)

    def hold(self, name: str, on: bool) -> None:
        """Put an object under a legal hold, or take it off."""
        path = self._path(name)
        with reaching(_WHERE), self._turn(path):
            if not path.exists():
                raise ObjectMissing(object=name)
            until, held = self._lock_of(path)
            if held != on:
                self._write_lock(path, until=until, held=on)

    def delete(self, name: str) -> None:
        """Delete an object whose lock has run out and that nobody holds; safe to repeat."""
        path = self._path(name)
        with reaching(_WHERE), self._turn(path):
            if not path.exists():
                return
            until, held = self._lock_of(path)
            if held or self._now() < until:
                raise ArchiveLocked(object=name)
            path.unlink()
            durable.sync_directory(path.parent)
            self._lock_path(path).unlink()

    def names(self) -> Iterator[str]:
        """Name every object."""
        with reaching(_WHERE):
            for path in self._objects.glob("[0-9a-f][0-9a-f]/*"):
                if re.fullmatch(r"[0-9a-f]{64}", path.name):
                    yield path.name

    # What follows is how an object gets in, and how its lock is kept.

    def _make(self) -> None:
        """Make the directories, unless they are there: a disk may come back after our start."""
        if self._incoming.is_dir() and self._objects.is_dir():
            return
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self._objects, self._incoming):
            folder.mkdir(mode=0o700, exist_ok=True)
        durable.sync_directory(self._directory)

    def _now(self) -> datetime:
        return clock.from_ms(self._now_ms())

    def _path(self, name: str) -> Path:
        return self._objects / check_name(name)[:2] / name

    def _lock_path(self, path: Path) -> Path:
        return path.with_name(f"{path.name}.lock")

    @contextmanager
    def _turn(self, path: Path) -> Iterator[None]:
        if not path.parent.is_dir():  # Nothing was ever put there: nobody to take turns with.
            yield
            return
        with durable.locked(path.parent / ".turn"):
            yield

    @contextmanager
    def _received(self, name: str, chunks: Iterable[bytes]) -> Iterator[Path]:
        """Write the bytes beside the archive, durable; they are gone afterwards unless renamed."""
        arriving = self._incoming / clock.random_bytes(16).hex()
        descriptor = os.open(arriving, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o400)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # So `check` sees that somebody is writing it.
            _write(descriptor, checked_in(name, chunks, self._object_max))
            durable.sync(descriptor)
            yield arriving
        finally:
            os.close(descriptor)
            arriving.unlink(missing_ok=True)

    def _read_back(self, name: str, until: datetime) -> Stored:
        """Return the object as it now is; LockUnproven if that is not what was asked."""
        size = sum(len(piece) for piece in self.get(name))
        stored = self._known(name)
        if stored.size != size or stored.until is None or stored.until < until:
            raise LockUnproven(object=name)
        return stored

    def _known(self, name: str) -> Stored:
        stored = self.stat(name)
        if stored is None:
            raise ObjectMissing(object=name)
        return stored

    def _lock_of(self, path: Path) -> tuple[datetime, bool]:
        """Return an object's date and hold; ObjectDamaged if its lock is gone or unreadable."""
        try:
            with self._lock_path(path).open("rb") as file:
                content = canonical.decode(file.read(_LOCK_MAX))
            return _parse_lock(content)
        except (FileNotFoundError, VerifyError, ValueError):
            raise ObjectDamaged("the lock of an object is missing", object=path.name) from None

    def _write_lock(self, path: Path, *, until: datetime, held: bool) -> None:
        content: dict[str, canonical.JSON] = {
            "v": 1,
            "until": f"{until:%Y-%m-%dT%H:%M:%SZ}",
            "held": held,
        }
        durable.write_durably(self._lock_path(path), canonical.encode(content), mode=0o600)


def _parse_lock(content: canonical.JSON) -> tuple[datetime, bool]:
    if not isinstance(content, dict) or content.keys() != {"v", "until", "held"}:
        raise ValueError("not a lock")
    until, held = content["until"], content["held"]
    if content["v"] != 1 or not isinstance(held, bool) or not isinstance(until, str):
        raise ValueError("not a lock")
    if not _SECOND.fullmatch(until):
        raise ValueError("not a lock")
    return datetime.strptime(until, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC), held


def _write(descriptor: int, chunks: Iterable[bytes]) -> None:
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            view = view[os.write(descriptor, view) :]


def _pieces(path: Path) -> Iterator[bytes]:
    with reaching(_WHERE):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise ObjectMissing(object=path.name) from None
        try:
            while piece := os.read(descriptor, PIECE):
                yield piece
        finally:
            os.close(descriptor)


def _remove_if_left(path: Path) -> None:
    """Remove an object on its way that nobody writes any more."""
    with contextlib.suppress(FileNotFoundError, BlockingIOError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)
