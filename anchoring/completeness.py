# SPDX-License-Identifier: GPL-3.0-or-later
"""The provisional report of a closed range: how many attempts, how they ended, which are open.

A range is positions, never wall-clock time. For each attempt recorded in [from, to) the report
counts its outcome as of the moment of the report, and lists what is still open. Its number and the
event_id of the report before make a missing report visible.
"""

from collections import Counter
from hashlib import sha256
from typing import Any, Final

from psycopg import sql

from anchoring.shelf import Book
from sealtrail.verify import canonical

LISTED: Final = 64

_ATTEMPTS: Final = """
SELECT a.position, a.stream, array_agg(o.topic) FILTER (WHERE o.topic IS NOT NULL)
  FROM {book}.entry a
  LEFT JOIN {book}.entry o ON o.stream = a.stream
       AND o.topic IN ('GEN/1', 'GEN_DENY/1', 'GEN_ERROR/1', 'OUTCOME_LATE/1')
 WHERE a.position >= %s AND a.position < %s AND a.topic = 'GEN_ATTEMPT/1'
 GROUP BY a.position, a.stream ORDER BY a.position
"""
_NAMES: Final = {
    "GEN/1": "gen",
    "GEN_DENY/1": "deny",
    "GEN_ERROR/1": "error",
    "OUTCOME_LATE/1": "late",
}


def provisional_report(book: Book, *, day: str, from_size: int, to_size: int) -> dict[str, Any]:
    """Return the body of the COMPLETENESS_REPORT for the range [from_size, to_size)."""
    counts: Counter[str] = Counter()
    open_attempts: list[dict[str, Any]] = []
    query = sql.SQL(_ATTEMPTS).format(book=sql.Identifier(book.row.schema))
    with book.database.duty(book.row.schema, "read") as connection:
        for position, stream, topics in connection.execute(query, (from_size, to_size)):
            counts["attempts"] += 1
            counts.update(_NAMES[topic] for topic in topics or ())
            if not topics:
                attempt = stream.removeprefix("Generation/")
                open_attempts.append({"attempt_id": attempt, "index": position})
    before = book.reader.of_topic("COMPLETENESS_REPORT/1", limit=1)
    body: dict[str, Any] = {
        "kind": "provisional",
        "day": day,
        "number": before[0].entry.value["body"]["number"] + 1 if before else 1,
        "from_size": from_size,
        "to_size": to_size,
        "counts": {n: counts[n] for n in ("attempts", "gen", "deny", "error", "late")},
        "open_count": len(open_attempts),
        "open": open_attempts[:LISTED],
    }
    if before:
        body["previous"] = before[0].entry.event_id
    if len(open_attempts) > LISTED:
        body["open_digest"] = f"sha256:{sha256(canonical.encode(open_attempts)).hexdigest()}"
    return body
