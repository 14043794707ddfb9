# SPDX-License-Identifier: GPL-3.0-or-later
"""Outputs that left the house although they were held back.

A ledger records what happened, so the EXPORT of an output in quarantine is an entry like any other.
That it should not have happened follows from the entries alone: it was delivered after it had been
held back, and before OUTPUT_RELEASED, or although it was to be destroyed.
"""

from typing import Final, NamedTuple

from ledger.database import Database
from ledger.desk.rows import ask

_ESCAPED: Final = """
SELECT r.generation, r.case_id, substr(l.target, length('Export/') + 1), l.position,
       e.event_id::text, r.outcome
  FROM {book}.review r
  JOIN {book}.lineage_edge l ON l.source = 'Asset/' || r.case_id AND l.rel = 'exports'
  JOIN {book}.entry e ON e.position = l.position AND e.topic LIKE 'EXPORT/%%'
 WHERE r.kind = 'quarantine' AND l.position > r.position
   AND (r.state <> 'decided' OR r.outcome <> 'RELEASED' OR r.last_position > l.position)
   AND NOT EXISTS (SELECT 1 FROM {book}.alert a WHERE a.code = %(code)s AND a.about = l.target)
 ORDER BY l.position LIMIT %(limit)s
"""


class Escape(NamedTuple):
    """One delivery of an output that was held back."""

    generation: str
    asset: str
    export_id: str
    position: int  #: Of the EXPORT.
    event_id: str
    outcome: str | None  #: What was decided since: RELEASED, DESTROYED, or nothing yet.


def escapes(database: Database, schema: str, *, code: str, limit: int) -> list[Escape]:
    """Return such deliveries of which no alert of this code tells, the oldest first."""
    rows = ask(database, schema, _ESCAPED, {"code": code, "limit": limit})
    return [Escape(*row) for row in rows]
