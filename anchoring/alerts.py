# SPDX-License-Identifier: GPL-3.0-or-later
"""Alerts: what the ledger noticed and a person must look at, each once, and as evidence.

    raise_alert ──► under the Book's lock ──► is it in the log? ──► no: ALERT_RAISED, and its row
                                                    └──► yes: nothing

The entry is the alert; the table says it in a form that can be asked quickly. Whoever raises,
acknowledges or lists first makes the table say what the log says, so a crash between entry and row
loses nothing, and a row that no entry accounts for silences nobody. `about` names one thing: what
may go wrong again gets another `about` when it does.

Who floods a queue must not hide what else goes wrong: of one code at most OPEN_MAX alerts are open.
The next one raises `alerts-withheld` once, and is raised itself when somebody has answered enough
of them, if its cause is still there and whoever looks for such causes looks again.
"""

import json
import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from psycopg import sql

from anchoring.shelf import Book
from ledger.database import Connection
from ledger.errors import EntryDamaged, NotFound, Unavailable
from ledger.head import HeadRow
from ledger.lookup import LOG_ID
from ledger.outcome import Recorded
from ledger.request import ledger_made
from ledger.store import Entry, read_entry
from sealtrail.verify import canonical
from sealtrail.verify.merkle import leaf_hash

JSON = dict[str, Any]

RAISED: Final = "ALERT_RAISED"
ACKNOWLEDGED: Final = "ALERT_ACKNOWLEDGED"
WITHHELD: Final = "alerts-withheld"

#: Alerts of one code that may be open at a time.
OPEN_MAX: Final = 1_000

log = logging.getLogger("sealtrail.alerts")

_LINE_MAX: Final = 256
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_WAIT_S: Final = 30

#: One thread of this process at a time, or those that wait would take all connections of the pool.
_turn: Final = threading.Lock()

_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('sealtrail.alerts'), hashtext(%s))"
_UNTOLD: Final = """
SELECT e.position, e.leaf, e.topic, b.bytes
  FROM {book}.entry e JOIN {book}.entry_body b USING (position)
 WHERE e.topic IN ('ALERT_RAISED/1', 'ALERT_ACKNOWLEDGED/1') AND e.position < %s
   AND (e.topic <> 'ALERT_RAISED/1'
        OR NOT EXISTS (SELECT 1 FROM {book}.alert a
                        WHERE a.position = e.position AND a.event_id = e.event_id))
   AND (e.topic = 'ALERT_RAISED/1'
        OR NOT EXISTS (SELECT 1 FROM {book}.alert a WHERE a.acknowledged = e.position))
 ORDER BY e.position
"""
_TELL: Final = """
INSERT INTO {book}.alert AS alert (position, event_id, code, about, facts, raised_at)
VALUES (%s, %s::uuid, %s, %s, %s, %s)
    ON CONFLICT (position) DO UPDATE
   SET event_id = excluded.event_id, code = excluded.code, about = excluded.about,
       facts = excluded.facts, raised_at = excluded.raised_at
 WHERE alert.event_id <> excluded.event_id
"""
_ANSWER: Final = """
UPDATE {book}.alert SET acknowledged = %s, acknowledged_at = %s, reason = %s
 WHERE event_id = %s::uuid AND acknowledged IS NULL
"""
_COLUMNS: Final = """
SELECT a.position, a.event_id::text, a.code, a.about, a.facts, a.raised_at, a.acknowledged,
       a.acknowledged_at, a.reason FROM {book}.alert a
"""
_OF_THING: Final = _COLUMNS + " WHERE a.code = %s AND a.about = %s ORDER BY a.position"
_OF_EVENT: Final = _COLUMNS + " WHERE a.event_id = %s::uuid"
_PAGE: Final = """
 WHERE (%(before)s::bigint IS NULL OR a.position < %(before)s)
   AND (NOT %(open)s OR a.acknowledged IS NULL)
   AND (%(code)s::text IS NULL OR a.code = %(code)s)
 ORDER BY a.position DESC LIMIT %(limit)s
"""
_ENTRY: Final = """
SELECT e.leaf, e.topic, b.bytes FROM {book}.entry e LEFT JOIN {book}.entry_body b USING (position)
 WHERE e.position = %s
"""
_OPEN: Final = "SELECT count(*) FROM {book}.alert WHERE acknowledged IS NULL"
_OPEN_OF: Final = _OPEN + " AND code = %s"
_FORGET: Final = """
DELETE FROM {book}.alert a
 WHERE EXISTS (SELECT 1 FROM {book}.entry_body b WHERE b.position = a.position)
    OR NOT EXISTS (SELECT 1 FROM {book}.entry e
                    WHERE e.position = a.position AND e.topic = 'ALERT_RAISED/1')
"""


