# SPDX-License-Identifier: GPL-3.0-or-later
"""A scratch copy of one Book, which may be spoiled: its rows, its checkpoint, no key of its own.

    original   read in one snapshot, in a READ ONLY transaction, under the role that may only read
    copy       an embedded PostgreSQL, a checkpoint store and a log key in a directory that is
               thrown away; its strangers trust the original's log key and the scratch one

The original's log key signs nothing here: a forged history that it had signed would be evidence of
a fraud that never was. Its chain keys are lent through `LentKeys`, which changes no keystore.
"""

import hmac
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from anchoring.checkpoint import signers_of, verifier_keys
from anchoring.checkpoint_store import FileCheckpointStore
from anchoring.shelf import Shelf
from evidence.attack.administrator import KEPT, TABLES, TREES, Administrator
from evidence.attack.target import Target
from ledger import clock, durable
from ledger.database import Connection, Database, connect
from ledger.embedded import EmbeddedPostgres
from ledger.errors import Refused, Unavailable
from ledger.keys import (
    Attestation,
    KeyDestroyed,
    KeyMissing,
    Keys,
    Kind,
    Recipient,
    log_key,
)
from ledger.keystore import FileKeystore
from ledger.migrate import BookRow, make_book, migrate, pending
from sealtrail.verify.note import VerifierKey
from sealtrail.verify.trust import Trust

Progress = Callable[[str], None]
_COLUMNS: Final = (
    b"SELECT column_name FROM information_schema.columns"
    b" WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position"
)


class LentKeys:
    """Another ledger's chain keys, to compute MACs with; and a scratch log key, to sign with.

    Whatever would change a keystore changes this object alone, and ends with it.
    """

    def __init__(self, lender: Keys, own: Keys) -> None:
        self._lender, self._own = lender, own
        self._evolved: dict[str, bytes] = {}
        self._destroyed: set[str] = set()

    def make(self, name: str, kind: Kind) -> None:
        raise Refused(f"a scratch copy makes no {kind} key {name}")

    def evolve(self, name: str, message: bytes, successor: str) -> None:
        self._evolved[successor] = self.mac(name, message)

    def escrow(self, name: str, recipient: Recipient) -> bytes:
        raise KeyMissing(f"a scratch copy seals no key to a {type(recipient).__name__}: {name}")

    def sign(self, name: str, message: bytes) -> bytes:
        return self._own.sign(name, message)

    def mac(self, name: str, message: bytes) -> bytes:
        if name in self._destroyed:
            raise KeyDestroyed
        if name in self._evolved:
            return hmac.digest(self._evolved[name], message, "sha256")
        try:
            return self._lender.mac(name, message)
        except KeyDestroyed:
            # Its end would look like a defence that no longer checks MACs.
            raise Unavailable("the original's epoch ended meanwhile; run it again") from None

    def wrap(self, name: str, secret: bytes, aad: bytes) -> bytes:
        raise KeyMissing(f"a scratch copy wraps nothing: {name}, {len(secret)}, {len(aad)} bytes")

    def unwrap(self, name: str, wrapped: bytes, aad: bytes) -> bytes:
        raise KeyMissing(f"a scratch copy opens nothing: {name}, {len(wrapped)}, {len(aad)} bytes")

    def destroy(self, name: str) -> None:
        self._destroyed.add(name)

    def attest(self, name: str) -> Attestation:
        return self._keeper(name).attest(name)

    def public_key(self, name: str) -> bytes:
        return self._keeper(name).public_key(name)

    def has(self, name: str) -> bool:
        return name in self.names()

    def names(self) -> list[str]:
        lent = [one for one in self._lender.names() if one.startswith("chain/")]
        return sorted({*lent, *self._own.names(), *self._evolved} - self._destroyed)

    def _keeper(self, name: str) -> Keys:
        """Return who can speak of a key; of an origin that a restore closed, the lender can."""
        return self._own if self._own.has(name) else self._lender


class Scratch:
    """The copy: attacked, examined, restored, as often as wanted."""

    def __init__(  # noqa: PLR0917 - made by `scratch_copy` alone
        self,
        directory: Path,
        database: Database,
        owner: Connection,
        row: BookRow,
        keys: LentKeys,
        trust: Trust,
    ) -> None:
        self._database, self._row, self._keys, self._trust = database, row, keys, trust
        self._owner = owner
        self._trust_file = directory / "trust.json"
        self._trust_file.write_bytes(trust.print())
        self._store = directory / "checkpoints"
        self._notes: dict[Path, bytes] = {}
        self.admin = Administrator(owner, row.schema)

    def start(self) -> Shelf:
        """Start another process."""
        trusted = self._trust.origins

        def keys_of(origin: str) -> Sequence[VerifierKey]:
            return trusted.get(origin, ())

        return Shelf(
            database=self._database,
            keys=self._keys,
            store=FileCheckpointStore(self._store, keys_of),
        )

    def settle(self) -> None:
        """Sign the copy's head, so that each entry has a receipt; remember how all of it was."""
        shelf = self.start()
        try:
            book = shelf.book(self._row.name)
            head = book.reader.head()
            if head.size > book.notary.size:
                book.notary.seal(head, base=-1, extension=())
        finally:
            shelf.close()
        self._notes = {path: path.read_bytes() for path in self._store.glob("*.checkpoint")}
        self.admin.save()

    def restore(self) -> None:
        """Undo whatever was done to rows and checkpoint store."""
        self.admin.restore()
        for path in self._store.glob("*.checkpoint"):
            if path not in self._notes:
                path.unlink()
        for path, note in self._notes.items():
            path.write_bytes(note)

    @contextmanager
    def target(self) -> Iterator[Target]:
        """Yield the copy with a process that runs, for one attack; restore it afterwards."""
        shelf = self.start()
        try:
            yield Target(
                admin=self.admin,
                running=shelf.book(self._row.name),
                start=self.start,
                keys=self._keys,
                store=self._store,
                other=_other(self._row.origin),
                trust=self._trust,
                trust_file=self._trust_file,
            )
        finally:
            shelf.close()
            self.restore()


