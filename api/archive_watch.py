# SPDX-License-Identifier: GPL-3.0-or-later
"""How much content is missing in each open Book, at most a minute old: /metrics is asked often."""

import logging
import threading
from collections.abc import Sequence
from typing import Final

from anchoring.shelf import Book
from ledger import clock
from ledger.archive.artifacts import Storeroom
from ledger.errors import Unavailable

log = logging.getLogger("sealtrail.watch")

_KEPT_S: Final = 60.0


class ArchiveWatch:
    """Asks every open Book what is missing, and remembers it for a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, int]] = {}

    def missing(self, storeroom: Storeroom | None, books: Sequence[Book]) -> dict[str, float]:
        """Return a number for each Book whose state can be read now; never raises for them."""
        found: dict[str, float] = {}
        if storeroom is None:
            return found
        with self._lock:  # One asks; whoever comes meanwhile is answered from memory.
            for book in books:
                if book.row.kind != "main":
                    continue
                try:
                    found[book.row.name] = self._of(storeroom, book)
                except Unavailable:
                    break  # So it would be with the next one, and each would wait.
                except Exception as error:  # noqa: BLE001 - one damaged Book blinds nobody
                    log.warning("%s: missing content: %s", book.row.name, type(error).__name__)
        return found

    def _of(self, storeroom: Storeroom, book: Book) -> int:
        known = self._known.get(book.row.name)
        if known is None or known[0] < clock.monotonic():
            count = storeroom.of(book).missing()
            known = self._known[book.row.name] = (clock.monotonic() + _KEPT_S, count)
        return known[1]
