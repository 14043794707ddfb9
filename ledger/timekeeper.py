# SPDX-License-Identifier: GPL-3.0-or-later
"""Says what time an entry is recorded at, or that no clock here can be believed.

A wrong date in an entry stays for ever, and because recorded time never goes back, one date far in
the future would date everything after it. So a writer's clock is compared with the database's when
it connects and every minute, and a step of more than a day waits for an operator's word.
"""

from typing import Final

from ledger import clock
from ledger.clock import Clock
from ledger.database import Connection, Database
from ledger.errors import Unavailable
from ledger.head import Head

_COMPARE_S: Final = 60.0

#: A quiet Book has one entry a day, the night's, and no two nights start at the same second.
_NIGHT_MS: Final = 1_800_000


class ClockJump(Unavailable):
    """The clock is far ahead of the last entry; an operator has to confirm that it is right."""

    problem = "clock-jump"


class Timekeeper:
    """The clock of one writer.

    jump_ms: how far the log's time may move at once (and half an hour more) without confirmation.
    """

    def __init__(self, database: Database, *, book: str, jump_ms: int, now_ms: Clock) -> None:
        self._database, self._book, self._jump_ms, self._now_ms = database, book, jump_ms, now_ms
        self._compared = 0.0

    def compared(self) -> None:
        """Note that connecting has just compared this host's clock with the database's."""
        self._compared = clock.monotonic()

    def now(self, connection: Connection, head: Head) -> int:
        """Return the time in ms for entries after `head`; raises ClockUnsure or ClockJump."""
        if clock.monotonic() - self._compared > _COMPARE_S:
            row = connection.execute(
                "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
            ).fetchone()
            self._database.check_clock(row[0] if row is not None else 0)
            self.compared()
        now_ms = self._now_ms()
        if head.size and now_ms > head.last_time + self._jump_ms + _NIGHT_MS:
            confirmed = connection.execute(
                "SELECT 1 FROM sealtrail.clock_confirmation WHERE book = %s AND until_ms >= %s",
                (self._book, now_ms),
            ).fetchone()
            if confirmed is None:
                raise ClockJump
        return now_ms
