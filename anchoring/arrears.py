# SPDX-License-Identifier: GPL-3.0-or-later
"""What the night still owes a log: anchors that wait for an authority, and who kept them waiting.

Ingest never waits for an authority, so nobody would notice one that is silent for days; whoever
watches asks here. Read from the ledger's own state, whatever process does the anchoring.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from anchoring.anchors import Anchors
from anchoring.night import Night
from anchoring.shelf import Book

#: A day that has fewer ANCHOR entries than anchors that were chosen to be stamped.
_CHOSEN: Final = """
SELECT a.day::text FROM (SELECT day, count(*) AS chosen FROM {book}.anchor GROUP BY day) a
 WHERE a.chosen > (SELECT count(*) FROM {book}.entry e
                    WHERE e.stream = 'AnchorDay/' || a.day::text AND e.topic = 'ANCHOR/1')
 ORDER BY a.day
"""
_FAILURES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrears:
    """What waits for a stamp, and since when nothing was stamped."""

    days: Sequence[str]  #: UTC days with an anchor that is due and not recorded, oldest first.
    stamped_ms: int  #: The newest time that an authority gave this log; 0 if none did.
    failures: Mapping[str, str]  #: Authority and reason, of the newest failures over these days.


def arrears(book: Book, now_ms: int) -> Arrears:
    """Return what the night owes this Book at a time by the database's clock."""
    with book.database.duty(book.row.schema, "read") as connection:
        chosen = connection.execute(
            sql.SQL(_CHOSEN).format(book=sql.Identifier(book.row.schema))
        ).fetchall()
    days = sorted({day for (day,) in chosen} | set(Night(book, []).missing_days(now_ms)))
    return Arrears(
        days=days, stamped_ms=_stamped(book), failures=_failures(book, set(days)) if days else {}
    )


def _stamped(book: Book) -> int:
    query = sql.SQL("SELECT coalesce(max(gen_time_ms), 0) FROM {book}.token").format(
        book=sql.Identifier(book.row.schema)
    )
    with book.database.duty(book.row.schema, "read") as connection:
        row = connection.execute(query).fetchone()
    return int(row[0]) if row is not None else 0


def _failures(book: Book, days: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    waiting = {anchor.anchor_id for anchor in Anchors(book).newest_days() if anchor.day in days}
    for stored in book.reader.of_topic("ANCHOR_FAILED/1", limit=_FAILURES):  # Newest first.
        body = stored.entry.value["body"]
        if body["anchor"] in waiting:
            found.setdefault(body["authority"], body["reason"])
    return found
