# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the registers: which models, policies, templates, texts and sets there are, by version.

The rows are the read model's (ledger/readmodel/registers.py), one for each entry; here they are put
together: what each version is, how it stands now, since when, and the entries that say so.
"""

from typing import Any, Final, Literal

from psycopg import sql

from ledger import clock
from ledger.database import Database

JSON = dict[str, Any]

Kind = Literal[
    "models", "policies", "templates", "consent-texts", "transparency-templates", "datasets"
]

_ROWS_OF: Final[dict[Kind, str]] = {
    "models": "model",
    "policies": "policy",
    "templates": "template",
    "consent-texts": "text",
    "transparency-templates": "label",
    "datasets": "dataset",
}

#: Things of one answer, and entries of one thing.
THINGS_MAX: Final = 200
_ROWS_MAX: Final = 500

_READ: Final = """
SELECT t.id, r.version, r.since, r.status, r.event_id::text, r.recorded_at, r.effective_at,
       r.digest, r.ticket
  FROM (SELECT DISTINCT id FROM {book}.register
         WHERE kind = %(kind)s AND id > %(after)s AND (%(id)s::text IS NULL OR id = %(id)s)
         ORDER BY id LIMIT %(limit)s) t
 CROSS JOIN LATERAL (
       SELECT * FROM {book}.register o WHERE o.kind = %(kind)s AND o.id = t.id
        ORDER BY o.since DESC LIMIT %(rows)s) r
 ORDER BY t.id, r.since
"""


def register(
    database: Database,
    schema: str,
    kind: Kind,
    *,
    id_: str | None = None,
    after: str = "",
    limit: int = THINGS_MAX,
) -> list[JSON]:
    """Return the things of a register in order of their ids, each with its versions.

    after: only ids beyond this one. Of a thing with more than 500 entries, the newest are read.
    """
    query = sql.SQL(_READ).format(book=sql.Identifier(schema))
    values = {
        "kind": _ROWS_OF[kind],
        "id": id_,
        "after": after,
        "limit": min(limit, THINGS_MAX),
        "rows": _ROWS_MAX,
    }
    things: dict[str, list[tuple[Any, ...]]] = {}
    with database.duty(schema, "read") as connection:
        for thing, *row in connection.execute(query, values):
            things.setdefault(thing, []).append(tuple(row))
    now_ms = database.now_ms()
    return [_thing(name, rows, now_ms) for name, rows in things.items()]


def _thing(id_: str, rows: list[tuple[Any, ...]], now_ms: int) -> JSON:
    versions: dict[str, list[tuple[Any, ...]]] = {}
    for row in rows:
        if row[0]:
            versions.setdefault(row[0], [])
    for row in rows:
        for name, known in versions.items():
            if row[0] in (name, ""):  # An entry without a version is about all of them.
                known.append(row)
    return {"id": id_, "versions": [_version(*one, now_ms) for one in versions.items()]}


def _version(name: str, rows: list[tuple[Any, ...]], now_ms: int) -> JSON:
    """Return a version as its last entry that is in force leaves it."""
    last = next((row for row in reversed(rows) if row[5] <= now_ms), rows[0])
    found: JSON = {
        "version": name,
        "status": last[2] if last[5] <= now_ms else "announced",
        "since": last[1],
        "since_at": clock.rfc3339(last[5]),
        "events": [
            {
                "event_id": event_id,
                "position": position,
                "status": status,
                "recorded_at": clock.rfc3339(recorded_ms),
            }
            for _, position, status, event_id, recorded_ms, *_ in rows
        ],
    }
    for member, at in (("digest", 6), ("change_ticket", 7)):
        said = [row[at] for row in rows if row[at] is not None]
        if said:
            found[member] = said[0] if member == "digest" else said[-1]
    return found
