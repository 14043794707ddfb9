# SPDX-License-Identifier: GPL-3.0-or-later
"""The cold tier of one Book: bundles written down, put into the archive, read back, read again.

    write_down   key, members, digest: durable before the first byte is uploaded
    upload       put and lock; safe to repeat, the same bytes have the same name
    verify       get, decrypt, compare every body with the leaf in the index
    moved        a TIER_MOVED entry names it: from now on the copy in the database may go

Whoever is killed between two of these goes on from what is written down. Nothing that is read here
is handed out before it hashes to its leaf.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from psycopg import sql

from ledger import clock
from ledger.archive.store import Archive
from ledger.database import Connection, Database
from ledger.errors import EntryDamaged, NotFound
from ledger.keys import KeyExists, Keys
from ledger.retention import bundle as form
from ledger.retention import members as bits
from ledger.retention.policy import Claim
from sealtrail.verify import canonical
from sealtrail.verify.merkle import leaf_hash

_COLUMNS: Final = (
    "b.name, b.number, b.members, b.claim, b.not_before, b.due, b.content, b.key_name,"
    " b.wrapped_key, m.event_id::text"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """One bundle as it is written down."""

    name: str  #: In the archive: SHA-256 of the sealed bytes, hex.
    number: int  #: Of the run of 256 positions.
    members: bytes
    claim: Claim
    due_ms: int | None  #: When all of it may go, as things were when it was made.
    content: bytes  #: SHA-256 of the plain bundle.
    key_name: str
    wrapped_key: bytes
    moved_by: str | None = None  #: TIER_MOVED entry.

    @property
    def positions(self) -> list[int]:
        return bits.unpack(self.number, self.members)

    def described(self) -> dict[str, canonical.JSON]:
        """What TIER_MOVED commits to."""
        return {
            "name": self.name,
            "run": self.number,
            "members": self.members.hex(),
            "content": f"sha256:{self.content.hex()}",
            "class": self.claim.name or "",
            "not_before": str(self.claim.not_before_ms),
        }


def objects_digest(bundles: Iterable[Bundle]) -> str:
    """Return the digest over the descriptions of some bundles, as TIER_MOVED has it."""
    listed: list[canonical.JSON] = [
        one.described() for one in sorted(bundles, key=lambda one: (one.number, one.name))
    ]
    return f"sha256:{sha256(canonical.encode(listed)).hexdigest()}"


class Cold:
    """The bundles of the Book in `schema`, whose entries were signed under `origins`."""

    def __init__(
        self, database: Database, keys: Keys, archive: Archive, *, schema: str, origin: str
    ) -> None:
        self._database, self._keys, self.archive = database, keys, archive
        self._schema, self._origin = schema, origin
        self._book = sql.Identifier(schema)

    # Writing

    def make(
        self, positions: Sequence[int], bodies: Sequence[bytes], claim: Claim, due_ms: int | None
    ) -> tuple[Bundle, bytes]:
        """Seal bodies of one run; returns the bundle, which is nowhere yet, and its bytes."""
        number, members = positions[0] // bits.WIDTH, bits.pack(positions)
        key_name = form.wrapping_key(self._origin)
        self._ensure_key(key_name)
        key = clock.random_bytes(form.KEY_BYTES)
        plain = form.join(bodies)
        sealed = form.seal(plain, key, origin=self._origin, number=number, members=members)
        made = Bundle(
            name=form.name_of(sealed),
            number=number,
            members=members,
            claim=claim,
            due_ms=due_ms,
            content=sha256(plain).digest(),
            key_name=key_name,
            wrapped_key=self._keys.wrap(key_name, key, self._aad(number, members)),
        )
        return made, sealed

    def make_again(self, known: Bundle, bodies: Sequence[bytes]) -> bytes | None:
        """Seal what was written down and never arrived; None if it is not the same any more."""
        sealed = form.seal(
            form.join(bodies),
            self._key(known),
            origin=self._origin,
            number=known.number,
            members=known.members,
        )
        return sealed if form.name_of(sealed) == known.name else None

    def write_down(self, made: Bundle) -> None:
        """Keep what is needed to read a bundle again; durable on return."""
        with self._database.duty(self._schema, "retain") as connection:
            connection.execute(
                self._sql(
                    "INSERT INTO {book}.bundle (name, number, members, claim, not_before, due,"
                    " content, key_name, wrapped_key) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
                    " ON CONFLICT (name) DO NOTHING"
                ),
                (
                    *(made.name, made.number, made.members, made.claim.name),
                    *(made.claim.not_before_ms, made.due_ms),
                    *(made.content, made.key_name, made.wrapped_key),
                ),
            )

    def upload(self, made: Bundle, sealed: bytes, until: datetime) -> None:
        """Put a bundle into the archive, locked; raises what the archive raises."""
        self.archive.put(made.name, [sealed], until=until)

    def mark_moved(self, bundles: Sequence[Bundle], event_id: str) -> None:
        """Note which bundles a recorded TIER_MOVED entry names."""
        with self._database.duty(self._schema, "retain") as connection:
            connection.execute(
                self._sql(
                    "INSERT INTO {book}.moved (name, event_id)"
                    " SELECT n, %s::uuid FROM unnest(%s::text[]) AS n ON CONFLICT DO NOTHING"
                ),
                (event_id, [one.name for one in bundles]),
            )

    # Reading

    def bundles(self, where: str = "TRUE", *values: object) -> list[Bundle]:
        """Return bundles in order of their runs. where: a condition of ours, never of a caller."""
        query = self._sql(
            f"SELECT {_COLUMNS} FROM {{book}}.bundle b LEFT JOIN {{book}}.moved m USING (name)"  # noqa: S608 - ours
            f" WHERE {where} ORDER BY b.number, b.name"
        )
        with self._database.duty(self._schema, "read") as connection:
            return [bundle_of(row) for row in connection.execute(query, values)]

    def covering(self, position: int) -> Bundle:
        """Return the moved bundle that holds a position; raises NotFound."""
        found = self.bundles(
            "b.number = %s AND m.name IS NOT NULL AND get_bit(b.members, %s) = 1",
            position // bits.WIDTH,
            position % bits.WIDTH,
        )
        if not found:
            raise NotFound("no bundle holds this entry")
        return found[0]

    def read(self, one: Bundle) -> Mapping[int, bytes]:
        """Fetch and open a bundle; every body is held against the leaf in the index.

        Raises ObjectMissing, ObjectDamaged, BundleDamaged, EntryDamaged.
        """
        sealed = b"".join(self.archive.get(one.name))
        bodies = form.unseal(
            sealed, self._key(one), origin=self._origin, number=one.number, members=one.members
        )
        leaves = self._leaves(one)
        for position, body in bodies.items():
            if leaf_hash(body) != leaves.get(position):
                raise EntryDamaged(f"the cold entry at position {position} is not the one recorded")
        return bodies

    def _leaves(self, one: Bundle) -> dict[int, bytes]:
        query = self._sql("SELECT position, leaf FROM {book}.entry WHERE position = ANY(%s)")
        with self._database.duty(self._schema, "read") as connection:
            return {at: bytes(leaf) for at, leaf in connection.execute(query, (one.positions,))}

    def _key(self, one: Bundle) -> bytes:
        return self._keys.unwrap(one.key_name, one.wrapped_key, self._aad(one.number, one.members))

    def _ensure_key(self, name: str) -> None:
        if self._keys.has(name):
            return
        try:
            self._keys.make(name, "wrap")
        except KeyExists:
            if not self._keys.has(name):
                raise

    def _aad(self, number: int, members: bytes) -> bytes:
        return f"bundle {self._origin} {number} {members.hex()}".encode()

    def _sql(self, text: str) -> sql.Composed:
        return sql.SQL(text).format(book=self._book)


def bundle_of(row: tuple[Any, ...]) -> Bundle:
    """Read a row of `bundle`, joined with `moved`."""
    name, number, members, claim, not_before, due, content, key_name, wrapped_key, event_id = row
    return Bundle(
        name=name,
        number=number,
        members=bytes(members),
        claim=Claim(name=claim, not_before_ms=not_before),
        due_ms=due,
        content=bytes(content),
        key_name=key_name,
        wrapped_key=bytes(wrapped_key),
        moved_by=event_id,
    )


def all_bundles(connection: Connection, schema: str) -> Iterator[Bundle]:
    """Yield every bundle of a Book in one snapshot of the database, in order of runs."""
    query = sql.SQL(
        f"SELECT {_COLUMNS} FROM {{book}}.bundle b LEFT JOIN {{book}}.moved m USING (name)"  # noqa: S608 - ours
        " ORDER BY b.number, b.name"
    ).format(book=sql.Identifier(schema))
    yield from map(bundle_of, connection.execute(query))
