# SPDX-License-Identifier: GPL-3.0-or-later
"""What sealing adds to the writer's one statement: up to four inserts, and the gate before them.

The gate compares the vault's serial number with the one that this batch was sealed under, while no
erasure and no rotation can move it. So no value is ever sealed for a person who has just been
erased, nor under a generation of keys that is about to be destroyed.
"""

from dataclasses import dataclass, field
from typing import Any, Final, LiteralString, NamedTuple

from psycopg.errors import ObjectNotInPrerequisiteState

from ledger import arrays
from ledger.direct import bigint

# Parts of the statement that swaps the head, after a CTE `h` of one integer column that is empty
# unless the head was swapped. Names: {book}. Parameters are binary.

_SUBJECTS: Final = """
     vs AS (INSERT INTO {book}.subject (ref, kind, generation, wrapped_key, identity)
            SELECT u.* FROM h, unnest(%b::uuid[], %b::text[], %b::bigint[], %b::bytea[],
                   %b::bytea[]) u),
     vi AS (INSERT INTO {book}.subject_index ("index", generation, ref)
            SELECT u.* FROM h, unnest(%b::bytea[], %b::bigint[], %b::uuid[]) u)
"""
_SEALED: Final = """
     vv AS (INSERT INTO {book}.sealed (event_id, subject_ref, wrapped_key, blob)
            SELECT u.* FROM h AS held (one),
                   LATERAL {book}.vault_gate(%b::bigint, held.one::integer) g (ok),
                   unnest(%b::uuid[], %b::uuid[], %b::bytea[], %b::bytea[]) u WHERE g.ok)
"""
_BLIND: Final = """
     vb AS (INSERT INTO {book}.blind (field, "index", generation, event_id, subject_ref)
            SELECT u.* FROM h, unnest(%b::text[], %b::bytea[], %b::bigint[], %b::uuid[],
                   %b::uuid[]) u)
"""

#: One new subject outside of a batch. Parameters: a NewSubject's, and the serial number.
INSERT_SUBJECT: Final = """
WITH g AS MATERIALIZED (SELECT {book}.vault_gate(%(serial)s::bigint, 1) AS ok),
     s AS (INSERT INTO {book}.subject (ref, kind, generation, wrapped_key, identity)
           SELECT encode(%(ref)s::bytea, 'hex')::uuid, %(kind)s, %(generation)s,
                  %(wrapped_key)s::bytea, %(identity)s::bytea FROM g WHERE g.ok)
INSERT INTO {book}.subject_index ("index", generation, ref)
SELECT %(mac)s::bytea, %(generation)s, encode(%(ref)s::bytea, 'hex')::uuid FROM g WHERE g.ok
"""

#: What the statement raises when the gate is shut: nothing was written; `Vault.forget`, seal anew.
VaultMoved = ObjectNotInPrerequisiteState


#: Where a unique violation means that another process has just made the same subject.
SUBJECTS: Final = frozenset({"subject", "subject_index"})


class NewSubject(NamedTuple):
    """A data subject that this batch is the first to name."""

    ref: bytes
    kind: str
    generation: int
    wrapped_key: bytes
    identity: bytes
    mac: bytes  #: Blind index.


class SealedBlob(NamedTuple):
    """The values of one data subject in one event."""

    event_id: bytes  #: 16 bytes.
    ref: bytes
    wrapped_key: bytes
    blob: bytes


class BlindRow(NamedTuple):
    """One value by which one event can be found."""

    field: str
    mac: bytes  #: Blind index.
    event_id: bytes
    ref: bytes


@dataclass(slots=True, kw_only=True)
class Sealings:
    """All that the vault adds to one commit."""

    serial: int = 0  #: Of the vault when this was sealed; 0 only if nothing was.
    generation: int = 1
    subjects: list[NewSubject] = field(default_factory=list, repr=False)
    blobs: list[SealedBlob] = field(default_factory=list, repr=False)
    blind: list[BlindRow] = field(default_factory=list, repr=False)
    fresh: dict[Any, Any] = field(default_factory=dict, repr=False)  #: For the vault's cache.

    def parts(self) -> list[tuple[LiteralString, tuple[bytes, ...]]]:
        """Return what the statement needs of text and binary values; nothing if nothing was sealed.

        A part with nothing to do would cost all the same.
        """
        if not self.blobs:
            return []
        found = [(_SEALED, self._sealed())]
        if self.subjects:
            found.append((_SUBJECTS, self._new()))
        if self.blind:
            found.append((_BLIND, self._indexes()))
        return found

    def _new(self) -> tuple[bytes, ...]:
        subjects = self.subjects
        refs = arrays.packed_uuids([one.ref for one in subjects])
        generations = arrays.bigints([one.generation for one in subjects])
        return (
            refs,
            arrays.texts([one.kind for one in subjects]),
            generations,
            arrays.byteas([one.wrapped_key for one in subjects]),
            arrays.byteas([one.identity for one in subjects]),
            arrays.hashes([one.mac for one in subjects]),
            generations,
            refs,
        )

    def _sealed(self) -> tuple[bytes, ...]:
        blobs = self.blobs
        return (
            bigint(self.serial),
            arrays.packed_uuids([one.event_id for one in blobs]),
            arrays.packed_uuids([one.ref for one in blobs]),
            arrays.byteas([one.wrapped_key for one in blobs]),
            arrays.byteas([one.blob for one in blobs]),
        )

    def _indexes(self) -> tuple[bytes, ...]:
        blind = self.blind
        return (
            arrays.texts([one.field for one in blind]),
            arrays.hashes([one.mac for one in blind]),
            arrays.bigints([self.generation] * len(blind)),
            arrays.packed_uuids([one.event_id for one in blind]),
            arrays.packed_uuids([one.ref for one in blind]),
        )
