# SPDX-License-Identifier: GPL-3.0-or-later
"""The dry run: what an erasure would take and what it would leave, counted and not shown."""

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from psycopg import sql

from ledger.database import Connection

_COUNTS: Final = """
SELECT (SELECT count(*) FROM {book}.sealed WHERE subject_ref = %(ref)s AND blob IS NOT NULL),
       (SELECT count(*) FROM {book}.sealed s
         WHERE s.subject_ref = %(ref)s AND s.blob IS NOT NULL
           AND EXISTS (SELECT 1 FROM {book}.sealed o WHERE o.event_id = s.event_id
                          AND o.subject_ref <> s.subject_ref AND o.blob IS NOT NULL)),
       (SELECT count(*) FROM {book}.blind WHERE subject_ref = %(ref)s),
       (SELECT count(*) FROM {book}.artifact
         WHERE subject_ref = %(ref)s AND wrapped_key IS NOT NULL)
"""
_TYPES: Final = """
SELECT split_part(e.topic, '/', 1), count(*)
  FROM {book}.sealed s JOIN {book}.entry e USING (event_id)
 WHERE s.subject_ref = %s AND s.blob IS NOT NULL GROUP BY 1 ORDER BY 1
"""

#: What no erasure takes, in sentences for whoever decides.
STAYS: Final = (
    "the entries: who recorded which kind of event when, and commitments that nobody can open",
    "every proof, receipt and packet made before, and the disclosures given out with them",
    "values of other persons in the same events",
    "values that a client keeps in its own custody",
    "this person's values in other Books, such as the access Book, and under other ids",
    "the name in a credential of this person's, until it is revoked and forgotten",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a dry run counted."""

    events: int
    shared: int
    identifiers: int
    artifacts: int
    types: dict[str, int]  #: Events by type.

    def body(self) -> dict[str, int]:
        """Return the plan as an entry has it."""
        return {
            "events": self.events,
            "shared": self.shared,
            "identifiers": self.identifiers,
            "artifacts": self.artifacts,
        }

    def json(self) -> dict[str, Any]:
        """Return the plan as it is shown before anybody decides."""
        return {"goes": {**self.body(), "types": self.types}, "stays": list(STAYS)}


def plan(connection: Connection, schema: str, ref: UUID) -> Plan:
    """Count what belongs to a subject."""
    book = sql.Identifier(schema)
    counts = connection.execute(sql.SQL(_COUNTS).format(book=book), {"ref": ref}).fetchone()
    events, shared, identifiers, artifacts = counts or (0, 0, 0, 0)
    types = connection.execute(sql.SQL(_TYPES).format(book=book), (ref,)).fetchall()
    return Plan(
        events=events,
        shared=shared,
        identifiers=identifiers,
        artifacts=artifacts,
        types=dict(types),
    )
