# SPDX-License-Identifier: GPL-3.0-or-later
"""Content that the log itself promises: an output whose `ref` is `archive`.

An announcement is the pipeline's word, and a pipeline that forgets to upload forgets to announce,
too. The promise is in the entry, which nobody can take back; so the log is searched, and what was
promised and never announced is as missing as what was announced and never came.

KNOWN GAP: committed digests (`asset.full_ref`) promise nothing here, because the log does not show
their names. Considered: opening every sealed value on the way, which this search has no business to
do. They are missed once they are announced.
"""

from typing import Final

from psycopg import sql

from ledger.clock import Clock
from ledger.database import Connection, Database
from ledger.store import read_entry

ARCHIVE: Final = "archive"

_STEP: Final = 20_000

#: Canonical bytes have no spaces, so this text is in every entry that promises, and in few others.
_FOUND: Final = """
SELECT b.bytes FROM {book}.entry e JOIN {book}.entry_body b USING (position)
 WHERE e.position >= %s AND e.position < %s AND e.topic LIKE 'GEN/%%'
   AND position('"ref":"archive"'::bytea IN b.bytes) > 0
"""
_PROMISED: Final = """
INSERT INTO {book}.artifact_promise (event_id, name, deadline) VALUES (%s, %s, %s)
ON CONFLICT DO NOTHING
"""
_MISSED: Final = """
UPDATE {book}.artifact_promise p SET missed_at = %(now)s
 WHERE p.missed_at IS NULL AND p.deadline < %(now)s AND NOT EXISTS (
       SELECT 1 FROM {book}.artifact a WHERE a.event_id = p.event_id AND a.name = p.name)
RETURNING p.event_id::text, p.name
"""
_MISSING: Final = """
  FROM {book}.artifact_promise p
 WHERE p.missed_at IS NOT NULL AND NOT EXISTS (
       SELECT 1 FROM {book}.artifact a WHERE a.event_id = p.event_id AND a.name = p.name)
"""
_COUNT: Final = "SELECT count(*)" + _MISSING
_LIST: Final = (
    "SELECT p.event_id::text, p.name, p.deadline" + _MISSING + " ORDER BY p.deadline, 1, 2 LIMIT %s"
)


class Promises:
    """What the log of the Book in `schema` promises to the archive."""

    def __init__(self, database: Database, schema: str, *, deadline_s: int, now_ms: Clock) -> None:
        self._database, self._schema = database, schema
        self._deadline_ms, self._now_ms = deadline_s * 1000, now_ms
        self._book = sql.Identifier(schema)

    def search(self) -> int:
        """Read the log from where the last search ended; returns how many promises were found.

        Safe to break off and to repeat: what was read and what was found is one transaction.
        """
        found = 0
        with self._database.duty(self._schema, "append") as connection:
            while (step := self._step(connection)) is not None:
                found += step
        return found

    def missed(self) -> list[tuple[str, str]]:
        """Mark what nobody announced in time; returns (event_id, name) of what is new among it."""
        with self._database.duty(self._schema, "append") as connection:
            rows = connection.execute(self._sql(_MISSED), {"now": self._now_ms()}).fetchall()
        return [(event_id, name) for event_id, name in rows]

    def unannounced(self, *, limit: int) -> list[tuple[str, str, int]]:
        """Return (event_id, name, deadline in ms) of the oldest that are overdue."""
        with self._database.duty(self._schema, "read") as connection:
            return [
                (event_id, name, deadline)
                for event_id, name, deadline in connection.execute(self._sql(_LIST), (limit,))
            ]

    def missing(self) -> int:
        """Return how many promises are overdue now and still announced by nobody."""
        with self._database.duty(self._schema, "read") as connection:
            row = connection.execute(self._sql(_COUNT)).fetchone()
        return 0 if row is None else int(row[0])

    def _step(self, connection: Connection) -> int | None:
        """Search some more of the log; None once there is no more."""
        with connection.transaction():
            begin = _number(connection, self._sql("SELECT size FROM {book}.artifact_state"))
            size = _number(connection, self._sql("SELECT size FROM {book}.head"))
            if begin >= size:
                return None
            end = min(begin + _STEP, size)
            found = 0
            deadline = self._now_ms() + self._deadline_ms
            for (data,) in connection.execute(self._sql(_FOUND), (begin, end)).fetchall():
                entry = read_entry(data)
                for at, output in enumerate(entry.value["body"]["outputs"]):
                    if output.get("ref") == ARCHIVE:
                        name = f"outputs[{at}].sha256"
                        values = (entry.event_id, name, deadline)
                        found += connection.execute(self._sql(_PROMISED), values).rowcount
            query = self._sql("UPDATE {book}.artifact_state SET size = %s WHERE id = 1")
            connection.execute(query, (end,))
            return found

    def _sql(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(book=self._book)


def _number(connection: Connection, query: sql.Composed) -> int:
    row = connection.execute(query).fetchone()
    return 0 if row is None else int(row[0])
