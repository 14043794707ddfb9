# SPDX-License-Identifier: GPL-3.0-or-later
"""What each open Book is owed by the night, at most a minute old: /metrics is asked often."""

import logging
import threading
from collections.abc import Mapping
from typing import Final

from anchoring.arrears import Arrears, arrears
from anchoring.shelf import Book, Shelf
from ledger import clock
from ledger.errors import Unavailable

log = logging.getLogger("sealtrail.watch")

_KEPT_S: Final = 60.0


class NightWatch:
    """Asks for the arrears of every open Book, and remembers them for a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Arrears]] = {}

    def owed(self, shelf: Shelf) -> Mapping[str, Arrears]:
        """Return the arrears of the Books whose state can be read now; never raises for them."""
        found: dict[str, Arrears] = {}
        with self._lock:  # One asks; whoever comes meanwhile is answered from memory.
            for book in shelf.open_books():
                try:
                    found[book.row.name] = self._of(book)
                except Unavailable:
                    break  # So it would be with the next one, and each would wait.
                except Exception as error:  # noqa: BLE001 - one damaged Book blinds nobody
                    log.warning("%s: arrears: %s", book.row.name, type(error).__name__)
        return found

    def _of(self, book: Book) -> Arrears:
        known = self._known.get(book.row.name)
        if known is None or known[0] < clock.monotonic():
            owed = arrears(book, book.database.now_ms())
            known = self._known[book.row.name] = (clock.monotonic() + _KEPT_S, owed)
        return known[1]
