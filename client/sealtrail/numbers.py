# SPDX-License-Identifier: Apache-2.0
"""The numbers of a source's events: from 0, without gaps, whatever is refused in between."""

import secrets
import threading

from sealtrail.forked import renewed_when_forked


class Numbers:
    """The sequence of one source in one run of a program. Safe for several threads.

    name: a plain name of the program; chance is added, so that no two runs share a sequence.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._returned: list[int] = []
        self.renew()
        renewed_when_forked(self)

    def renew(self) -> None:
        """Begin another sequence: this process was forked, and its parent goes on with the old."""
        self.id = f"{self._name}:{secrets.token_hex(8)}"
        self._lock = threading.Lock()
        self._next = 0
        self._returned.clear()

    def take(self) -> int:
        with self._lock:
            if self._returned:
                return self._returned.pop(0)
            self._next += 1
            return self._next - 1

    def give_back(self, number: int) -> None:
        """Return the number of an event that was refused: nothing was recorded under it."""
        with self._lock:
            self._returned.append(number)
            self._returned.sort()