class AlertsBusy(Unavailable):
    """Others are raising alerts in this Book; do the same again."""

    problem = "alerts-busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert as the table has it."""

    position: int
    event_id: str
    code: str
    about: str
    facts: JSON
    raised_ms: int
    acknowledged: int | None  #: Position of the entry that answers it.
    acknowledged_ms: int | None
    reason: str | None


def raise_alert(book: Book, code: str, about: str, facts: Mapping[str, str | int]) -> bool:
    """Record an alert, durable on return; False if this one was raised before or is withheld.

    code: stable name, a Code of docs/events.md; about, facts: names, numbers and times, at most 16
    of them and never personal. Longer texts are cut. Raises Unavailable, IntegrityViolation.
    """
    about = _fitting(about)
    with _alone(book) as connection:
        if _raised(book, connection, code, about):
            return False
        if _count(book, connection, _OPEN_OF, code) < OPEN_MAX:
            _record(book, connection, code, about, facts)
            return True
        if not _raised(book, connection, WITHHELD, code):
            _record(book, connection, WITHHELD, code, {"open": OPEN_MAX})
        return False


def acknowledge(book: Book, event_id: str, *, actor: JSON, reason: str | None = None) -> Alert:
    """Record that a person has seen an alert; safe to repeat, the first answer counts.

    Raises NotFound, MalformedEvent for a reason that is no code, Unavailable.
    """
    body = {"alert": event_id} | ({} if reason is None else {"reason": reason})
    entry = ledger_made(ACKNOWLEDGED, LOG_ID, body, actor=actor)
    with _alone(book) as connection:
        alert = _one(book, connection, event_id)
        if alert.acknowledged is None:
            book.record_own(entry)
            follow(book, connection)
        return _one(book, connection, event_id)


