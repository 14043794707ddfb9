# SPDX-License-Identifier: GPL-3.0-or-later
"""The data subjects that the writer knows: who has a key already, and who gets one now.

A person is looked for by blind index, under every generation of index keys still in use. The last
ones used are kept with their keys, at most `limit`. A young Book's whole index is kept, so that a
person who is not in it is new without a question to the database; another process that was faster
shows as a unique violation, after which this process asks (`doubt`).

KNOWN GAP: subject keys in use lie decrypted in this process's memory, those of an erased person
until its writer's next batch notices. Python cannot wipe them.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple
from uuid import UUID

from psycopg import sql

from ledger import arrays, clock
from ledger.database import Connection
from ledger.errors import IntegrityViolation
from ledger.vault.construction import (
    AESGCM,
    KEY_BYTES,
    NONCE_BYTES,
    REF_BYTES,
    Cipher,
    open_identity,
    seal_identity,
)
from ledger.vault.owners import Owner
from ledger.vault.ring import KeyRing, State
from ledger.vault.statement import NewSubject

_ROWS: Final = """
SELECT i."index", s.ref, s.generation, s.wrapped_key, s.identity
  FROM {book}.subject_index i JOIN {book}.subject s ON s.ref = i.ref
"""


class SubjectIndexDamaged(IntegrityViolation):
    """The index of data subjects leads to somebody else."""

    problem = "subject-index-damaged"


class Subject(NamedTuple):
    """A data subject whose key is at hand."""

    ref: bytes  #: 16 bytes of a random UUID.
    cipher: Cipher

    def __repr__(self) -> str:
        return f"Subject({self.ref.hex()})"


class _Row(NamedTuple):
    ref: bytes
    generation: int
    wrapped_key: bytes
    identity: bytes


class Subjects:
    """The data subjects of the Book in `schema`, for its writer. Not for several threads."""

    def __init__(self, ring: KeyRing, *, limit: int = 16_384, whole: int = 50_000) -> None:
        self._ring, self._limit, self._whole = ring, limit, whole
        rows = sql.SQL(_ROWS).format(book=sql.Identifier(ring.schema))
        self._by_index = (rows + sql.SQL(' WHERE i."index" = ANY(%b::bytea[])')).as_bytes()
        self._all = rows + sql.SQL(" LIMIT %s")
        self._known: OrderedDict[Owner, Subject] = OrderedDict()
        self._rows: dict[bytes, _Row] | None = None  # All there are; None: ask.
        self._state: State | None = None
        self._doubtful = False

    def forget(self) -> None:
        """Forget everybody: the vault has moved on, and somebody may have been erased."""
        self._known.clear()
        self._rows, self._state, self._doubtful = None, None, False

    def doubt(self) -> None:
        """Ask the database from now on: others make subjects, too. What is known stays true."""
        self._rows, self._doubtful = None, True

    def state(self, connection: Connection) -> State:
        """Return where the vault stands, as last read; makes the first keys of a new Book."""
        if self._state is None:
            self._state = self._ring.read(connection)
            self._ring.make_first(connection, self._state)
            self._ring.forget_before(self._state.oldest)
            if not self._doubtful:
                self._load_all(connection)
        return self._state

    def find(
        self, connection: Connection, owners: Collection[Owner]
    ) -> tuple[dict[Owner, Subject], dict[Owner, NewSubject]]:
        """Return each owner's subject, and the rows of those that are new.

        New ones are not remembered until `keep`: their rows may never be committed.
        """
        state = self.state(connection)
        found: dict[Owner, Subject] = {}
        missing: list[Owner] = []
        for owner in owners:
            subject = self._known.get(owner)
            if subject is None:
                missing.append(owner)
            else:
                self._known.move_to_end(owner)
                found[owner] = subject
        if not missing:
            return found, {}
        indexes = {owner: self._indexes(owner, state) for owner in missing}
        rows = self._rows
        if rows is None:
            rows = self._look(connection, [one for some in indexes.values() for one in some])
        new: dict[Owner, NewSubject] = {}
        for owner, candidates in indexes.items():
            row = next((rows[index] for index in candidates if index in rows), None)
            if row is None:
                found[owner], new[owner] = self._make(owner, candidates[0], state.generation)
            else:
                found[owner] = self._known[owner] = self._opened(owner, row)
        self._trim()
        return found, new

    def keep(self, made: Iterable[tuple[Owner, Subject, NewSubject]]) -> None:
        """Remember new subjects, now that their rows are committed."""
        for owner, subject, row in made:
            self._known[owner] = subject
            if self._rows is not None:
                self._rows[row.mac] = _Row(row.ref, row.generation, row.wrapped_key, row.identity)
        if self._rows is not None and len(self._rows) > self._whole:
            self.doubt()
        self._trim()

    def _trim(self) -> None:
        while len(self._known) > self._limit:
            self._known.popitem(last=False)

    def _indexes(self, owner: Owner, state: State) -> list[bytes]:
        """Return the owner's blind index in each generation in use, the newest first."""
        message = owner.message
        return [self._ring.mac(one, message) for one in reversed(state.in_use)]

    def _look(self, connection: Connection, indexes: list[bytes]) -> dict[bytes, _Row]:
        rows = connection.execute(self._by_index, (arrays.hashes(indexes),), prepare=True)
        return _rows(rows.fetchall())

    def _load_all(self, connection: Connection) -> None:
        rows = connection.execute(self._all, (self._whole + 1,)).fetchall()
        self._rows = _rows(rows) if len(rows) <= self._whole else None

    def _opened(self, owner: Owner, row: _Row) -> Subject:
        """Unwrap a key, and see that it is the key of the one we looked for."""
        subject = Subject(row.ref, self._ring.unwrap(row.ref, row.generation, row.wrapped_key))
        if open_identity(subject.cipher, row.identity, ref=row.ref) != owner.id:
            raise SubjectIndexDamaged
        return subject

    def _make(self, owner: Owner, index: bytes, generation: int) -> tuple[Subject, NewSubject]:
        chance = clock.random_bytes(REF_BYTES + KEY_BYTES + NONCE_BYTES)
        ref, secret = _random_uuid(chance[:REF_BYTES]), chance[REF_BYTES:-NONCE_BYTES]
        cipher = AESGCM(secret)
        row = NewSubject(
            ref=ref,
            kind=owner.kind,
            generation=generation,
            wrapped_key=self._ring.wrap(ref, generation, secret),
            identity=seal_identity(cipher, owner.id, ref=ref, nonce=chance[-NONCE_BYTES:]),
            mac=index,
        )
        return Subject(ref, cipher), row


def _rows(rows: Iterable[tuple[bytes, UUID, int, bytes, bytes]]) -> dict[bytes, _Row]:
    return {
        bytes(index): _Row(ref.bytes, generation, bytes(wrapped), bytes(identity))
        for index, ref, generation, wrapped, identity in rows
    }


def _random_uuid(chance: bytes) -> bytes:
    """Return 16 random bytes as a UUID of version 4 (RFC 9562 §5.4)."""
    number = int.from_bytes(chance) & ~(0xF << 76) & ~(0x3 << 62)
    return (number | 0x4 << 76 | 0x2 << 62).to_bytes(16)
