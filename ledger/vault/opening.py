# SPDX-License-Identifier: GPL-3.0-or-later
"""Open what was sealed: single fields of one event, and events by an identifier.

Whoever shows to anybody what comes from here enters that in the access Book first (api/looks.py).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from uuid import UUID

from psycopg import sql

from ledger.database import Connection, Database
from ledger.errors import IntegrityViolation, Refused
from ledger.keys import KeyDestroyed
from ledger.vault.construction import (
    Cipher,
    SealedValueDamaged,
    index_message,
    open_blob,
    open_identity,
    unwrap_other,
    wrap_other,
)
from ledger.vault.owners import Owner, person, value_of
from ledger.vault.ring import KeyRing
from sealtrail.verify.disclosure import PERSON, digest, open_disclosure

T = TypeVar("T")

FOUND_MAX: Final = 1_000

_SEALED: Final = """
SELECT v.subject_ref, v.wrapped_key, v.blob, s.state, s.generation, s.wrapped_key, s.erasure_id
  FROM {book}.sealed v LEFT JOIN {book}.subject s ON s.ref = v.subject_ref
 WHERE v.event_id = %s::uuid ORDER BY v.subject_ref
"""
_SEALED_ALL: Final = """
SELECT v.event_id::text, v.subject_ref, v.wrapped_key, v.blob, s.state, s.generation,
       s.wrapped_key, s.erasure_id
  FROM {book}.sealed v LEFT JOIN {book}.subject s ON s.ref = v.subject_ref
 WHERE v.event_id = ANY(%s::uuid[]) ORDER BY v.event_id, v.subject_ref
"""
_SUBJECT: Final = """
SELECT kind, state, generation, wrapped_key, erasure_id FROM {book}.subject WHERE ref = %s
"""
_INDEXED: Final = """
SELECT s.ref FROM {book}.subject_index i JOIN {book}.subject s ON s.ref = i.ref
 WHERE i."index" = ANY(%s) AND s.state = 'live'
"""
_BLIND: Final = """
SELECT DISTINCT b.event_id FROM {book}.blind b JOIN {book}.subject s ON s.ref = b.subject_ref
 WHERE b.field = %s AND b."index" = ANY(%s) AND s.state IN ('live', 'held')
 ORDER BY 1 LIMIT %s
"""
_BLIND_EACH: Final = """
SELECT DISTINCT b.field, b.event_id
  FROM unnest(%s::text[], %s::bytea[]) u (field, mac)
  JOIN {book}.blind b ON b."index" = u.mac AND b.field = u.field
  JOIN {book}.subject s ON s.ref = b.subject_ref
 WHERE s.state = ANY(%s) ORDER BY 1, 2 LIMIT %s
"""
_LEAVING: Final = """
SELECT ref, generation, wrapped_key, identity FROM {book}.subject
 WHERE state = ANY(%s) AND wrapped_key IS NOT NULL ORDER BY ref
"""
_OF_SUBJECT: Final = """
SELECT event_id FROM {book}.sealed WHERE subject_ref = %s AND event_id > %s ORDER BY 1 LIMIT %s
"""
#: Before every id.
FIRST: Final = UUID(int=0)


class ValuesErased(Refused):
    """These values were erased because their person asked for it; `erasures` names the entries."""

    status = 410
    problem = "values-erased"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """Values of one data subject that nobody can open (any more)."""

    ref: UUID
    erasure_id: str
    complete: bool  #: False while the erasure is pending: the key still exists, but is not used.


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What could be opened of one event, and what was erased of it."""

    disclosures: Mapping[str, str] = field(repr=False)
    values: Mapping[str, Any] = field(repr=False)  #: The same names, the values themselves.
    owners: Mapping[str, UUID]  #: Each name's data subject.
    gone: Sequence[Gone]

    @property
    def erasures(self) -> tuple[str, ...]:
        """The ids of the erasures that took something of this event."""
        return tuple(dict.fromkeys(one.erasure_id for one in self.gone))


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectRef:
    """A data subject by its random name."""

    ref: UUID
    kind: str  #: `person` or `tenant`.
    state: str  #: `live`, `erasing`, `held` (asked to be erased, under a legal hold) or `erased`.
    erasure_id: str | None