def alerts(
    book: Book,
    *,
    open_only: bool = False,
    code: str | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[Alert]:
    """Return the newest alerts; `before`: only those at lower positions."""
    with book.database.duty(book.row.schema, "append") as connection:
        follow(book, connection)
        wanted = {"before": before, "open": open_only, "code": code, "limit": limit}
        return _select(book, connection, _COLUMNS + _PAGE, wanted)


def open_count(book: Book) -> int:
    """Return how many alerts nobody has acknowledged; for gauges, so not held against the log."""
    with book.database.duty(book.row.schema, "read") as connection:
        return _count(book, connection, _OPEN)


def rebuild(book: Book) -> int:
    """Make the rows anew from the entries whose bytes are in the database; returns how many."""
    with _locked(book):
        with book.database.duty(book.row.schema, "retain") as retaining:
            retaining.execute(_in(book, _FORGET))
        with book.database.duty(book.row.schema, "append") as connection:
            return follow(book, connection)


def follow(book: Book, connection: Connection) -> int:
    """Make the table say what the log says; returns how many alerts it lacked.

    Entries beyond the signed head count for nothing. Raises EntryDamaged for one that is altered.
    """
    size = HeadRow(book.row.schema).checked(connection, book.chain).size
    found = 0
    for position, leaf, topic, data in connection.execute(_in(book, _UNTOLD), (size,)).fetchall():
        entry = _read(position, leaf, topic, data)
        body = entry.value["body"]
        if entry.value["type"] == ACKNOWLEDGED:
            told = (position, entry.recorded_ms, body.get("reason"), body["alert"])
            connection.execute(_in(book, _ANSWER), told)
            continue
        facts = canonical.encode(body["facts"]).decode()
        row = (position, entry.event_id, body["code"], body["about"], facts, entry.recorded_ms)
        found += connection.execute(_in(book, _TELL), row).rowcount
    return found


def _record(
    book: Book, connection: Connection, code: str, about: str, facts: Mapping[str, str | int]
) -> None:
    told = {name: _fitting(str(value)) for name, value in facts.items()}
    outcome = book.record_own(
        ledger_made(RAISED, LOG_ID, {"code": code, "about": about, "facts": told})
    )
    # A crash here leaves the entry, which the next one who looks finds.
    follow(book, connection)
    where = outcome.row.link.position if isinstance(outcome, Recorded) else outcome.position
    log.warning("%s: alert %s at position %d", book.row.name, code, where)


def _raised(book: Book, connection: Connection, code: str, about: str) -> bool:
    """Say if the log has this alert: a row counts only with its entry."""
    for alert in _select(book, connection, _OF_THING, (code, about)):
        row = connection.execute(_in(book, _ENTRY), (alert.position,)).fetchone()
        if row is None or row[1] != f"{RAISED}/1":
            continue  # Nobody recorded it. `rebuild` removes such a row.
        if row[2] is None:
            return True  # Its bytes are in the archive.
        body = _read(alert.position, row[0], row[1], row[2]).value["body"]
        if (body["code"], body["about"]) == (code, about):
            return True
    return False


def _one(book: Book, connection: Connection, event_id: str) -> Alert:
    found = _select(book, connection, _OF_EVENT, (event_id,))
    if not found:
        raise NotFound("there is no such alert in this Book")
    return found[0]


def _select(book: Book, connection: Connection, query: str, values: Any) -> list[Alert]:
    return [
        Alert(
            position=row[0],
            event_id=row[1],
            code=row[2],
            about=row[3],
            facts=json.loads(row[4]),
            raised_ms=row[5],
            acknowledged=row[6],
            acknowledged_ms=row[7],
            reason=row[8],
        )
        for row in connection.execute(_in(book, query), values).fetchall()
    ]


def _count(book: Book, connection: Connection, query: str, *values: object) -> int:
    row = connection.execute(_in(book, query), values).fetchone()
    return int(row[0]) if row is not None else 0


def _read(position: int, leaf: bytes, topic: str, data: bytes) -> Entry:
    if leaf_hash(bytes(data)) != bytes(leaf):
        raise EntryDamaged(f"the entry at position {position} cannot be read")
    entry = read_entry(bytes(data))
    if entry.topic != topic:
        raise EntryDamaged(f"the entry at position {position} is listed as another type")
    return entry


@contextmanager
def _alone(book: Book) -> Iterator[Connection]:
    """Lend a connection while nobody else raises or answers; the table says what the log says."""
    with _locked(book) as connection:
        follow(book, connection)
        yield connection


@contextmanager
def _locked(book: Book) -> Iterator[Connection]:
    if not _turn.acquire(timeout=_WAIT_S):
        raise AlertsBusy
    try:
        schema = book.row.schema
        with book.database.duty(schema, "append") as connection, connection.transaction():
            connection.execute(f"SET LOCAL lock_timeout = '{_WAIT_S}s'")
            connection.execute(_LOCK, (schema,))
            yield connection
    finally:
        _turn.release()


def _fitting(text: str) -> str:
    """Return one line of at most 256 characters; what is cut off stays told apart by its digest."""
    line = _CONTROL.sub(" ", text) or "-"
    if len(line) <= _LINE_MAX:
        return line
    return f"{line[: _LINE_MAX - 17]}#{sha256(text.encode()).hexdigest()[:16]}"


def _in(book: Book, query: str) -> sql.Composed:
    return sql.SQL(query).format(book=sql.Identifier(book.row.schema))
