# SPDX-License-Identifier: GPL-3.0-or-later
"""Finished packets waiting to be fetched: files that only this ledger can read, for a limited time."""

import contextlib
import os
from pathlib import Path

from ledger import clock
from ledger.errors import NotFound, Unavailable


class Spool:
    """A directory of packets; each belongs to the Book that it was built from."""

    def __init__(self, directory: Path, *, ttl_s: int) -> None:
        self._directory, self._ttl_s = directory, ttl_s

    def put(self, packet_id: str, book: str, data: bytes) -> None:
        """Keep a packet, readable by its owner only; what is too old goes first."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._expire()
            path = self._path(packet_id, book)
            partial = path.with_suffix(".partial")
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            partial.rename(path)
        except OSError as error:
            raise Unavailable("the packet directory cannot be written") from error

    def get(self, packet_id: str, book: str) -> bytes:
        """Return a packet of that Book; raises NotFound once it is gone."""
        try:
            path = self._path(packet_id, book)
            if path.stat().st_mtime * 1000 < clock.now_ms() - self._ttl_s * 1000:
                raise NotFound("this packet has expired; ask for it again")
            return path.read_bytes()
        except OSError:
            raise NotFound("there is no such packet") from None

    def _path(self, packet_id: str, book: str) -> Path:
        return self._directory / f"{book}.{packet_id}.zip"

    def _expire(self) -> None:
        oldest = clock.now_ms() - self._ttl_s * 1000
        for path in self._directory.glob("*.zip"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime * 1000 < oldest:
                    path.unlink()