class Opener:
    """Opens sealed values of one Book, for any thread."""

    def __init__(self, database: Database, ring: KeyRing) -> None:
        self._database, self._ring, self._schema = database, ring, ring.schema

    def open(
        self, event_id: str, names: Collection[str] | None, sd: Collection[str] | None
    ) -> Opened:
        """Open the disclosures of an event, or of these names only. See `Vault.open`."""

        def once() -> Opened:
            rows = self._ask(_SEALED, (event_id,))
            return self._opened(UUID(event_id), rows, names, sd)

        return _again(once)

    def open_all(self, wanted: Mapping[str, Collection[str]]) -> dict[str, Opened]:
        """Open all disclosures of some events, given with their `_sd`, by one query."""

        def once() -> dict[str, Opened]:
            rows = dict[str, list[tuple[Any, ...]]]()
            for event_id, *row in self._ask(_SEALED_ALL, (list(wanted),)):
                rows.setdefault(event_id, []).append(tuple(row))
            return {
                event_id: self._opened(UUID(event_id), rows.get(event_id, []), None, sd)
                for event_id, sd in wanted.items()
            }

        return _again(once)

    def find(self, field_: str, value: str, limit: int) -> list[str]:
        """Return the events that hold this identifier, in order of their ids."""
        if field_ == PERSON:
            owner = person(value)
            live = self.subject_of(owner)
            refs = [*([] if live is None else [live]), *self.leaving(owner, ("held",))]
            return sorted({one for ref in refs for one in self.events_of(ref, limit=limit)})[:limit]
        with self._reading() as connection:
            macs = self._macs(connection, index_message(field_, value))
            rows = connection.execute(self._sql(_BLIND), (field_, macs, limit)).fetchall()
        return [str(event_id) for (event_id,) in rows]

    def find_each(
        self, fields: Collection[str], value: str, limit: int, *, leaving: bool
    ) -> list[tuple[str, str]]:
        """Return field and event of each identifier with this value. See `Vault.find_each`."""
        states = ["live", "held", "erasing"] if leaving else ["live", "held"]
        with self._reading() as connection:
            macs = [
                (field_, self._ring.mac(one, index_message(field_, value)))
                for one in self._in_use(connection)
                for field_ in fields
            ]
            columns = [list(column) for column in zip(*macs, strict=True)]
            rows = connection.execute(self._sql(_BLIND_EACH), (*columns, states, limit)).fetchall()
        return [(field_, str(event_id)) for field_, event_id in rows]

    def subject_of(self, owner: Owner) -> UUID | None:
        """Return the random name of a data subject whose values can be opened; None if unknown."""
        with self._reading() as connection:
            row = connection.execute(
                self._sql(_INDEXED), (self._macs(connection, owner.message),)
            ).fetchone()
        return None if row is None else row[0]

    def leaving(self, owner: Owner, states: Sequence[str]) -> list[UUID]:
        """Return a person's subjects whose erasure is under way, in these states.

        They are in no index any more: each one's id is opened under its own key.
        """
        found = []
        for ref, generation, wrapped, identity in self._ask(_LEAVING, (list(states),)):
            try:
                cipher = self._ring.unwrap(ref.bytes, generation, bytes(wrapped))
            except KeyDestroyed:
                continue  # The night was faster: there is nothing left.
            if open_identity(cipher, bytes(identity), ref=ref.bytes) == owner.id:
                found.append(ref)
        return found

    def subject(self, ref: UUID) -> SubjectRef | None:
        """Return what is known of a data subject without opening anything."""
        rows = self._ask(_SUBJECT, (ref,))
        if not rows:
            return None
        kind, state, _, _, erasure_id = rows[0]
        return SubjectRef(ref=ref, kind=kind, state=state, erasure_id=erasure_id)

    def events_of(self, ref: UUID, *, after: UUID = FIRST, limit: int = FOUND_MAX) -> list[str]:
        """Return the events that hold values of this subject, erased ones included, in order."""
        return [str(one) for (one,) in self._ask(_OF_SUBJECT, (ref, after, limit))]

    def wrap(self, ref: UUID, secret: bytes, aad: bytes, nonce: bytes) -> bytes:
        """Encrypt another key under a subject's key."""
        return wrap_other(self._cipher(ref), secret, ref=ref.bytes, aad=aad, nonce=nonce)

    def unwrap(self, ref: UUID, wrapped: bytes, aad: bytes) -> bytes:
        """Return what `wrap` encrypted; raises ValuesErased once the subject is erased."""
        return unwrap_other(self._cipher(ref), wrapped, ref=ref.bytes, aad=aad)

    def _cipher(self, ref: UUID) -> Cipher:

        def once() -> Cipher:
            rows = self._ask(_SUBJECT, (ref,))
            if not rows:
                raise IntegrityViolation("a data subject's row is gone")
            _, state, generation, wrapped_key, erasure_id = rows[0]
            if state in ("erasing", "erased"):
                raise ValuesErased(erasures=erasure_id)
            return self._ring.unwrap(ref.bytes, generation, bytes(wrapped_key))

        return _again(once)

    def _opened(
        self,
        event_id: UUID,
        rows: list[tuple[Any, ...]],
        names: Collection[str] | None,
        sd: Collection[str] | None,
    ) -> Opened:
        disclosures, values, owners = dict[str, str](), dict[str, Any](), dict[str, UUID]()
        gone: list[Gone] = []
        for ref, dek, blob, state, generation, wrapped_key, erasure_id in rows:
            if state is None:
                raise IntegrityViolation("a data subject's row is gone")
            if state in ("erasing", "erased"):
                complete = state == "erased"
                gone.append(Gone(ref=ref, erasure_id=erasure_id, complete=complete))
                continue
            if blob is None:
                raise SealedValueDamaged("a sealed value is gone, and nobody was erased")
            cipher = self._ring.unwrap(ref.bytes, generation, bytes(wrapped_key))
            for text in open_blob(
                cipher, bytes(dek), bytes(blob), event_id=event_id.bytes, ref=ref.bytes
            ):
                name, value = _checked(text, sd)
                if names is None or name in names:
                    disclosures[name], values[name], owners[name] = text, value, ref
        return Opened(disclosures=disclosures, values=values, owners=owners, gone=gone)

    def _macs(self, connection: Connection, message: bytes) -> list[bytes]:
        """Return a blind index under every generation in use."""
        return [self._ring.mac(one, message) for one in self._in_use(connection)]

    def _in_use(self, connection: Connection) -> range:
        """Return the generations in use; a new Book's first keys are made now."""
        state = self._ring.read(connection)
        self._ring.make_first(connection, state)
        self._ring.forget_before(state.oldest)
        return state.in_use

    def _reading(self) -> AbstractContextManager[Connection]:
        return self._database.duty(self._schema, "read")

    def _ask(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._reading() as connection:
            return connection.execute(self._sql(query), values).fetchall()

    def _sql(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(book=sql.Identifier(self._schema))


def _again(once: Callable[[], T]) -> T:
    """Read again what was wrapped anew, and its old key destroyed, between our look and its use."""
    try:
        return once()
    except KeyDestroyed:
        return once()


def _checked(text: str, sd: Collection[str] | None) -> tuple[str, Any]:
    """Return name and value of a disclosure that came out of a blob.

    With the entry's `_sd` it must be one of those that the entry commits to.
    """
    name = open_disclosure(text)[1]
    if sd is not None and digest(text) not in sd:
        raise SealedValueDamaged("a sealed value is not the one that the entry commits to")
    return name, value_of(text)
