# SPDX-License-Identifier: GPL-3.0-or-later
"""Finished packets that wait to be fetched: files for this ledger alone, for a limited time.

    <directory>/                         mode 0700
      <book>.<packet id>.zip             mode 0600; whole or not there
      .<book>.<packet id>.zip.tmp        one being written, or left by a crash

A packet holds the disclosures that its requester supplied, so it must not lie about for ever:
`expire` removes what is older than its time; each `put` and the scheduler, hourly, call it.
"""

import contextlib
import re
from pathlib import Path
from typing import Final

from ledger import clock, durable
from ledger.errors import NotFound, Unavailable

_ID: Final = re.compile(r"[0-9a-f]{32}")
_BOOK: Final = re.compile(r"[a-z0-9][a-z0-9-]*")


class Spool:
    """A directory of packets; each belongs to the Book that it was built from."""

    def __init__(self, directory: Path, *, ttl_s: int) -> None:
        self._directory, self._ttl_s = directory, ttl_s

    def put(self, packet_id: str, book: str, data: bytes) -> None:
        """Keep a packet, readable by its owner only; what is too old goes first.

        Raises Unavailable if it cannot be kept.
        """
        path = self._path(packet_id, book)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.expire()
            durable.write_durably(path, data, mode=0o600)
        except OSError as error:
            # Perhaps it is there all the same, and nobody has its id; or half of it fills the disk.
            for left in (durable.temporary(path), path):
                with contextlib.suppress(OSError):
                    left.unlink()
            raise Unavailable("the packet directory cannot be written") from error

    def get(self, packet_id: str, book: str) -> bytes:
        """Return a packet of that Book; raises NotFound if there is none, or not any more.

        Raises Unavailable if it cannot be read now.
        """
        try:
            path = self._path(packet_id, book)
            if self._is_old(path):
                path.unlink(missing_ok=True)
                raise NotFound("this packet has expired; ask for it again")
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound("there is no such packet") from None
        except OSError as error:
            raise Unavailable("the packet directory cannot be read") from error

    def expire(self) -> int:
        """Remove what is too old, half-written files too; return how many were removed."""
        removed = 0
        for pattern in ("*.zip", ".*.zip.tmp"):
            for path in self._directory.glob(pattern):
                # Another process may be faster; then it is gone, which is all we want.
                with contextlib.suppress(FileNotFoundError):
                    if self._is_old(path):
                        path.unlink()
                        removed += 1
        return removed

    def forget(self, book: str) -> int:
        """Remove every packet of a Book, half-written ones too; return how many were removed.

        After an erasure: a packet may hold what was erased, and can be built again without it.
        """
        removed = 0
        for pattern in (f"{book}.*.zip", f".{book}.*.zip.tmp"):
            for path in self._directory.glob(pattern):
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def _is_old(self, path: Path) -> bool:
        return path.stat().st_mtime * 1000 < clock.now_ms() - self._ttl_s * 1000

    def _path(self, packet_id: str, book: str) -> Path:
        # Both are checked by whoever calls; a name that leads elsewhere must not get this far.
        if not _ID.fullmatch(packet_id) or not _BOOK.fullmatch(book):
            raise NotFound("there is no such packet")
        return self._directory / f"{book}.{packet_id}.zip"
