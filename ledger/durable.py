# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are either wholly the old one or wholly the new one, whenever the power fails.

A small file is replaced in five steps: write beside it, fsync, rename over it, fsync the directory,
answer. Two processes that change the same files take turns through `locked`, an exclusive `flock`
on a file that is never removed. Used by the keystore and the checkpoint store.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from ledger import clock

#: Everything else is written %xx. Capital letters too: some file systems take A and a for one.
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")

#: Room for a suffix within the 255 bytes that file systems give a name.
NAME_MAX: Final = 200

#: On macOS fsync leaves the bytes in the disk's own cache; this asks the disk, too.
_FULL_SYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)


def safe_name(name: str) -> str:
    """Spell any text as one file name; two texts never share one. ValueError if it is too long.

    `log/localhost/dev` becomes `log%2flocalhost%2fdev`: no separators, no leading dot, no capitals.
    """
    spelled = "".join(
        char if char in _PLAIN else "".join(f"%{byte:02x}" for byte in char.encode())
        for char in name
    )
    if spelled.startswith("."):
        spelled = "%2e" + spelled[1:]
    if not 0 < len(spelled) <= NAME_MAX:
        raise ValueError(f"a name must fill 1 to {NAME_MAX} bytes of a file name")
    return spelled


def name_of(spelled: str) -> str | None:
    """Undo `safe_name`; None for a file name that `safe_name` does not make."""
    name = unquote(spelled, errors="surrogateescape")
    try:
        return name if safe_name(name) == spelled else None
    except ValueError:  # too long, or bytes that are no text
        return None


def write_durably(path: Path, data: bytes, *, mode: int) -> None:
    """Replace `path` by `data`, durable on return: two fsyncs. OSError if it cannot be.

    The caller holds the lock of the directory, so the name of the temporary file is free. After an
    OSError nobody knows whether the old or the new content is there; it is one of the two.
    """
    beside = temporary(path)
    with suppress(FileNotFoundError):
        beside.unlink()  # left by a crash
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        sync(descriptor)
    finally:
        os.close(descriptor)
    beside.rename(path)
    sync_directory(path.parent)


def temporary(path: Path) -> Path:
    """Name the file that `write_durably` writes first; after a failure it may be there."""
    return path.with_name(f".{path.name}.tmp")


def sync(descriptor: int) -> None:
    """Return when what was written through `descriptor` survives a power failure."""
    if _FULL_SYNC is None:
        os.fsync(descriptor)
    else:
        fcntl.fcntl(descriptor, _FULL_SYNC)


def sync_data(descriptor: int) -> None:
    """Like `sync`, for bytes written over others in a file whose size stays."""
    if _FULL_SYNC is None:
        os.fdatasync(descriptor)
    else:
        fcntl.fcntl(descriptor, _FULL_SYNC)


def sync_directory(directory: Path) -> None:
    """Return when the names in `directory` survive a power failure."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def erase(path: Path) -> None:
    """Overwrite a file with noise and remove it, durable on return; nothing to do if it is gone."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        os.pwrite(descriptor, clock.random_bytes(os.fstat(descriptor).st_size), 0)
        sync(descriptor)
    finally:
        os.close(descriptor)
    path.unlink()
    sync_directory(path.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `path` exclusively: against other processes and other threads of this one.

    The kernel drops the lock of a process that dies, so nothing stale can be left.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
