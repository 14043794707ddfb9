# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells an erasure from a theft: whether all is in the vault that entries commit to.

    every subject that is gone, or about to go     an erasure in the log says so
    every sealed value                             of an entry and of a subject that are there
    every entry with commitments                   has sealed values; not if its client keeps them,
                                                   if they expired, or if it is older than the vault

Nothing is opened: that would be a look. The last two cost a pass over all entries and are made
with `full` only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from anchoring.tile_walk import Damage
from ledger.database import Connection
from ledger.erasure.cases import Cases
from ledger.erasure.lawful import is_lawful
from ledger.errors import IntegrityViolation
from ledger.head import Chain
from ledger.migrate import BookRow

_LISTED: Final = 100  #: More than this are not named one by one.

_GOING: Final = """
SELECT ref, erasure_id FROM {book}.subject WHERE state <> 'live' ORDER BY ref
"""
_SINCE: Final = "SELECT since FROM {book}.vault_state WHERE id = 1"
_LOST: Final = """
SELECT e.position, s.state IS NULL, v.blob IS NULL
  FROM {book}.sealed v LEFT JOIN {book}.subject s ON s.ref = v.subject_ref
  LEFT JOIN {book}.entry e ON e.event_id = v.event_id
 WHERE e.position IS NULL OR s.state IS NULL OR (v.blob IS NULL) <> (s.state = 'erased')
 ORDER BY e.position LIMIT %s
"""
#: An entry with commitments begins with them; one whose client keeps its values names the person's
#: digest. Inside of strings, quotes are escaped.
_UNSEALED: Final = """
SELECT e.position FROM {book}.entry e JOIN {book}.entry_body b USING (position)
 WHERE e.position >= %s AND substring(b.bytes FROM 1 FOR 7) = '{{"_sd":'::bytea
   AND position('"person_digest":"'::bytea IN b.bytes) = 0
   AND NOT EXISTS (SELECT 1 FROM {book}.sealed v WHERE v.event_id = e.event_id)
   AND NOT EXISTS (SELECT 1 FROM {book}.tombstone t JOIN {book}.expired x USING (number, event_id)
                    WHERE t.number = e.position >> 8 AND t.what IN ('entry', 'disclosures')
                      AND {book}.in_bits(t.members, e.position))
 ORDER BY 1 LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class VaultWalk:
    """Checks the vault of one Book in the snapshot of whoever checks the log."""

    row: BookRow
    chain: Chain
    full: bool = False

    def finish(self, connection: Connection) -> Iterator[Damage]:
        yield from self._going(connection)
        if self.full:
            yield from self._lost(connection)
            yield from self._unsealed(connection)

    def not_checked(self, connection: Connection) -> list[str]:
        """Say what this check leaves open."""
        since = self._since(connection) if self.full else 0
        return [f"sealed values of the {since} entries before there was a vault"] if since else []

    def _going(self, connection: Connection) -> Iterator[Damage]:
        rows = connection.execute(self._sql(_GOING)).fetchall()
        if not rows:
            return
        try:
            cases = Cases(self.row.schema, self.chain).all(connection)
        except IntegrityViolation:
            yield None, "vault", "who was erased cannot be told: the log's own words are damaged"
            return
        for ref, erasure_id in rows:
            if not is_lawful(self.row, cases, ref, erasure_id):
                yield None, "vault", f"data subject {ref} is gone, and no erasure says so"

    def _lost(self, connection: Connection) -> Iterator[Damage]:
        for position, nobodys, empty in connection.execute(self._sql(_LOST), (_LISTED,)):
            if position is None:
                yield None, "vault", "there are sealed values of no entry"
                continue
            what = "are empty" if empty else "are still there, though their person was erased"
            if nobodys:
                what = "belong to a data subject that is gone"
            yield position, "vault", f"sealed values of the entry at position {position} {what}"

    def _unsealed(self, connection: Connection) -> Iterator[Damage]:
        since = self._since(connection)
        for (position,) in connection.execute(self._sql(_UNSEALED), (since, _LISTED)):
            yield (
                position,
                "vault",
                f"the sealed values of the entry at position {position} are gone",
            )

    def _since(self, connection: Connection) -> int:
        row = connection.execute(self._sql(_SINCE)).fetchone()
        return int(row[0]) if row is not None else 0

    def _sql(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(book=sql.Identifier(self.row.schema))
