# SPDX-License-Identifier: GPL-3.0-or-later
"""How many alerts are open in each Book in use, seconds old at most: /metrics is asked often."""

import logging
import threading
from collections.abc import Sequence
from typing import Final

from anchoring.alerts import open_count
from anchoring.shelf import Book
from ledger import clock
from ledger.errors import Unavailable

log = logging.getLogger("sealtrail.watch")

_KEPT_S: Final = 10.0


class AlertWatch:
    """Counts the open alerts of every open Book, and remembers the numbers for a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, int]] = {}

    def open(self, books: Sequence[Book]) -> dict[str, float]:
        """Return a number for each Book whose table can be read now; never raises for them."""
        found: dict[str, float] = {}
        with self._lock:  # One asks; whoever comes meanwhile is answered from memory.
            for book in books:
                known = self._known.get(book.row.name)
                try:
                    if known is None or known[0] < clock.monotonic():
                        known = (clock.monotonic() + _KEPT_S, open_count(book))
                        self._known[book.row.name] = known
                except Unavailable:
                    break  # So it would be with the next one, and each would wait.
                except Exception as error:  # noqa: BLE001 - one damaged Book blinds nobody
                    log.warning("%s: open alerts: %s", book.row.name, type(error).__name__)
                    continue
                found[book.row.name] = known[1]
        return found
