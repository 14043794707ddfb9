# SPDX-License-Identifier: GPL-3.0-or-later
"""Legal hold: what must not be destroyed, whoever asks for it and in whatever order.

A hold means entries by query (future ones included) or by id, and with them subjects, artifacts,
keys and anchors. Whoever destroys something asks here first and does it inside the same block:

    with holds.frozen() as held:                  nobody can place a hold until the block ends
        if not held.on_subject(ref):
            … destroy …                           in `held.connection`'s own transaction, if it can

Placing a hold waits for such blocks to end, so a hold that was acknowledged is either obeyed or
came after the deed. Questions outside `frozen` are for plans and pages: an answer may be old.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

import psycopg
from psycopg import sql

from ledger import clock
from ledger.database import Connection, Database
from ledger.errors import Conflict, FieldError, MalformedEvent, NotFound, Unavailable
from ledger.head import Chain
from ledger.hold_record import PLACED, RELEASED, Hold, HoldRecord
from ledger.lookup import LOG_ID
from ledger.migrate import BookRow
from ledger.request import Prepared, ledger_made

JSON = dict[str, Any]

#: Ids in one part of a hold, and parts of one hold; what is more is a query.
IDS: Final = 128
PARTS: Final = 256

#: Nobody counts further than this.
COUNTED: Final = 100_000

#: Keys that a hold can name, by how their names begin. Chain keys go with their epoch on purpose,
#: and a signing key that is replaced leaves what it has signed.
KEYS: Final = ("subjects/", "index/", "artifacts/")

#: How long placing a hold waits for whoever is destroying something.
_WAIT_S: Final = 30

#: One thread of this process at a time, or those that wait would take all connections of the pool.
_turn: Final = threading.Lock()

_LOCK: Final = "SELECT pg_advisory_xact_lock{shared}(hashtext('sealtrail.holds'), hashtext(%s))"
_ON_EVENTS: Final = """
SELECT event_id::text, hold_id::text FROM {book}.held WHERE event_id = ANY(%s::uuid[])
UNION
SELECT i::text, h.hold_id::text FROM {book}.hold h, unnest(h.event_ids) AS i
 WHERE h.released IS NULL AND i = ANY(%s::uuid[])
ORDER BY 1, 2
"""
_ON_POSITIONS: Final = """
SELECT DISTINCT position, hold_id::text FROM {book}.held
 WHERE position >= %s AND position < %s ORDER BY 1, 2
"""
_ON_SUBJECT: Final = """
SELECT hold_id::text FROM {book}.hold WHERE released IS NULL AND %(ref)s::uuid = ANY (subjects)
UNION
SELECT h.hold_id::text FROM {book}.sealed s JOIN {book}.held h USING (event_id)
 WHERE s.subject_ref = %(ref)s::uuid
UNION
SELECT h.hold_id::text FROM {book}.artifact a JOIN {book}.hold h
    ON h.released IS NULL AND ('sha256:' || a.object = ANY (h.artifacts)
       OR 'sha256:' || encode(a.digest, 'hex') = ANY (h.artifacts))
 WHERE a.subject_ref = %(ref)s::uuid AND a.wrapped_key IS NOT NULL
UNION
SELECT h.hold_id::text FROM {book}.artifact a JOIN {book}.held h USING (event_id)
 WHERE a.subject_ref = %(ref)s::uuid AND a.wrapped_key IS NOT NULL
ORDER BY 1
"""
_ON_ARTIFACT: Final = """
SELECT hold_id::text FROM {book}.hold
 WHERE released IS NULL AND 'sha256:' || %(name)s = ANY (artifacts)
UNION
SELECT h.hold_id::text FROM {book}.artifact a JOIN {book}.hold h
    ON h.released IS NULL AND (a.subject_ref = ANY (h.subjects)
       OR 'sha256:' || encode(a.digest, 'hex') = ANY (h.artifacts))
 WHERE a.object = %(name)s
