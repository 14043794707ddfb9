# SPDX-License-Identifier: GPL-3.0-or-later
"""The sweep that closes attempts whose outcome never came.

A deadline runs from the attempt's own `time.recorded` and is judged by the database's clock, so a
host whose clock runs ahead closes nothing early. The sweep records GEN_ERROR with `timeout: true`;
an outcome that arrives later becomes OUTCOME_LATE.
"""

from collections.abc import Iterator
from typing import Any, Final

from psycopg import sql

from anchoring.completeness import reports, waiting
from anchoring.shelf import Book
from ledger.errors import Refused
from ledger.request import ledger_made

#: When an attempt names no deadline of its own, in seconds.
DEADLINE_S: Final = 900

#: The last column says of an attempt after a position if its bytes may name a deadline. Hundreds of
#: thousands may be open, and hardly one does, so only these are read.
_OPEN: Final = """
SELECT a.position, a.stream, a.recorded_at,
       a.position > %s AND EXISTS (
         SELECT 1 FROM {book}.entry_body b WHERE b.position = a.position
                   AND position(convert_to('"deadline_s":', 'UTF8') IN b.bytes) > 0)
  FROM {book}.entry a
 WHERE a.position >= %s AND a.position < %s AND a.topic = 'GEN_ATTEMPT/1'
   AND NOT EXISTS (SELECT 1 FROM {book}.entry o WHERE o.stream = a.stream
                    AND o.topic IN ('GEN/1', 'GEN_DENY/1', 'GEN_ERROR/1'))
 ORDER BY a.position
"""

#: Entries that one look goes over: all of a long log at once would take every core of the database.
_STEP: Final = 65_536

_STILL: Final = """
SELECT a.position FROM unnest(%s::text[], %s::bigint[]) AS a (stream, position)
 WHERE NOT EXISTS (SELECT 1 FROM {book}.entry o WHERE o.stream = a.stream
                    AND o.topic IN ('GEN/1', 'GEN_DENY/1', 'GEN_ERROR/1'))
"""


class Sweep:
    """Closes the overdue attempts of one Book; remembers from where attempts can still be open."""

    def __init__(self, book: Book, *, deadline_s: int = DEADLINE_S) -> None:
        self.book, self._deadline_s = book, deadline_s
        self._from: int | None = None
        self._seen = -1  # The last position of the last look.
        self._deadlines: dict[int, int] = {}  # Those that were named and open at the last look.

    def run(self, now_ms: int | None = None) -> int:
        """Close what is overdue, now or at a given time, and return how many attempts that were."""
        closed = 0
        if now_ms is None:
            now_ms = self.book.database.now_ms()
        for attempt_id, due_ms in list(self._open()):
            if due_ms >= now_ms:
                continue
            body = {
                "error": {
                    "class": "timeout",
                    "code": "no-outcome-before-deadline",
                    "stage": "model",
                    "retryable": False,
                },
                "timeout": True,
            }
            try:
                self.book.record_own(ledger_made("GEN_ERROR", attempt_id, body))
            except Refused:
                continue  # Its outcome came in the meantime.
            closed += 1
        return closed

    def _open(self) -> Iterator[tuple[str, int]]:
        """Yield (attempt id, due in ms) of every attempt without an outcome."""
        begin = self._from if self._from is not None else self._low_water()
        size = self.book.reader.head().size  # Before the look: what comes later is seen next time.
        rows = [row for first in range(begin, size, _STEP) for row in self._look(first, size)]
        self._from = rows[0][0] if rows else max(begin, size)
        named = {position for position, _, _, may in rows if may} | self._deadlines.keys()
        known, self._deadlines = self._deadlines, {}
        for position, stream, recorded_at, _ in rows:
            deadline_s = self._deadline_s
            if position in named:
                deadline_s = known.get(position) or self._named_deadline(position)
                self._deadlines[position] = deadline_s
            self._seen = max(self._seen, position)
            yield stream.removeprefix("Generation/"), recorded_at + deadline_s * 1000

    def _look(self, first: int, size: int) -> list[tuple[int, str, int, bool]]:
        """Return the open attempts of one step, as _OPEN has them."""
        query = sql.SQL(_OPEN).format(book=sql.Identifier(self.book.row.schema))
        bounds = (self._seen, first, min(first + _STEP, size))
        with self.book.database.duty(self.book.row.schema, "read") as connection:
            return connection.execute(query, bounds).fetchall()

    def _named_deadline(self, position: int) -> int:
        body: dict[str, Any] = self.book.reader.at(position).entry.value["body"]
        deadline_s: int = body.get("deadline_s", self._deadline_s)
        return deadline_s

    def _low_water(self) -> int:
        """Return a position before which no attempt is open: from the reports of the last days.

        A provisional report lists what was open in its own range. An attempt of an earlier one may
        still be: the sweep may not have run for days, and the night has caught up with them since.
        Of a day that was reported for good, and of those before it, none is open.
        """
        days = waiting(self.book)
        low = days[-1]["to_size"] if days else self._reported_size()
        listed: list[dict[str, Any]] = []
        for body in reversed(days):
            if body["open_count"] > len(body["open"]):
                low = body["from_size"]
            listed += body["open"]
        return min([low, *self._still_open(listed)])

    def _reported_size(self) -> int:
        """Return the end of the last day that was reported for good; 0 if none was."""
        return next((report.entry.value["body"]["to_size"] for report in reports(self.book)), 0)

    def _still_open(self, listed: list[dict[str, Any]]) -> list[int]:
        """Return the positions of those attempts that nothing has ended since."""
        query = sql.SQL(_STILL).format(book=sql.Identifier(self.book.row.schema))
        streams = [f"Generation/{attempt['attempt_id']}" for attempt in listed]
        with self.book.database.duty(self.book.row.schema, "read") as connection:
            rows = connection.execute(query, (streams, [one["index"] for one in listed]))
            return [int(position) for (position,) in rows]
