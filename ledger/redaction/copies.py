# SPDX-License-Identifier: GPL-3.0-or-later
r"""The redacted copies of one Book: sealed under their persons' keys, searched by opening them.

    copy = AES-256-GCM(subject key, text without what the rules hide,
                       … ‖ "sealtrail.redacted.v1\0" ‖ event_id ‖ field)      (vault: `other`)

A copy still says what somebody asked for, so it lies nowhere in clear: no index of words, no table
for searching, no file. It dies with the key of its data subject, in WAL and backups, too. A search
opens the newest copies first until it has enough, or its time is over; then it says where it
stopped. That is the price of an erasure that leaves nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg import sql

from ledger import clock
from ledger.database import Connection, Database
from ledger.errors import FieldError, MalformedEvent
from ledger.keys import KeyDestroyed
from ledger.redaction.detector import folded
from ledger.redaction.rules import Rules
from ledger.vault.construction import Cipher, unwrap_other
from ledger.vault.ring import KeyRing

_LABEL: Final = b"sealtrail.redacted.v1\0"
_CHUNK: Final = 500
_TERMS_MAX: Final = 10
_QUERY_MAX: Final = 200
_TERM: Final = re.compile(r'"([^"]+)"|([^\s"]+)')
_END: Final = 2**63 - 1

_COPIES: Final = """
SELECT r.position, r.event_id, r.field, r.recorded_at, r.subject_ref, r.blob,
       s.generation, s.wrapped_key
  FROM {book}.redacted r
  JOIN {book}.subject s ON s.ref = r.subject_ref AND s.state IN ('live', 'held')
  JOIN {book}.sealed v ON v.event_id = r.event_id AND v.subject_ref = r.subject_ref
 WHERE r.version = %s AND r.blob IS NOT NULL AND v.blob IS NOT NULL
   AND (r.position, r.field) < (%s, %s)
 ORDER BY r.position DESC, r.field DESC LIMIT %s
"""
_STATE: Final = """
SELECT t.version, t.position, h.size, (SELECT max(version) FROM {book}.redaction_rules)
  FROM {book}.redaction_state t, {book}.head h WHERE t.id = 1 AND h.id = 1
"""


class Copy(NamedTuple):
    """One copy that was found."""

    event_id: str
    field: str
    position: int
    recorded_ms: int
    text: str

    def __repr__(self) -> str:
        return f"Copy({self.event_id} {self.field})"  # The rest is personal.


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What one search has found, newest first."""

    found: tuple[Copy, ...]
    looked: int  #: Copies that were opened for it.
    before: int | None  #: Go on before this position; None: there is no more.
    behind: int  #: Entries whose prompts have no copy by the present rules yet.


def bound_to(event_id: UUID, field: str) -> bytes:
    """Return what a copy is bound to, beside its data subject."""
    return _LABEL + event_id.bytes + field.encode()


def terms_of(query: str) -> list[str]:
    """Return what must occur in a copy: words, and "words in a row"; raises MalformedEvent."""
    found = [folded(one[1] or one[2]).casefold().strip() for one in _TERM.finditer(query)]
    if len(query) > _QUERY_MAX or not 1 <= len(found) <= _TERMS_MAX or min(map(len, found)) < 2:
        rule = 'is 1 to 10 words, or "words in a row", of two characters at least; at most 200'
        raise MalformedEvent(errors=[FieldError("/query/q", "terms", rule)])
    return found


class Copies:
    """Searches the copies of the Book in `schema`, for any thread.

    Whoever shows to anybody what comes from here enters that in the access Book first.
    """

    def __init__(self, database: Database, ring: KeyRing) -> None:
        self._database, self._ring = database, ring
        book = sql.Identifier(ring.schema)
        self._copies = sql.SQL(_COPIES).format(book=book)
        self._state = sql.SQL(_STATE).format(book=book)

    def search(
        self, terms: Sequence[str], *, before: int | None, limit: int, budget_s: float
    ) -> Page:
        """Return the newest copies before a position in which every term occurs.

        terms: as `terms_of` gives them. Ends after `limit` finds, or in about `budget_s` seconds.
        """
        until = clock.monotonic() + budget_s
        found: list[Copy] = []
        looked, last = 0, (_END if before is None else before, "")
        with self._database.duty(self._ring.schema, "read") as connection:
            version, behind = self._standing(connection)
            while True:
                rows, texts = self._chunk(connection, version, last)
                for row, text in zip(rows, texts, strict=True):
                    if len(found) >= limit and row[0] != last[0]:
                        return self._page(found, looked, last[0], behind)
                    looked, last = looked + 1, (row[0], row[2])
                    plain = text.casefold()
                    if all(term in plain for term in terms):
                        found.append(Copy(str(row[1]), row[2], row[0], row[3], text))
                if len(rows) < _CHUNK:
                    return self._page(found, looked, None, behind)
                if clock.monotonic() > until:
                    return self._page(found, looked, last[0], behind)

    def _page(self, found: list[Copy], looked: int, before: int | None, behind: int) -> Page:
        return Page(found=tuple(found), looked=looked, before=before, behind=behind)

    def _standing(self, connection: Connection) -> tuple[int, int]:
        """Return the version of the rules that count, and how many entries wait for them."""
        self._ring.forget_before(self._ring.read(connection).oldest)
        row = connection.execute(self._state).fetchone()
        version, position, size, newest = row if row is not None else (0, 0, 0, None)
        wanted = newest or 0
        return wanted, size - position if version == wanted else size

    def _chunk(
        self, connection: Connection, version: int, last: tuple[int, str]
    ) -> tuple[list[tuple[Any, ...]], list[str]]:
        """Return the next rows and their texts; read again if keys moved on between the two."""
        for again in (False, True):
            rows = connection.execute(self._copies, (version, *last, _CHUNK)).fetchall()
            try:
                return rows, self._opened(rows)
            except KeyDestroyed:
                if again:
                    raise
        raise AssertionError  # Cannot be: the second round returns or raises.

    def _opened(self, rows: list[tuple[Any, ...]]) -> list[str]:
        ciphers: dict[UUID, Cipher] = {}
        texts = []
        for _, event_id, field, _, ref, blob, generation, wrapped in rows:
            cipher = ciphers.get(ref)
            if cipher is None:
                cipher = ciphers[ref] = self._ring.unwrap(ref.bytes, generation, bytes(wrapped))
            aad = bound_to(event_id, field)
            texts.append(unwrap_other(cipher, bytes(blob), ref=ref.bytes, aad=aad).decode())
        return texts


def newest_rules(connection: Connection, schema: str) -> Rules:
    """Return the rules that count in a Book: its tenant's newest, or everybody's."""
    query = sql.SQL(
        "SELECT version, rules FROM {}.redaction_rules ORDER BY version DESC LIMIT 1"
    ).format(sql.Identifier(schema))
    row = connection.execute(query).fetchone()
    return Rules() if row is None else Rules.parse(row[1], version=row[0])
