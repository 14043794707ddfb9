# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of an erasure: asked for by one person, approved by another, done in the night.

    request    a dry run is counted and recorded
    approve    by another person, who names the subject anew: four eyes on the same somebody
    advance    ERASURE `pending`: unreadable at once; or ERASURE_DEFERRED while a hold keeps it
    complete   keys of a whole generation are destroyed (ledger/vault), then ERASURE `complete`

Each entry is recorded before its deed, and the deed is looked up in the vault: so whatever was
interrupted goes on, and nothing is said to be complete that is not. Until the night destroys, a
hold takes its subject out again; `pending` waits as long as that takes.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol, Self
from uuid import UUID

import psycopg
from psycopg import sql

from ledger import clock
from ledger.database import Connection, Database
from ledger.erasure.cases import (
    APPROVED,
    DEFERRED,
    ERASURE,
    REQUESTED,
    UNDER_WAY,
    WITHDRAWN,
    Case,
    Cases,
)
from ledger.erasure.deciding import (
    ErasuresBusy,
    NotAskedSo,
    SubjectUnknown,
    acting,
    check_second,
    is_uuid,
    same_request,
)
from ledger.erasure.keeping import Keeping
from ledger.erasure.plan import Plan, plan
from ledger.errors import Refused
from ledger.holds import HeldBook, Holds
from ledger.keys import Keys, is_gone
from ledger.lookup import LOG_ID
from ledger.request import Identity, Prepared, ledger_made
from ledger.vault.construction import index_key, wrapping_key
from ledger.vault.generations import Finished
from ledger.vault.opening import SubjectRef
from ledger.vault.rewrapping import Progress
from ledger.vault.vault import Vault

JSON = dict[str, Any]

METHOD: Final = "cryptographic erase (NIST SP 800-88r2); keys zeroised (ISO/IEC 19790)"
EXEMPTION: Final = "gdpr-17-3-e"
_HOLDS_NAMED: Final = 64

#: A pending erasure older than this has missed its night.
LATE_MS: Final = 25 * 3_600_000
_WAIT_S: Final = 30

#: One thread of this process at a time, or those that wait would take all connections of the pool.
_turn: Final = threading.Lock()

_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('sealtrail.erasures'), hashtext(%s))"
_GENERATION: Final = "SELECT generation FROM {book}.subject WHERE ref = %s"
_EVENTS: Final = "SELECT count(*) FROM {book}.sealed WHERE subject_ref = %s AND blob IS NULL"
_ARTIFACTS: Final = """
UPDATE {book}.artifact SET state = 'erased', wrapped_key = NULL, facts = NULL, preview = NULL,
       fingerprint = NULL
 WHERE subject_ref = %s AND state NOT IN ('erased', 'expired')
"""


class ErasableBook(HeldBook, Protocol):
    """What erasures need of a Book (anchoring.shelf.Book)."""

    @property
    def keys(self) -> Keys: ...
    @property
    def vault(self) -> Vault: ...


def _quiet(_step: str, _done: int, _total: int) -> None:
    pass