UNION
SELECT h.hold_id::text FROM {book}.artifact a JOIN {book}.held h USING (event_id)
 WHERE a.object = %(name)s
ORDER BY 1
"""
_ON_KEY: Final = """
SELECT DISTINCT hold_id::text FROM {book}.hold
 WHERE released IS NULL AND %s::text = ANY (keys) ORDER BY 1
"""
_ON_ANCHOR: Final = """
SELECT hold_id::text FROM {book}.hold WHERE released IS NULL AND %s::date = ANY (anchors)
UNION
SELECT hold_id::text FROM {book}.held JOIN {book}.entry e USING (position)
 WHERE e.recorded_at >= %s AND e.recorded_at < %s
ORDER BY 1
"""
_COUNT: Final = """
SELECT count(*) FROM (SELECT DISTINCT position FROM {book}.held WHERE hold_id = %s::uuid LIMIT %s) h
"""
_ANY: Final = "SELECT EXISTS (SELECT 1 FROM {book}.hold WHERE released IS NULL)"


class HoldExists(Conflict):
    """A hold of this id was placed for another matter or another scope; make a new id."""

    problem = "hold-exists"


class HoldReleased(Conflict):
    """This hold was released; a new one gets a new id."""

    problem = "hold-released"


class HoldsBusy(Unavailable):
    """Something is just being destroyed or moved; place the hold again."""

    problem = "holds-busy"


class HeldBook(Protocol):
    """What holds need of a Book (anchoring.shelf.Book)."""

    @property
    def row(self) -> BookRow: ...
    @property
    def database(self) -> Database: ...
    @property
    def chain(self) -> Chain: ...
    def record_own(self, prepared: Prepared) -> object: ...


@dataclass(frozen=True, slots=True)
class Frozen:
    """Answers that stay true until the block ends; `connection` is in the block's transaction."""

    connection: Connection
    _schema: str

    def on_events(self, event_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return the ids of the holds on each of these events; an event without one is left out."""
        ids = list(event_ids)
        found: dict[str, tuple[str, ...]] = {}
        for event_id, hold_id in self._ask(_ON_EVENTS, (ids, ids)):
            found[event_id] = (*found.get(event_id, ()), hold_id)
        return found

    def on_positions(self, begin: int, end: int) -> list[tuple[int, str]]:
        """Return (position, hold id) of all that is held in [begin, end), in order."""
        return [(at, hold_id) for at, hold_id in self._ask(_ON_POSITIONS, (begin, end))]

    def on_subject(self, ref: object) -> tuple[str, ...]:
        """Return the holds that keep a subject's key: its own, or on what it opens.

        That is an entry sealed with it, or an artifact, also one whose entry's values have expired.
        """
        return self._ids(_ON_SUBJECT, {"ref": str(ref)})

    def on_artifact(self, name: str) -> tuple[str, ...]:
        """Return the holds on an artifact: its own, on its subject, or on the entry that names it.

        name: its name in the archive, 64 hexadecimal digits, with or without `sha256:`.
        """
        return self._ids(_ON_ARTIFACT, {"name": name.removeprefix("sha256:")})

    def on_key(self, name: str) -> tuple[str, ...]:
        """Return the holds that name a key."""
        return self._ids(_ON_KEY, (name,))

    def on_anchor(self, day: str) -> tuple[str, ...]:
        """Return the holds on a UTC day's anchors: its own, or on any entry recorded that day."""
        begin = clock.day_start(day)
        return self._ids(_ON_ANCHOR, (day, begin, begin + clock.DAY_MS))

    def any(self) -> bool:
        """Say if this Book has any hold that is not released."""
        return bool(self._ask(_ANY, ())[0][0])

    def count(self, hold_id: str) -> int:
        """Return how many recorded entries a hold keeps, at most COUNTED; 0 once it is released."""
        return int(self._ask(_COUNT, (hold_id, COUNTED))[0][0])

    def _ids(self, query: str, values: Any) -> tuple[str, ...]:
        return tuple(hold_id for (hold_id,) in self._ask(query, values))

    def _ask(self, query: str, values: Any) -> list[tuple[Any, ...]]:
        composed = sql.SQL(query).format(book=sql.Identifier(self._schema))
        return self.connection.execute(composed, values).fetchall()


class Holds:
    """The legal holds of one Book.

    Every question may raise IntegrityViolation (HoldsDiffer, EntryDamaged, HeadForged): then
    nobody knows what is held, and nothing may be destroyed.
    """

    def __init__(
        self,
        database: Database,
        schema: str,
        chain: Chain,
        record: Callable[[Prepared], object],
    ) -> None:
        self._database, self._schema, self._record = database, schema, record
        self._log = HoldRecord(schema, chain)

    @classmethod
    def of(cls, book: HeldBook) -> Self:
        """Return the holds of an open Book."""
        return cls(book.database, book.row.schema, book.chain, book.record_own)

    @contextmanager
    def frozen(self) -> Iterator[Frozen]:
        """Lend answers that stay true, on a connection with the duty `retain`; keep it short."""
        with self._database.duty(self._schema, "retain") as connection, connection.transaction():
            self._lock(connection, shared=True)
            self._log.agree(connection)
            yield Frozen(connection, self._schema)

    def on_events(self, event_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        with self._now() as held:
            return held.on_events(event_ids)

    def on_positions(self, begin: int, end: int) -> list[tuple[int, str]]:
        with self._now() as held:
            return held.on_positions(begin, end)

    def on_subject(self, ref: object) -> tuple[str, ...]:
        with self._now() as held:
            return held.on_subject(ref)

    def on_artifact(self, name: str) -> tuple[str, ...]:
        with self._now() as held:
            return held.on_artifact(name)

    def on_key(self, name: str) -> tuple[str, ...]:
        with self._now() as held:
            return held.on_key(name)

    def on_anchor(self, day: str) -> tuple[str, ...]:
        with self._now() as held:
            return held.on_anchor(day)

    def any(self) -> bool:
        with self._now() as held:
            return held.any()

    def count(self, hold_id: str) -> int:
        with self._now() as held:
            return held.count(hold_id)

    def all(self) -> list[Hold]:
        """Return every hold, released ones included, in the order in which they were placed."""
        with self._database.duty(self._schema, "read") as connection:
            return list(self._log.holds(connection).values())

    def get(self, hold_id: str) -> Hold:
        """Return one hold; raises NotFound."""
        found = next((hold for hold in self.all() if hold.hold_id == hold_id), None)
        if found is None:
            raise NotFound("there is no such legal hold in this Book")
        return found

    def apply(
        self,
        scope: JSON,
        *,
        matter: str,
        authority: str,
        actor: JSON | None = None,
        hold_id: str | None = None,
    ) -> Hold:
        """Place a hold, durable on return; safe to repeat with the same hold_id.

        scope: `scope` of LEGAL_HOLD_PLACED (docs/events.md); event_ids and artifacts of any number
        up to IDS * PARTS. Raises MalformedEvent, HoldExists, HoldReleased, HoldsBusy.
        """
        hold_id = hold_id or str(clock.new_id())
        _check_keys(scope)
        head: JSON = {"hold_id": hold_id, "matter": matter, "authority": authority}
        scopes = _parts(scope)
        bodies = [
            {**head, "part": at, "parts": len(scopes), "scope": one}
            for at, one in enumerate(scopes, 1)
        ]
        entries = [ledger_made(PLACED, LOG_ID, body, actor=actor) for body in bodies]
        with self._alone() as connection:
            known = self._log.holds(connection).get(hold_id)
            placed = 0
            if known is not None:
                _check_same(known, matter, authority, scopes)
                placed = len(known.scopes)
            for entry in entries[placed:]:
                self._record(entry)
            self._log.agree(connection)
        return self.get(hold_id)

    def release(
        self, hold_id: str, *, authority: str, reason: str | None = None, actor: JSON | None = None
    ) -> Hold:
        """Release a hold; safe to repeat. What waited for it goes on: nothing is destroyed here."""
        body = {"hold_id": hold_id, "authority": authority}
        if reason is not None:
            body["reason"] = reason
        entry = ledger_made(RELEASED, LOG_ID, body, actor=actor)
        with self._alone() as connection:
            known = self._log.holds(connection).get(hold_id)
            if known is None:
                raise NotFound("there is no such legal hold in this Book")
            if known.released is None:
                self._record(entry)
            self._log.agree(connection)
        return self.get(hold_id)

    def rebuild(self, owner: Connection) -> int:
        """Write the table anew from the log, as its owner; returns how many parts it has."""
        with owner.transaction():
            self._lock(owner, shared=False)
            return self._log.rebuild(owner, self._schema)

    @contextmanager
    def _now(self) -> Iterator[Frozen]:
        """Lend answers that are true now."""
        with self._database.duty(self._schema, "retain") as connection:
            self._log.agree(connection)
            yield Frozen(connection, self._schema)

    @contextmanager
    def _alone(self) -> Iterator[Connection]:
        """Lend a connection while nobody else places, releases or destroys anything."""
        if not _turn.acquire(timeout=_WAIT_S):
            raise HoldsBusy
        try:
            with (
                self._database.duty(self._schema, "retain") as connection,
                connection.transaction(),
            ):
                self._lock(connection, shared=False)
                yield connection
        finally:
            _turn.release()

    def _lock(self, connection: Connection, *, shared: bool) -> None:
        connection.execute(f"SET LOCAL lock_timeout = '{_WAIT_S}s'")
        try:
            connection.execute(_LOCK.format(shared="_shared" if shared else ""), (self._schema,))
        except psycopg.errors.LockNotAvailable as error:
            raise HoldsBusy from error


def _check_keys(scope: JSON) -> None:
    """Refuse to hold a key that opens nothing, or is destroyed every night for forward security."""
    keys = scope.get("keys", ())
    for at, name in enumerate(keys if isinstance(keys, list) else ()):
        if isinstance(name, str) and not name.startswith(KEYS):
            detail = (
                f"held are the keys that wrap and index: {', '.join(KEYS)}…; others open nothing"
            )
            raise MalformedEvent(errors=[FieldError(f"/scope/keys/{at}", "not-to-be-held", detail)])


def _parts(scope: JSON) -> list[JSON]:
    """Split a scope so that each part fits into one entry; its other members go with the first."""
    ids, artifacts = scope.get("event_ids", []), scope.get("artifacts", [])
    if not isinstance(ids, list) or not isinstance(artifacts, list):
        return [scope]  # The catalogue says what is wrong with it.
    rest = {name: one for name, one in scope.items() if name not in ("event_ids", "artifacts")}
    parts: list[JSON] = [rest] if rest else []
    parts += [{"event_ids": ids[at : at + IDS]} for at in range(0, len(ids), IDS)]
    parts += [{"artifacts": artifacts[at : at + 64]} for at in range(0, len(artifacts), 64)]
    if len(parts) > PARTS:
        detail = f"a hold has at most {PARTS} parts of {IDS} ids; hold more by a query"
        raise MalformedEvent(errors=[FieldError("/scope/event_ids", "too-many", detail)])
    return parts or [scope]


def _check_same(known: Hold, matter: str, authority: str, scopes: Sequence[JSON]) -> None:
    """Return if `known` is the same hold, or the beginning of it."""
    if known.released is not None:
        raise HoldReleased
    same = (known.matter, known.authority, known.parts) == (matter, authority, len(scopes))
    if not same or list(known.scopes) != list(scopes[: len(known.scopes)]):
        raise HoldExists
