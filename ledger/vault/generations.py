# SPDX-License-Identifier: GPL-3.0-or-later
"""From one generation of keys to the next: rotation, and the end of those who were erased.

    begin    the subject is unreadable and unindexed; new events of the person make a new subject
    flip     generation g+1 is made and used from now on (only if an erasure or a caller wants it)
    rewrap   every other subject's key is wrapped, and its id indexed, under g+1
    reindex  every other blind index is made anew under g+1
    finish   wrapped keys and blobs of the erased are removed, `oldest` moves to g+1
    destroy  the keys of g go: no old page, WAL or backup opens what was erased

Each step is safe to repeat and to interrupt; what was done is read off the rows. A legal hold that
comes in between takes its subject out again: it is asked in the transaction that finishes, which
no hold can overtake, and after that nothing is left to keep.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from psycopg import sql

from ledger.database import Connection, Database
from ledger.errors import Conflict, IntegrityViolation, NotFound, Unavailable
from ledger.vault.rewrapping import Progress, Rewrapping
from ledger.vault.ring import KeyRing, State

_BEGIN: Final = """
UPDATE {book}.subject SET state = 'erasing', erasure_id = %(erasure)s,
       doomed = coalesce(doomed, %(generation)s)
 WHERE ref = %(ref)s AND kind = 'person'
   AND (state = 'live' OR (state IN ('held', 'erasing') AND erasure_id = %(erasure)s))
RETURNING 1
"""
_DEFER: Final = """
UPDATE {book}.subject SET state = 'held', doomed = NULL
 WHERE ref = ANY(%s) AND state = 'erasing' RETURNING ref, erasure_id
"""
_ERASING: Final = """
SELECT ref, erasure_id FROM {book}.subject WHERE state = 'erasing' AND doomed < %s ORDER BY ref
"""
_WAITING: Final = """
SELECT EXISTS (SELECT 1 FROM {book}.subject WHERE state = 'erasing' AND doomed >= %s)
"""
_EMPTY: Final = """
UPDATE {book}.sealed SET wrapped_key = NULL, blob = NULL
 WHERE subject_ref = ANY(%s) AND blob IS NOT NULL
"""
_ERASE: Final = """
UPDATE {book}.subject SET state = 'erased', wrapped_key = NULL, identity = NULL, doomed = NULL
 WHERE ref = ANY(%s) AND state = 'erasing' RETURNING ref, erasure_id
"""
_LEFT: Final = """
SELECT EXISTS (SELECT 1 FROM {book}.subject WHERE generation < %s AND state IN ('live', 'held'))
    OR EXISTS (SELECT 1 FROM {book}.subject_index WHERE generation < %s)
"""

#: How often a hold may come in between before the rest is left for the next night.
_TRIES: Final = 8

#: A round that an interruption left unfinished, and then one of our own.
_ROUNDS: Final = 2


class ErasureImpossible(Conflict):
    """This data subject cannot be erased, or not by this erasure."""

    problem = "erasure-impossible"


class KeyHeld(Conflict):
    """A legal hold names a key that this would destroy; `holds` says which hold."""

    problem = "key-held"


class RotationRunning(Unavailable):
    """Another process is moving the vault to its next generation of keys."""

    problem = "rotation-running"


class HeldNow(Protocol):
    """Answers about holds that stay true while its block lasts (ledger.holds.Frozen)."""

    @property
    def connection(self) -> Connection: ...
    def on_subject(self, ref: object, /) -> Sequence[str]: ...
    def on_key(self, name: str, /) -> Sequence[str]: ...


class Freezer(Protocol):
    """Who knows of legal holds (ledger.holds.Holds)."""

    def frozen(self) -> AbstractContextManager[HeldNow]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What a move to the next generation did."""

    erased: tuple[tuple[UUID, str], ...]  #: Subject and erasure, whose keys are gone for good.
    deferred: tuple[tuple[UUID, str], ...]  #: Subject and erasure that a hold has stopped.
    destroyed: tuple[str, ...]  #: Names of the keys destroyed.
    generation: int  #: In use from now on.