class Erasures:
    """The erasures of one Book."""

    def __init__(
        self,
        database: Database,
        schema: str,
        *,
        cases: Cases,
        holds: Keeping,
        vault: Vault,
        keys: Keys,
        origin: str,
        record: Callable[[Prepared], object],
    ) -> None:
        self._database, self._schema, self._origin = database, schema, origin
        self._cases, self._holds, self._vault = cases, holds, vault
        self._keys, self._record = keys, record

    @classmethod
    def of(cls, book: ErasableBook) -> Self:
        """Return the erasures of an open Book."""
        row = book.row
        return cls(
            book.database,
            row.schema,
            cases=Cases(row.schema, book.chain),
            holds=Keeping(Holds.of(book), schema=row.schema, origin=row.first_origin),
            vault=book.vault,
            keys=book.keys,
            origin=row.first_origin,
            record=book.record_own,
        )

    def all(self) -> list[Case]:
        """Return every erasure, in the order in which they were requested."""
        with self._reading() as connection:
            return list(self._cases.all(connection).values())

    def get(self, erasure_id: str) -> Case:
        """Return one erasure; raises NotFound."""
        with self._reading() as connection:
            return self._cases.get(connection, erasure_id)

    def plan(self, *, person: str | None = None, ref: str | None = None) -> tuple[SubjectRef, Plan]:
        """Return the subject, named by the person's id or at random, and a dry run of its end."""
        subject = self._subject(person, ref)
        with self._reading() as connection:
            return subject, plan(connection, self._schema, subject.ref)

    def request(
        self,
        *,
        basis: str,
        by: Identity,
        person: str | None = None,
        ref: str | None = None,
        erasure_id: str | None = None,
    ) -> Case:
        """Ask for an erasure: nothing goes yet. Safe to repeat with the same erasure_id.

        Raises SubjectUnknown, Forbidden, MalformedEvent, NotAskedSo.
        """
        actor = acting(by)
        erasure_id = erasure_id or str(clock.new_id())
        with self._alone() as connection:
            known = self._cases.all(connection)
            if (case := known.get(erasure_id)) is not None:
                return same_request(case, by, basis, self._repeated(case, person, ref))
            subject = self._subject(person, ref)
            entry = self._asked(connection, erasure_id, subject.ref, basis, actor)
            if _under_way(known.values(), subject.ref):
                raise NotAskedSo("an erasure of this subject is under way already")
            self._record(entry)
            return self._cases.get(connection, erasure_id)

    def request_by_ledger(self, *, basis: str, ref: UUID, erasure_id: str) -> Case:
        """Ask in the ledger's own name, as was promised to the subject; two persons approve.

        Returns the subject's erasure that is under way, if there is one. Safe to repeat. Raises
        SubjectUnknown, and NotAskedSo for an id that was used for another subject.
        """
        with self._alone() as connection:
            known = self._cases.all(connection)
            if erasure_id in known and known[erasure_id].subject_ref != str(ref):
                raise NotAskedSo
            if erasure_id in known:
                return known[erasure_id]
            if (case := _under_way(known.values(), ref)) is not None:
                return case
            subject = self._subject(None, str(ref))
            self._record(self._asked(connection, erasure_id, subject.ref, basis, None))
            return self._cases.get(connection, erasure_id)

    def approve(
        self, erasure_id: str, *, by: Identity, person: str | None = None, ref: str | None = None
    ) -> Case:
        """Approve an erasure as a second person, who says anew who it is about. Safe to repeat.

        Raises OneEye, NotAskedSo, NotFound.
        """
        actor = acting(by)
        with self._alone() as connection:
            case = self._cases.get(connection, erasure_id)
            check_second(self._database, case, by)
            if case.state != "requested":
                if case.approved_by == by.credential:
                    return case
                raise NotAskedSo
            if self._named(person, ref) != case.subject_ref:
                raise NotAskedSo("this erasure was asked for another subject than you name")
            body = {
                "erasure_id": erasure_id,
                "subject_ref": case.subject_ref,
                "plan": plan(connection, self._schema, UUID(case.subject_ref)).body(),
            }
            self._record(ledger_made(APPROVED, LOG_ID, body, actor=actor))
        self.advance()
        return self.get(erasure_id)

    def withdraw(self, erasure_id: str, *, by: Identity, reason: str) -> Case:
        """Give an erasure up before anybody approved it. Raises NotAskedSo afterwards."""
        actor = acting(by)
        with self._alone() as connection:
            case = self._cases.get(connection, erasure_id)
            if case.state not in ("requested", "withdrawn"):
                raise NotAskedSo("it was approved, and is no longer one person's to give up")
            if case.state == "requested":
                body = {
                    "erasure_id": erasure_id,
                    "subject_ref": case.subject_ref,
                    "reason": reason,
                }
                self._record(ledger_made(WITHDRAWN, LOG_ID, body, actor=actor))
            return self._cases.get(connection, erasure_id)

    def held_by(self, ref: UUID) -> tuple[str, ...]:
        """Return the holds that keep a subject now, or the keys with which it would go."""
        with self._holds.frozen() as held:
            return held.on_subject(ref)

    def advance(self, *, backup_keep_d: int | None = None) -> list[Case]:
        """Move each approved erasure to where holds and vault let it be; returns those that moved.

        Cheap, and safe at any time: it destroys nothing. backup_keep_d: how long backups are kept,
        for what `complete` says.
        """
        with self._alone() as connection:
            moved = [
                case.erasure_id
                for case in self._cases.all(connection).values()
                if case.state in UNDER_WAY and self._moved(connection, case, backup_keep_d)
            ]
            known = self._cases.all(connection) if moved else {}
        return [known[one] for one in moved]

    def late(self, now_ms: int) -> bool:
        """Say if an erasure is pending that the last night should have completed."""
        return any(
            case.state == "pending"
            and clock.parse_time(case.approved or case.requested) < now_ms - LATE_MS
            for case in self.all()
        )

    def complete(
        self, *, progress: Progress = _quiet, backup_keep_d: int | None = None
    ) -> tuple[Finished, list[Case]]:
        """Destroy for good what is pending and not held; returns what was done and what moved.

        At most once a night: every other subject's key is wrapped anew. Safe to interrupt and to
        repeat. Raises RotationRunning when another process is at it.
        """
        moved = {case.erasure_id for case in self.advance(backup_keep_d=backup_keep_d)}
        finished = self._vault.finish_erasures(self._holds, progress)
        moved |= {case.erasure_id for case in self.advance(backup_keep_d=backup_keep_d)}
        return finished, [case for case in self.all() if case.erasure_id in moved]

    def _moved(self, connection: Connection, case: Case, backup_keep_d: int | None) -> bool:
        """Record where a case stands now, and do what follows; False if nothing is new."""
        ref = UUID(case.subject_ref)
        subject = self._vault.subject(ref)
        if subject is None:
            raise NotAskedSo("the subject of an approved erasure is gone from the vault")
        if subject.state == "erased":
            return self._completed(connection, case, ref, backup_keep_d)
        holds = self.held_by(ref)[:_HOLDS_NAMED]
        before = (case.state, case.hold_ids)
        about = {"erasure_id": case.erasure_id, "subject_ref": case.subject_ref}
        if holds:
            if before != ("deferred", holds):
                body = {**about, "hold_ids": list(holds), "exemption": EXEMPTION}
                self._record(ledger_made(DEFERRED, LOG_ID, body))
            return before != ("deferred", holds)
        if case.state != "pending":
            body = {**about, "state": "pending", "basis": case.basis}
            self._record(ledger_made(ERASURE, LOG_ID, body))
        if subject.state != "erasing":
            self._vault.begin_erasure(ref, case.erasure_id)
        return case.state != "pending"

    def _completed(
        self, connection: Connection, case: Case, ref: UUID, backup_keep_d: int | None
    ) -> bool:
        """Record that an erasure is complete, if the keys are gone that its copies lie under."""
        row = connection.execute(self._sql(_GENERATION), (ref,)).fetchone()
        names = [make(self._origin, row[0]) for make in (wrapping_key, index_key)] if row else []
        attested = [self._keys.attest(name) for name in names]
        now_ms = clock.now_ms()
        if not all(one.destroyed and is_gone(self._keys, one.name, now_ms) for one in attested):
            return False  # The next night destroys them, or a key service's wait ends.
        artifacts = connection.execute(self._sql(_ARTIFACTS), (ref,)).rowcount
        counted = connection.execute(self._sql(_EVENTS), (ref,)).fetchone()
        body: JSON = {
            "erasure_id": case.erasure_id,
            "subject_ref": case.subject_ref,
            "state": "complete",
            "basis": case.basis,
            "method": METHOD,
            "erased": {
                "events": counted[0] if counted else 0,
                "identifiers": case.plan["identifiers"],
                "artifacts": artifacts,
            },
            "keys_destroyed": [
                {"key": one.name, "driver": one.driver, "destroyed": one.gone} for one in attested
            ],
        }
        if backup_keep_d is not None:
            expire = clock.now_ms() + backup_keep_d * clock.DAY_MS
            body["backups_expire_at"] = clock.rfc3339(expire)
        self._record(ledger_made(ERASURE, LOG_ID, body))
        return True

    def _asked(
        self, connection: Connection, erasure_id: str, ref: UUID, basis: str, actor: JSON | None
    ) -> Prepared:
        body = {
            "erasure_id": erasure_id,
            "subject_ref": str(ref),
            "basis": basis,
            "plan": plan(connection, self._schema, ref).body(),
        }
        return ledger_made(REQUESTED, LOG_ID, body, actor=actor)

    def _subject(self, person: str | None, ref: str | None) -> SubjectRef:
        """Return a subject that can be erased; raises SubjectUnknown."""
        if (person is None) == (ref is None):
            raise Refused("name the subject by the person's id or by its random name, one of both")
        found = None
        if person is not None:
            found = self._vault.subject_of(person)
        elif ref is not None and is_uuid(ref):
            found = self._vault.subject(UUID(ref))
        if found is None or found.kind != "person" or found.state == "erased":
            raise SubjectUnknown
        return found

    def _repeated(self, case: Case, person: str | None, ref: str | None) -> str | None:
        """Return the subject that a repeated request names; None if nobody can say any more.

        Once approved, its person is in no index, and may be somebody new by now.
        """
        if person is None or case.state != "requested":
            return ref
        found = self._vault.subject_of(person)
        return "" if found is None else str(found.ref)

    def _named(self, person: str | None, ref: str | None) -> str:
        return str(self._subject(person, ref).ref)

    def _reading(self) -> Any:
        return self._database.duty(self._schema, "read")

    @contextmanager
    def _alone(self) -> Iterator[Connection]:
        """Lend a connection while nobody else decides about erasures of this Book."""
        if not _turn.acquire(timeout=_WAIT_S):
            raise ErasuresBusy
        try:
            with (
                self._database.duty(self._schema, "retain") as connection,
                connection.transaction(),
            ):
                connection.execute(f"SET LOCAL lock_timeout = '{_WAIT_S}s'")
                try:
                    connection.execute(_LOCK, (self._schema,))
                except psycopg.errors.LockNotAvailable as error:
                    raise ErasuresBusy from error
                yield connection
        finally:
            _turn.release()

    def _sql(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(book=sql.Identifier(self._schema))


def _under_way(cases: Iterable[Case], ref: UUID) -> Case | None:
    """Return a subject's erasure that is asked for or approved, and not over."""
    return next(
        (
            one
            for one in cases
            if one.subject_ref == str(ref) and one.state in {"requested", *UNDER_WAY}
        ),
        None,
    )
