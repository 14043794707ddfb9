# SPDX-License-Identifier: GPL-3.0-or-later
"""Raises alerts about what is missing of a log: numbers of a sequence, a writer, a timely outcome.

    source-gap        numbers missing since a quarter of an hour; of one sequence once for each day
    source-tail       numbers that a writer gave and that have not come, the same
    writer-silent     a writer that promised heartbeats has said nothing; once for each silence
    outcome-late      an outcome came after the ledger's own timeout; once for each attempt

What is missing is read from the log as it grows (ledger/sources), so a look costs what is new, and
what is being watched.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from psycopg import sql

from anchoring.alerts import raise_alert
from anchoring.shelf import Book
from ledger import clock
from ledger.readmodel.follower import catch_up
from ledger.sources.listing import overdue_gaps, overdue_tail, silent_since, watched
from ledger.sources.state import Source

GAP: Final = "source-gap"
TAIL: Final = "source-tail"
SILENT: Final = "writer-silent"
LATE: Final = "outcome-late"

_BUDGET_S: Final = 10.0
_AT_ONCE: Final = 100
_REMEMBERED: Final = 100_000

#: Late outcomes without an alert; `about` is made as below.
_LATE: Final = """
SELECT l.position, l.attempt_id, l.recorded_at FROM {book}.late_outcome l
 WHERE NOT EXISTS (SELECT 1 FROM {book}.alert a
                    WHERE a.code = 'outcome-late' AND a.about = 'Generation/' || l.attempt_id)
 ORDER BY l.position LIMIT %s
"""


class Concern(NamedTuple):
    """Something that an alert is raised about."""

    code: str
    about: str
    facts: dict[str, str | int]


class SourceWatch:
    """Watches one Book; remembers what it has raised, so that a look asks about nothing twice."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self._raised: set[tuple[str, str]] = set()

    def run(self, now_ms: int) -> int:
        """Raise what has to be raised at a time by the database's clock; returns how many alerts.

        Safe to repeat: an alert is raised once for each thing that it is about.
        """
        book = self.book
        catch_up(book.database, book.row.schema, {"sources"}, budget_s=_BUDGET_S)
        found = (
            one
            for source in watched(book.database, book.row.schema)
            for one in concerns(source, now_ms)
        )
        return sum(map(self._raise, [*found, *_late(book)]))

    def _raise(self, one: Concern) -> bool:
        name = (one.code, one.about)
        if name in self._raised:
            return False
        if len(self._raised) >= _REMEMBERED:
            self._raised.clear()
        raised = raise_alert(self.book, one.code, one.about, one.facts)
        self._raised.add(name)
        return raised


def concerns(source: Source, now_ms: int) -> Iterator[Concern]:
    """Yield what is wrong with one sequence; what was noticed on one day is one concern."""
    days: dict[str, list[tuple[int, int]]] = {}
    for gap in overdue_gaps(source, now_ms):
        days.setdefault(clock.day_of(gap.noticed_ms), []).append((gap.first, gap.last))
    for day, gaps in days.items():
        facts: dict[str, str | int] = {
            "source": source.source_id,
            "gaps": len(gaps),
            "missing": sum(last - first + 1 for first, last in gaps),
            "first": f"{gaps[0][0]}-{gaps[0][1]}",
        }
        yield Concern(GAP, f"{source.source_id} {day}", facts)
    tail = overdue_tail(source, now_ms)
    if tail:
        facts = {"source": source.source_id, "last_n": source.last_n, "said_n": source.said_n}
        said = clock.day_of(source.said_ms or 0)
        yield Concern(TAIL, f"{source.source_id} {said}", facts | {"missing": tail})
    silent = silent_since(source, now_ms)
    if silent is not None:
        since = clock.rfc3339(silent)
        facts = {"source": source.source_id, "since": since, "last_n": source.last_n}
        yield Concern(SILENT, f"{source.source_id} {since}", facts)


def _late(book: Book) -> list[Concern]:
    query = sql.SQL(_LATE).format(book=sql.Identifier(book.row.schema))
    with book.database.duty(book.row.schema, "read") as connection:
        rows = connection.execute(query, (_AT_ONCE,)).fetchall()
    return [
        Concern(
            LATE,
            f"Generation/{attempt_id}",
            {"attempt": attempt_id, "position": position, "recorded": clock.rfc3339(at)},
        )
        for position, attempt_id, at in rows
    ]
