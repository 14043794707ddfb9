# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads under way: what has arrived so far, sealed, until all of it is here.

    <artifact id>/000000000000.part      u16be(n) ‖ n bytes of wrapped key ‖ sealed content
    <artifact id>/000001048576.part      ... from this offset on
    <artifact id>/.turn                  held by whoever appends

Each part has a key of its own, so that nothing is ever encrypted twice under one key: a client that
lost the answer sends the same offset again, perhaps with other bytes. A part is durable, and
counts, once it has its name; how far an upload has come is what lies here, and nobody's memory.
Clear content is never on disk.

On several hosts without a shared directory, each host has its own view: a client that is sent to
another one begins again at its offset. Keep uploads on one host, or share the directory.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ledger import clock, durable
from ledger.archive.store import PIECE, reaching
from ledger.archive.stream import content_size, new_key, seal, unseal
from ledger.errors import Conflict, IntegrityViolation, TooLarge

_WHERE: Final = "the directory of uploads"
_PART: Final = re.compile(r"([0-9]{12})\.part")
_ID: Final = re.compile(r"[0-9a-f-]{36}")
_LENGTH: Final = 2

#: More parts than this, each an interrupted request, are an attack on our directory.
PARTS_MAX: Final = 4_096

Wrap = Callable[[bytes], bytes]


class OffsetWrong(Conflict):
    """Another number of bytes is here; ask for the offset and go on from there."""

    problem = "upload-offset"


class UploadBusy(Conflict):
    """Somebody else is sending this upload now; ask for the offset when they are done."""

    problem = "upload-busy"


class UploadTooLarge(TooLarge):
    """More bytes were sent than were announced."""

    problem = "upload-too-large"


class UploadFragmented(Conflict):
    """This upload came in too many small parts and was thrown away; begin again."""

    problem = "upload-fragmented"


class PartDamaged(IntegrityViolation):
    """A part of an upload is not what was written."""

    problem = "part-damaged"


class UploadSpool:
    """The parts of all uploads under way, in a directory of mode 0700."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def offset(self, artifact_id: str) -> int:
        """Return how many bytes of an upload are here, without a gap from its beginning."""
        parts = self._parts(artifact_id)
        return parts[-1][1] if parts else 0

    @contextmanager
    def turn(self, artifact_id: str) -> Iterator[None]:
        """Hold an upload alone, against other processes, too; raises UploadBusy."""
        with reaching(_WHERE):
            folder = self._folder(artifact_id)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(folder / ".turn", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UploadBusy from None
            yield
        finally:
            os.close(descriptor)

    def append(
        self, artifact_id: str, offset: int, content: Iterable[bytes], *, size: int, wrap: Wrap
    ) -> int:
        """Add content at `offset`, in `turn`; returns the new offset once it is durable.

        size: of the whole upload. If the content ends in an error of its own, what came before is
        kept, and the error goes on. Raises OffsetWrong, UploadTooLarge.
        """
        parts = self._parts(artifact_id)
        here = parts[-1][1] if parts else 0
        if len(parts) >= PARTS_MAX:
            for _, _, path in parts:
                path.unlink()
            raise UploadFragmented
        if offset != here:
            raise OffsetWrong(offset=here)
        folder = self._folder(artifact_id)
        received = _Received(content, limit=size - offset)
        with reaching(_WHERE):
            self._write(folder, offset, received, wrap)
        if received.error is not None:
            raise received.error
        return offset + received.count

    def content(self, artifact_id: str, unwrap: Wrap) -> Iterator[bytes]:
        """Read the whole upload again, in clear; raises PartDamaged or ContentDamaged."""
        for begin, end, path in self._parts(artifact_id):
            with reaching(_WHERE), path.open("rb") as file:
                length = int.from_bytes(file.read(_LENGTH), "big")
                key = unwrap(file.read(length))
                count = 0
                for piece in unseal(key, iter(lambda: file.read(PIECE), b""), aad=_aad(begin)):
                    count += len(piece)
                    yield piece
            if count != end - begin:
                raise PartDamaged

    def remove(self, artifact_id: str) -> None:
        """Forget an upload; safe to repeat."""
        with reaching(_WHERE):
            shutil.rmtree(self._folder(artifact_id), ignore_errors=True)

    def ids(self) -> list[str]:
        """Name every upload of which something is here."""
        with reaching(_WHERE):
            if not self._directory.is_dir():
                return []
            return [path.name for path in self._directory.iterdir() if _ID.fullmatch(path.name)]

    def _folder(self, artifact_id: str) -> Path:
        if not _ID.fullmatch(artifact_id):
            raise ValueError("not an artifact's id")
        return self._directory / artifact_id

    def _parts(self, artifact_id: str) -> list[tuple[int, int, Path]]:
        """Return (begin, end, file) of the parts, in order, up to the first gap."""
        with reaching(_WHERE):
            folder = self._folder(artifact_id)
            names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
            found: list[tuple[int, int, Path]] = []
            here = 0
            for name in names:
                part = _PART.fullmatch(name)
                if part is None:
                    continue
                if int(part[1]) != here:
                    break
                here += _length_of(folder / name)
                found.append((int(part[1]), here, folder / name))
            return found

    def _write(self, folder: Path, offset: int, content: Iterable[bytes], wrap: Wrap) -> None:
        """Write a part, durable under its name; one without content leaves nothing."""
        key = new_key()
        wrapped = wrap(key)
        arriving = folder / f"incoming-{clock.random_bytes(8).hex()}"
        for left in folder.glob("incoming-*"):  # We hold the turn: a crash left it.
            left.unlink()
        descriptor = os.open(arriving, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(len(wrapped).to_bytes(_LENGTH, "big") + wrapped)
                header = file.tell()
                for piece in seal(key, content, aad=_aad(offset)):
                    file.write(piece)
                written = file.tell() - header
                file.flush()
                durable.sync(file.fileno())
            if content_size(written):
                arriving.rename(folder / f"{offset:012d}.part")
                durable.sync_directory(folder)
        finally:
            arriving.unlink(missing_ok=True)


class _Received:
    """Content as it arrives: counted, bounded, and its own error kept for later."""

    def __init__(self, content: Iterable[bytes], *, limit: int) -> None:
        self._content, self._limit = content, limit
        self.count = 0
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._content:
                if self.count + len(chunk) > self._limit:
                    self.error = UploadTooLarge()
                    return
                self.count += len(chunk)
                yield chunk
        except Exception as error:  # noqa: BLE001 - raised again when the rest is on disk
            self.error = error


def _length_of(path: Path) -> int:
    """Return how many bytes of content a part holds."""
    with path.open("rb") as file:
        wrapped = int.from_bytes(file.read(_LENGTH), "big")
    return content_size(path.stat().st_size - _LENGTH - wrapped)


def _aad(offset: int) -> bytes:
    return b"part\0" + offset.to_bytes(8, "big")
