# SPDX-License-Identifier: GPL-3.0-or-later
"""What is missing of the sequences of a Book: gaps, tails, writers that have fallen silent.

A number may be under way for a while, so what is missing is called a gap only after a time; a
writer that promised a heartbeat is silent after three of them, and a minute at least, without a
word.
"""

from collections.abc import Iterator
from typing import Any, Final

from psycopg import sql

from ledger import clock
from ledger.database import Database
from ledger.sources.projection import SELECT, of_rows
from ledger.sources.state import Gap, Source

JSON = dict[str, Any]

#: How long a number may be under way, in milliseconds.
GRACE_MS: Final = 900_000
_BEATS: Final = 3
_LEAST_MS: Final = 60_000

#: As the index `source_watched` has it.
_WATCHED: Final = " WHERE (gaps <> '[]' OR unlisted > 0 OR said_n > last_n OR running)"
_AFTER: Final = " AND source_id > %s ORDER BY source_id LIMIT %s"


def page(
    database: Database, schema: str, *, after: str = "", limit: int = 100, every: bool = False
) -> list[Source]:
    """Return sequences in order of their names: all, or those with something to watch."""
    text = SELECT + (" WHERE true" if every else _WATCHED) + _AFTER
    with database.duty(schema, "read") as connection:
        query = sql.SQL(text).format(book=sql.Identifier(schema))
        return list(of_rows(connection.execute(query, (after, limit)).fetchall()))


def watched(database: Database, schema: str) -> Iterator[Source]:
    """Yield every sequence with something to watch, some hundreds at a time."""
    after = ""
    while found := page(database, schema, after=after, limit=500):
        yield from found
        after = found[-1].source_id


def overdue_gaps(source: Source, now_ms: int) -> list[Gap]:
    """Return the gaps that were noticed so long ago that their numbers are not under way."""
    return [gap for gap in source.gaps if now_ms - gap.noticed_ms > GRACE_MS]


def overdue_tail(source: Source, now_ms: int) -> int:
    """Return how many numbers a writer spoke of so long ago that they are not under way."""
    return source.tail if source.said_ms and now_ms - source.said_ms > GRACE_MS else 0


def silent_since(source: Source, now_ms: int) -> int | None:
    """Return since when a writer that promised heartbeats has said nothing; None if it has not."""
    if not source.running or not source.heartbeat_s:
        return None
    patience = max(_LEAST_MS, _BEATS * source.heartbeat_s * 1000)
    return source.seen_ms if now_ms - source.seen_ms > patience else None


def source_json(source: Source, now_ms: int) -> JSON:
    """Return what is known of a sequence."""
    told: JSON = {
        "source": source.source_id,
        "recorded": source.recorded,
        "last_n": source.last_n if source.last_n >= 0 else None,
        "seen": clock.rfc3339(source.seen_ms),
        "missing": source.missing,
        "gaps": [
            {
                "from": gap.first,
                "to": gap.last,
                "noticed": clock.rfc3339(gap.noticed_ms),
                "position": gap.position,
            }
            for gap in source.gaps
        ],
        "unlisted": source.unlisted,
        "missing_tail": source.tail,
    }
    if source.said_ms is not None:
        told["writer"] = {
            "running": source.running,
            "last_n": source.said_n if source.said_n >= 0 else None,
            "said": clock.rfc3339(source.said_ms),
            "heartbeat_s": source.heartbeat_s,
            "silent": silent_since(source, now_ms) is not None,
        }
    return told