class Generations:
    """Moves the vault of one Book from one generation of keys to the next."""

    def __init__(self, database: Database, ring: KeyRing) -> None:
        self._database, self._ring, self._schema = database, ring, ring.schema
        self._rewrapping = Rewrapping(database, ring)

    def begin(self, ref: UUID, erasure_id: str) -> None:
        """Make a subject unreadable, for `finish` to destroy. See `Vault.begin_erasure`."""
        with self._retaining() as connection, connection.transaction():
            state = self._locked(connection)
            facts = {"ref": ref, "erasure": erasure_id, "generation": state.generation}
            if connection.execute(self._sql(_BEGIN), facts).fetchone() is None:
                query = self._sql("SELECT kind, state FROM {book}.subject WHERE ref = %s")
                row = connection.execute(query, (ref,)).fetchone()
                if row is None:
                    raise NotFound("there is no such data subject in this Book")
                raise ErasureImpossible(kind=row[0], state=row[1])
            query = self._sql("DELETE FROM {book}.subject_index WHERE ref = %s")
            connection.execute(query, (ref,))
            self._tell_writers(connection)

    def finish(
        self, holds: Freezer, *, rotate: bool, rekey: bool = False, progress: Progress
    ) -> Finished:
        """Erase what was begun, or rotate. See `Vault.finish_erasures` and `Vault.rewrap`."""
        erased: list[tuple[UUID, str]] = []
        with self._alone():
            deferred = self._defer(holds)
            state, destroyed = self._clean()
            for _ in range(_ROUNDS):
                resuming = state.oldest < state.generation
                if not resuming and not (rotate or self._wanted(state)):
                    break
                if self._keys_held(holds, state, rotate=rotate):
                    break
                rotate = rotate and resuming
                state = self._flip(state)
                for _ in range(_TRIES):
                    self._rewrapping.rewrap(
                        state.generation, progress, rekey=rekey and not resuming
                    )
                    self._rewrapping.reindex(state.generation, progress)
                    gone, kept = self._end(state, holds)
                    erased, deferred = erased + gone, deferred + kept
                    if not kept:
                        break
                else:
                    raise RotationRunning("legal holds came in between again and again")
                state, names = self._clean()
                destroyed += names
        return Finished(
            erased=tuple(erased),
            deferred=tuple(deferred),
            destroyed=destroyed,
            generation=state.generation,
        )

    def _keys_held(self, holds: Freezer, state: State, *, rotate: bool) -> bool:
        """Whether a hold names a key that would go now; raises KeyHeld if it was asked to go."""
        with holds.frozen() as held:
            found = self._on_keys(held, state.oldest, state.generation + 1)
        if found and rotate:
            raise KeyHeld(holds=found)
        return bool(found)

    def _on_keys(self, held: HeldNow, oldest: int, end: int) -> list[str]:
        names = [name for generation in range(oldest, end) for name in self._ring.names(generation)]
        return sorted({hold_id for name in names for hold_id in held.on_key(name)})

    def _wanted(self, state: State) -> bool:
        with self._retaining() as connection:
            row = connection.execute(self._sql(_WAITING), (state.generation,)).fetchone()
        return row is not None and bool(row[0])

    def _flip(self, state: State) -> State:
        """Make the next generation and have every writer use it; nothing to do when resuming."""
        if state.oldest < state.generation:
            return state
        after = state._replace(generation=state.generation + 1)
        self._ring.make(after.generation)  # Durable before anybody can be told to use it.
        with self._retaining() as connection, connection.transaction():
            self._locked(connection)
            query = self._sql("UPDATE {book}.vault_state SET generation = %s WHERE id = 1")
            connection.execute(query, (after.generation,))
            self._tell_writers(connection)
        return after

    def _defer(self, holds: Freezer) -> list[tuple[UUID, str]]:
        """Take all out again that a hold keeps, before their keys are left behind."""
        with holds.frozen() as held:
            rows = held.connection.execute(self._sql(_ERASING), (2**62,)).fetchall()
            return self._kept(held, [ref for ref, _ in rows])

    def _kept(self, held: HeldNow, refs: Sequence[UUID]) -> list[tuple[UUID, str]]:
        kept = [ref for ref in refs if held.on_subject(ref)]
        return held.connection.execute(self._sql(_DEFER), (kept,)).fetchall() if kept else []

    def _end(
        self, state: State, holds: Freezer
    ) -> tuple[list[tuple[UUID, str]], list[tuple[UUID, str]]]:
        """Remove what is wrapped under the old keys; returns the erased and the newly held.

        If a hold has come in between, nothing is removed: its subject is to be wrapped anew first.
        """
        with holds.frozen() as held:
            connection = held.connection
            rows = connection.execute(self._sql(_ERASING), (state.generation,)).fetchall()
            refs = [ref for ref, _ in rows]
            kept = self._kept(held, refs)
            if kept:
                return [], kept
            on_keys = self._on_keys(held, state.oldest, state.generation)
            if on_keys:
                raise KeyHeld(holds=on_keys)
            connection.execute(self._sql(_EMPTY), (refs,))
            self._locked(connection)
            gone = connection.execute(self._sql(_ERASE), (refs,)).fetchall()
            row = connection.execute(self._sql(_LEFT), (state.generation,) * 2).fetchone()
            if row != (False,):
                raise IntegrityViolation("a key was wrapped under a generation that had ended")
            query = self._sql("UPDATE {book}.vault_state SET oldest = %s WHERE id = 1")
            connection.execute(query, (state.generation,))
            self._tell_writers(connection)
        return gone, []

    def _clean(self) -> tuple[State, tuple[str, ...]]:
        """Destroy the keys of ended generations, and indexes that nobody can use any more."""
        with self._retaining() as connection:
            state = self._ring.read(connection)
            query = self._sql("DELETE FROM {book}.blind WHERE generation < %s")
            connection.execute(query, (state.oldest,))
        return state, self._ring.destroy_before(state.oldest)

    def _locked(self, connection: Connection) -> State:
        """Keep every sealing statement out until the transaction ends; return where we stand."""
        connection.execute(self._sql("SELECT {book}.vault_lock()"))
        return self._ring.read(connection)

    def _tell_writers(self, connection: Connection) -> None:
        connection.execute(
            self._sql("UPDATE {book}.vault_state SET serial = serial + 1 WHERE id = 1")
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only process that moves this vault; raises RotationRunning."""
        key = "(hashtext('sealtrail.vault.rotation'), hashtext(%s))"
        with self._retaining() as connection:
            query = sql.SQL("SELECT pg_try_advisory_lock" + key)
            if connection.execute(query, (self._schema,)).fetchone() != (True,):
                raise RotationRunning
            try:
                yield
            finally:
                query = sql.SQL("SELECT pg_advisory_unlock" + key)
                connection.execute(query, (self._schema,))

    def _retaining(self) -> AbstractContextManager[Connection]:
        return self._database.duty(self._schema, "retain")

    def _sql(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(book=sql.Identifier(self._schema))
