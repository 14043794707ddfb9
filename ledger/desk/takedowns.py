# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to take a picture down, each with its clock of 48 hours (TAKE IT DOWN Act §3).

The clock runs from when the request came in, at the latest from when it was recorded here. A later
`due_at` of the client's does not lengthen it, an earlier one counts. When the copies were gone is
the client's word; when it was recorded stands beside it.

    open ──► met | late          removed in time, or not
      └────► overdue             not removed, and the time is over
    invalid                      the request does not hold; no clock
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ledger.database import Connection, Database
from ledger.desk.rows import ask, ms, run, shown
from ledger.readmodel.projection import JSON, Item

#: TAKE IT DOWN Act §3(a)(3): within 48 hours of a valid request.
WITHIN_MS: Final = 48 * 3_600_000

_TELL: Final = """
INSERT INTO {book}.takedown AS t
       (export_id, request_id, received, due, valid, removed, removed_told, copies, reason,
        position, event_id, last_position, last_event)
VALUES (%(export)s, %(request)s, %(received)s, %(due)s, %(valid)s, %(removed)s, %(told)s,
        %(copies)s, %(reason)s, %(position)s, %(event)s::uuid, %(position)s, %(event)s::uuid)
    ON CONFLICT (export_id, request_id) DO UPDATE
   SET received = least(t.received, excluded.received), due = least(t.due, excluded.due),
       valid = excluded.valid, removed = coalesce(excluded.removed, t.removed),
       removed_told = coalesce(t.removed_told, excluded.removed_told),
       copies = coalesce(excluded.copies, t.copies), reason = coalesce(excluded.reason, t.reason),
       last_position = excluded.last_position, last_event = excluded.last_event
"""
_COLUMNS: Final = """
SELECT export_id, request_id, received, due, valid, removed, removed_told, copies, reason, position,
       event_id::text, last_position, last_event::text FROM {book}.takedown
"""
_STATE: Final = {
    "invalid": "NOT valid",
    "open": "valid AND removed IS NULL AND due >= %(now)s",
    "overdue": "valid AND removed IS NULL AND due < %(now)s",
    "met": "valid AND removed <= due",
    "late": "valid AND removed > due",
    "all": "true",
}
STATES: Final = tuple(_STATE)
_PAGE: Final = """
   AND (%(before)s::bigint IS NULL OR position < %(before)s) ORDER BY position DESC LIMIT %(limit)s
"""
_DUE: Final = f"""
{_COLUMNS} t WHERE valid AND removed IS NULL AND due > %(since)s AND due <= %(until)s
   AND NOT EXISTS (SELECT 1 FROM {{book}}.alert a WHERE a.code = %(code)s
                      AND a.about = 'Export/' || t.export_id || '/' || t.request_id)
 ORDER BY due, position LIMIT %(limit)s
"""  # noqa: S608 - of our own words


class Takedown(NamedTuple):
    """One request about one delivery. Times in ms since 1970."""

    export_id: str
    request_id: str
    received: int
    due: int
    valid: bool
    removed: int | None  #: As the client says.
    removed_told: int | None  #: When that was recorded.
    copies: int | None
    reason: str | None
    position: int
    event_id: str
    last_position: int
    last_event: str

    def state(self, now_ms: int) -> str:
        """Return one of STATES but `all`."""
        if not self.valid:
            return "invalid"
        if self.removed is not None:
            return "met" if self.removed <= self.due else "late"
        return "overdue" if now_ms > self.due else "open"

    def json(self, now_ms: int) -> JSON:
        """Return the request as the API and `--json` show it."""
        told = {
            "export_id": self.export_id,
            "request_id": self.request_id,
            "state": self.state(now_ms),
            "received_at": shown(self.received),
            "due_at": shown(self.due),
            "removed_at": shown(self.removed),
            "removal_recorded_at": shown(self.removed_told),
            "copies_removed": self.copies,
            "reason_code": self.reason,
            "opened": {"event_id": self.event_id, "position": self.position},
            "last": {"event_id": self.last_event, "position": self.last_position},
        }
        return {name: value for name, value in told.items() if value is not None}


class TakedownProjection:
    """Feeds the table `takedown` (ledger.readmodel.projection.Projection)."""

    name: Final = "takedowns"
    tables: Final = ("takedown",)

    def write(self, connection: Connection, schema: str, items: Sequence[Item]) -> None:
        """Start, move and end the clocks of requests."""
        for item in items:
            if item.type == "TAKEDOWN":
                run(connection, schema, _TELL, _values(item))


def takedowns(
    database: Database,
    schema: str,
    *,
    state: str,
    now_ms: int,
    before: int | None = None,
    limit: int = 100,
) -> list[Takedown]:
    """Return requests in a state, the newest first; `before`: only those at lower positions."""
    query = f"{_COLUMNS} WHERE {_STATE[state]} {_PAGE}"
    values = {"now": now_ms, "before": before, "limit": limit}
    return [Takedown(*row) for row in ask(database, schema, query, values)]


def due_takedowns(
    database: Database, schema: str, *, since_ms: int, until_ms: int, code: str, limit: int
) -> list[Takedown]:
    """Return unanswered requests due in (since, until] of which no alert of this code tells."""
    values = {"since": since_ms, "until": until_ms, "code": code, "limit": limit}
    return [Takedown(*row) for row in ask(database, schema, _DUE, values)]


def _values(item: Item) -> dict[str, Any]:
    said: JSON = item.entry["body"]["takedown"]
    # A request that is to come in tomorrow is one that came in today.
    received = min(ms(said["received_at"]) or 0, item.recorded_ms)
    due = min(ms(said.get("due_at")) or received + WITHIN_MS, received + WITHIN_MS)
    removed = ms(said.get("removed_at"))
    return {
        "export": item.entry["aggregate"]["id"],
        "request": said["request_id"],
        "received": received,
        "due": due,
        "valid": said.get("valid", True),
        "removed": removed,
        "told": None if removed is None else item.recorded_ms,
        "copies": said.get("copies_removed"),
        "reason": item.entry["body"].get("reason_code"),
        "position": item.position,
        "event": item.event_id,
    }
