# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the redacted copies: follows the log, entry by entry, and never touches what it reads.

    entry ──► sealed original ──► open ──► detector ──► sealed copy      one transaction for each
                                                └─ too slow ──► withheld      few entries, with the
                                                                              place that was reached

The original is sealed in the commit that records its entry, whatever became of the attempt; a copy
is made afterwards, from the original. So there is no way to keep a moderated text alone. Until the
copy is there, nothing of a prompt can be searched. Killed at any moment, the follower goes on where
its last transaction ended. When the tenant's rules change it begins again, and copies by older
rules are searched no more.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg import sql

from ledger import clock
from ledger.database import Connection, Database
from ledger.redaction.copies import bound_to, newest_rules
from ledger.redaction.detector import Detector, TooSlow
from ledger.redaction.rules import Rules
from ledger.vault.construction import SealedValueDamaged
from ledger.vault.opening import ValuesErased
from ledger.vault.vault import Vault
from sealtrail.verify import canonical

#: Whose texts are copied: what a person wrote, and what the model was given.
PREFIX: Final = "prompt."
_TOPIC: Final = "GEN_ATTEMPT/%"
_BATCH: Final = 32
_TRIES: Final = 5

_TURN: Final = (
    "SELECT version, position FROM {book}.redaction_state WHERE id = 1 FOR UPDATE SKIP LOCKED"
)
_SIZE: Final = "SELECT size FROM {book}.head WHERE id = 1"
_ENTRIES: Final = """
SELECT position, event_id, recorded_at FROM {book}.entry
 WHERE position >= %s AND position < %s AND topic LIKE %s ORDER BY position
"""
_AGAIN: Final = """
SELECT DISTINCT position, event_id, recorded_at FROM {book}.redacted
 WHERE blob IS NULL AND tries < %s ORDER BY position LIMIT %s
"""
_KEEP: Final = """
INSERT INTO {book}.redacted AS r
       (event_id, field, subject_ref, position, recorded_at, version, blob)
SELECT %(event)s, %(field)s, %(ref)s, %(position)s, %(at)s, %(version)s, %(blob)s
 WHERE EXISTS (SELECT 1 FROM {book}.sealed
                WHERE event_id = %(event)s AND subject_ref = %(ref)s AND blob IS NOT NULL)
    ON CONFLICT (event_id, field)
    DO UPDATE SET version = %(version)s, blob = %(blob)s, tries = r.tries + 1
"""
_MOVE: Final = "UPDATE {book}.redaction_state SET version = %s, position = %s WHERE id = 1"
_TIDY: Final = """
DELETE FROM {book}.redacted r WHERE NOT EXISTS (
    SELECT 1 FROM {book}.sealed v
     WHERE v.event_id = r.event_id AND v.subject_ref = r.subject_ref AND v.blob IS NOT NULL)
"""

Progress = Callable[[int, int], None]


class Followed(NamedTuple):
    """How far a follower came."""

    entries: int  #: Looked at in this run.
    copies: int
    withheld: int
    behind: int  #: Entries that are still to be looked at.
    busy: bool = False  #: Another follower is at it.


class Follower:
    """Makes the copies of the Book in `schema`; one thread at a time.

    model: see Detector. Raises RedactionMissing where no library is installed.
    """

    def __init__(
        self, database: Database, vault: Vault, schema: str, *, model: str | None = None
    ) -> None:
        self._database, self._vault, self._schema = database, vault, schema
        self._model = model
        self._detector: Detector | None = None
        self._rules: Rules | None = None

    def run(
        self, *, budget_s: float = 30.0, progress: Progress = lambda _done, _whole: None
    ) -> Followed:
        """Look at what is new until there is nothing more, or for about `budget_s` seconds."""
        until = clock.monotonic() + budget_s
        total = Followed(0, 0, 0, 0)
        while True:
            done = self._batch(again=total.entries == 0)
            total = Followed(
                total.entries + done.entries,
                total.copies + done.copies,
                total.withheld + done.withheld,
                done.behind,
                done.busy,
            )
            progress(total.entries, total.entries + total.behind)
            if done.busy or not done.behind or clock.monotonic() > until:
                return total

    def tidy(self) -> int:
        """Remove copies whose original went while they were made; nobody could open them."""
        with self._database.duty(self._schema, "retain") as connection:
            return connection.execute(self._sql(_TIDY)).rowcount

    def _batch(self, *, again: bool) -> Followed:
        """Look at some entries, in one transaction; with those withheld before, if `again`."""
        with (
            self._database.duty(self._schema, "append") as connection,
            connection.transaction(),
        ):
            turn = connection.execute(self._sql(_TURN)).fetchone()
            if turn is None:
                return Followed(0, 0, 0, 0, busy=True)
            version, position = turn
            rules = newest_rules(connection, self._schema)
            if rules.version != version:
                version, position = rules.version, 0
            row = connection.execute(self._sql(_SIZE)).fetchone()
            size = int(row[0]) if row is not None else 0
            end = min(size, position + _BATCH)
            rows = connection.execute(self._sql(_ENTRIES), (position, end, _TOPIC)).fetchall()
            if again:
                rows += connection.execute(self._sql(_AGAIN), (_TRIES, _BATCH)).fetchall()
            copies = withheld = 0
            for one in rows:
                made, slow = self._copy(connection, rules, *one)
                copies, withheld = copies + made, withheld + slow
            if (version, end) != turn:
                connection.execute(self._sql(_MOVE), (version, end))
        return Followed(end - position, copies, withheld, size - end)

    def _copy(
        self, connection: Connection, rules: Rules, position: int, event_id: UUID, at: int
    ) -> tuple[int, int]:
        """Copy the texts of one event; returns how many, and how many of them are withheld."""
        try:
            opened = self._vault.open(str(event_id))
        except SealedValueDamaged:
            return 0, 0  # It cannot be opened, so it cannot be searched; reading it says why.
        texts = {
            name: _text(value) for name, value in opened.values.items() if name.startswith(PREFIX)
        }
        withheld = 0
        for field, text in texts.items():
            ref = opened.owners[field]
            blob = None
            try:
                redacted = self._by(rules).redact(text)
                blob = self._vault.wrap_for(ref, redacted.encode(), bound_to(event_id, field))
            except TooSlow:
                withheld += 1
            except ValuesErased:
                continue  # Asked for between the two looks.
            facts = {"event": event_id, "field": field, "ref": ref, "position": position, "at": at}
            connection.execute(self._sql(_KEEP), {**facts, "version": rules.version, "blob": blob})
        return len(texts), withheld

    def _by(self, rules: Rules) -> Detector:
        """Return the detector for these rules; made when the first text needs it."""
        if self._detector is None or self._rules != rules:
            self._detector, self._rules = Detector(rules, self._model), rules
        return self._detector

    def _sql(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(book=sql.Identifier(self._schema))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical.encode(value).decode()