@contextmanager
def scratch_copy(
    source: Database,
    row: BookRow,
    *,
    keys: Keys,
    store: Path,
    tsa_roots: Sequence[bytes],
    directory: Path,
    progress: Progress = lambda _line: None,
) -> Iterator[Scratch]:
    """Yield a copy of the Book `row` in `directory`, which must be empty; about 1 s, and the rows.

    store: the directory of the original's checkpoint store. Nothing of the original is written.
    Raises Refused when its database is not migrated to this version.
    """
    with source.connection() as connection:
        if pending(connection):
            raise Refused("run `sealtrail-server migrate` first")
    own = FileKeystore(directory / "keystore", clock.random_bytes(16).hex().encode())
    for origin in (row.origin, _other(row.origin)):
        own.make(log_key(origin), "ed25519")
    lent = LentKeys(keys, own)
    trusted: dict[str, tuple[VerifierKey, ...]] = {
        origin: tuple(verifier_keys(keys, origin)) for origin in row.origins
    }
    trusted[row.origin] += tuple(signer.key for signer in signers_of(lent, row.origin))
    trust = Trust(origins=trusted, tsa_roots=tuple(tsa_roots))
    # First the store, then the snapshot: whatever was signed by now is in it.
    (directory / "checkpoints").mkdir()
    for origin in row.origins:
        name = f"{durable.safe_name(origin)}.checkpoint"
        if (store / name).exists():
            (directory / "checkpoints" / name).write_bytes((store / name).read_bytes())
    with EmbeddedPostgres(directory / "postgres") as postgres, connect(postgres.url()) as owner:
        for _ in migrate(owner):
            pass
        made = make_book(owner, tenant=row.tenant, kind=row.kind, origin=row.origin)
        for one in row.incarnations:
            owner.execute(
                "INSERT INTO sealtrail.incarnation (book, number, origin, old_origin, size, root)"
                " VALUES (%s, %s, %s, %s, %s, %s)",
                (made.name, one.number, one.origin, one.old_origin, one.size, one.root),
            )
        owner.execute("SET session_replication_role = replica")
        _copy(source, owner, row.schema, progress)
        with Database(postgres.url(user="sealtrail_app")) as database:
            scratch = Scratch(directory, database, owner, row, lent, trust)
            scratch.settle()
            yield scratch


def _other(origin: str) -> str:
    """Return the origin of a second log of the same operator."""
    return f"{origin}/other"


def _check_whole(reading: Connection, schema: str) -> None:
    """Refuse a Book whose entries are not all in the database: attackers here work on bytes."""
    query = (
        f"SELECT (SELECT count(*) FROM {schema}.moved) + (SELECT count(*) FROM {schema}.expired)"  # noqa: S608 - ours
    )
    row = reading.execute(query.encode()).fetchone()
    if row is not None and row[0]:
        raise Refused(
            "entries of this Book are cold or have expired, and the attacks need every byte;"
            " tests/attacks/test_custodian_of_records.py tries those on what is left"
        )


def _copy(source: Database, owner: Connection, schema: str, progress: Progress) -> None:
    """Copy every row in one snapshot, read under the role that may only read."""
    with source.duty(schema, "read") as reading:
        reading.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            _check_whole(reading, schema)
            for table in (*TABLES, *KEPT, *TREES):
                progress(f"copying {table}")
                names = [f'"{name}"' for (name,) in owner.execute(_COLUMNS, (schema, table))]
                columns, place = ", ".join(names), f"{schema}.{table}"
                out = f"COPY (SELECT {columns} FROM {place}) TO STDOUT (FORMAT binary)"  # noqa: S608 - ours
                into = f"COPY {place} ({columns}) FROM STDIN (FORMAT binary)"
                with (
                    reading.cursor() as origin,
                    owner.cursor() as copy,
                    origin.copy(out.encode()) as rows,
                    copy.copy(into.encode()) as taken,
                ):
                    for data in rows:
                        taken.write(data)
        finally:
            reading.execute("ROLLBACK")
