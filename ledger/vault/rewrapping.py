# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrap and index anew: all that a live subject has under older keys, chunk by chunk.

Writers go on meanwhile; they look under every generation in use and write under the newest. Each
chunk is one transaction, and what it has done is no longer found by the next. Subjects that are
being erased are passed over: that is what erases them.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg
from psycopg import sql

from ledger import arrays, clock
from ledger.database import Connection, Database
from ledger.errors import IntegrityViolation
from ledger.vault.construction import (
    KEY_BYTES,
    NONCE_BYTES,
    Cipher,
    index_message,
    open_blob,
    open_identity,
    seal_identity,
    subject_cipher,
    succeeded,
)
from ledger.vault.owners import Owner, identifiers_in, named_value
from ledger.vault.ring import KeyRing

#: Step (`rewrap` or `reindex`), how many are done, and how many there were at the beginning.
Progress = Callable[[str, int, int], None]

_CHUNK: Final = 500
_FIRST: Final = UUID(int=0)
_STALE: Final = "FROM {book}.subject WHERE generation < %s AND state IN ('live', 'held')"

_SUBJECTS: Final = f"""
SELECT ref, kind, generation, wrapped_key, identity {_STALE} AND ref > %s ORDER BY ref LIMIT %s
"""
_REWRAP: Final = """
UPDATE {book}.subject s SET wrapped_key = u.key, identity = u.identity, generation = %b
  FROM unnest(%b::uuid[], %b::bytea[], %b::bytea[], %b::bigint[]) u (ref, key, identity, old)
 WHERE s.ref = u.ref AND s.generation = u.old AND s.state IN ('live', 'held')
RETURNING s.ref
"""
_INDEX: Final = """
INSERT INTO {book}.subject_index ("index", generation, ref)
SELECT u.mac, %b, u.ref FROM unnest(%b::uuid[], %b::bytea[]) u (ref, mac)
 WHERE u.ref = ANY(%b) AND EXISTS (SELECT 1 FROM {book}.subject_index o WHERE o.ref = u.ref)
"""
_UNINDEX: Final = "DELETE FROM {book}.subject_index WHERE ref = ANY(%s) AND generation < %s"

_GROUPS: Final = """
SELECT g.event_id, g.subject_ref, g.fields, v.wrapped_key, v.blob, s.state, s.generation,
       s.wrapped_key
  FROM (SELECT event_id, subject_ref, array_agg(DISTINCT field) AS fields FROM {book}.blind
         WHERE generation < %(now)s AND event_id >= %(event)s
           AND (event_id, subject_ref) > (%(event)s, %(ref)s)
         GROUP BY 1, 2 ORDER BY 1, 2 LIMIT %(limit)s) g
  LEFT JOIN {book}.sealed v ON v.event_id = g.event_id AND v.subject_ref = g.subject_ref
  LEFT JOIN {book}.subject s ON s.ref = g.subject_ref
 ORDER BY 1, 2
"""
_DELETE_BLIND: Final = """
DELETE FROM {book}.blind b USING unnest(%b::uuid[], %b::uuid[]) u (event_id, ref)
 WHERE b.event_id = u.event_id AND b.subject_ref = u.ref AND b.generation < %b
"""
_INSERT_BLIND: Final = """
INSERT INTO {book}.blind (field, "index", generation, event_id, subject_ref)
SELECT u.field, u.mac, %b, u.event_id, u.ref
  FROM unnest(%b::text[], %b::bytea[], %b::uuid[], %b::uuid[]) u (field, mac, event_id, ref)
"""


class _Subject(NamedTuple):
    ref: UUID
    kind: str
    generation: int
    wrapped_key: bytes
    identity: bytes


class _Group(NamedTuple):
    """The stale indexes of one subject in one event, and what is needed to make them anew."""

    event_id: UUID
    ref: UUID
    fields: list[str]
    dek: bytes | None
    blob: bytes | None
    state: str | None
    generation: int
    wrapped_key: bytes | None


class Rewrapping:
    """Does it, as `retain`, for one Book."""

    def __init__(self, database: Database, ring: KeyRing) -> None:
        self._database, self._ring, self._schema = database, ring, ring.schema

    def rewrap(self, generation: int, progress: Progress, *, rekey: bool = False) -> None:
        """Wrap every live subject's key under `generation`, and index its id there.

        rekey: each gets a new key, too, wrapped together with the earlier ones. Whoever has read
        the old one may go on using it: nothing that is sealed under it is lost.
        """
        with self._retaining() as connection:
            row = connection.execute(
                self._sql("SELECT count(*) " + _STALE), (generation,)
            ).fetchone()
            total, done, last = 0 if row is None else int(row[0]), 0, _FIRST
            progress("rewrap", done, total)
            while True:
                query = self._sql(_SUBJECTS)
                rows = connection.execute(query, (generation, last, _CHUNK)).fetchall()
                if not rows:
                    return
                self._rewrap(connection, [_Subject(*row) for row in rows], generation, rekey=rekey)
                done, last = done + len(rows), rows[-1][0]
                progress("rewrap", done, total)

    def reindex(self, generation: int, progress: Progress) -> None:
        """Make every blind index of live subjects anew under `generation`."""
        with self._retaining() as connection:
            query = self._sql("SELECT count(*) FROM {book}.blind WHERE generation < %s")
            row = connection.execute(query, (generation,)).fetchone()
            total, done = 0 if row is None else int(row[0]), 0
            progress("reindex", done, total)
            for groups in self._stale_groups(connection, generation):
                done += self._reindex(connection, groups, generation)
                progress("reindex", done, total)

    def _rewrap(
        self, connection: Connection, rows: list[_Subject], generation: int, *, rekey: bool
    ) -> None:
        refs, keys, identities, macs = [], [], [], []
        for row in rows:
            ref, identity = row.ref.bytes, bytes(row.identity)
            secret = self._ring.secret(ref, row.generation, bytes(row.wrapped_key))
            id_ = open_identity(subject_cipher(secret), identity, ref=ref)
            if rekey:
                secret = succeeded(secret, clock.random_bytes(KEY_BYTES))
                nonce = clock.random_bytes(NONCE_BYTES)
                identity = seal_identity(subject_cipher(secret), id_, ref=ref, nonce=nonce)
            refs.append(row.ref.hex)
            keys.append(self._ring.wrap(ref, generation, secret))
            identities.append(identity)
            macs.append(self._ring.mac(generation, Owner(row.kind, id_).message))
        of, old = arrays.uuids(refs), arrays.bigints([row.generation for row in rows])
        with connection.transaction():
            changed = connection.execute(
                self._sql(_REWRAP),
                (generation, of, arrays.byteas(keys), arrays.byteas(identities), old),
            ).fetchall()
            moved = [ref for (ref,) in changed]
            try:
                connection.execute(self._sql(_INDEX), (generation, of, arrays.hashes(macs), moved))
            except psycopg.errors.UniqueViolation as error:
                raise IntegrityViolation("two data subjects are one person") from error
            connection.execute(self._sql(_UNINDEX), (moved, generation))

    def _stale_groups(self, connection: Connection, generation: int) -> Iterator[list[_Group]]:
        event, ref = _FIRST, _FIRST
        while True:
            facts = {"now": generation, "event": event, "ref": ref, "limit": _CHUNK}
            rows = connection.execute(self._sql(_GROUPS), facts).fetchall()
            if not rows:
                return
            groups = [_Group(*row) for row in rows]
            event, ref = groups[-1].event_id, groups[-1].ref
            yield groups

    def _reindex(self, connection: Connection, groups: list[_Group], generation: int) -> int:
        """Make the indexes of some events anew; returns how many rows were looked after."""
        old, new, ciphers = list[_Group](), list[tuple[str, bytes, _Group]](), dict[UUID, Cipher]()
        for group in groups:
            if group.state == "erasing":
                continue
            old.append(group)
            if group.state not in ("live", "held") or group.blob is None:
                continue  # Its values have expired or are erased, and so does their index.
            values = self._disclosed(group, ciphers)
            for name, value in identifiers_in(values, values):
                if name in group.fields:
                    new.append(
                        (name, self._ring.mac(generation, index_message(name, value)), group)
                    )
        with connection.transaction():
            connection.execute(
                self._sql(_DELETE_BLIND),
                (
                    arrays.uuids([one.event_id.hex for one in old]),
                    arrays.uuids([one.ref.hex for one in old]),
                    generation,
                ),
            )
            connection.execute(
                self._sql(_INSERT_BLIND),
                (
                    generation,
                    arrays.texts([name for name, _, _ in new]),
                    arrays.hashes([mac for _, mac, _ in new]),
                    arrays.uuids([one.event_id.hex for _, _, one in new]),
                    arrays.uuids([one.ref.hex for _, _, one in new]),
                ),
            )
        return sum(len(group.fields) for group in groups)

    def _disclosed(self, group: _Group, ciphers: dict[UUID, Cipher]) -> dict[str, Any]:
        """Return the values of one subject in one event, by name."""
        ref = group.ref.bytes
        cipher = ciphers.get(group.ref)
        if cipher is None:
            cipher = ciphers[group.ref] = self._ring.unwrap(
                ref, group.generation, bytes(group.wrapped_key or b"")
            )
        texts = open_blob(
            cipher,
            bytes(group.dek or b""),
            bytes(group.blob or b""),
            event_id=group.event_id.bytes,
            ref=ref,
        )
        return dict(named_value(text) for text in texts)

    def _retaining(self) -> AbstractContextManager[Connection]:
        return self._database.duty(self._schema, "retain")

    def _sql(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(book=sql.Identifier(self._schema))
