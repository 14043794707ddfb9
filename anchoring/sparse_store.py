# SPDX-License-Identifier: GPL-3.0-or-later
"""The trees of one Book as stored: kept once with their salts, then walked for proofs.

A salt is a secret of the tenant: wrapped in the vault, and kept before anything is hashed under it.
Nothing here trusts what it reads: a stored tree has to lead to the root that the log names.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from psycopg import sql

from anchoring.shelf import Book
from anchoring.sparse_tree import Crown, SparseBuilder, Walk, split
from ledger import clock
from ledger.database import Connection
from ledger.errors import IntegrityViolation
from sealtrail.verify.sparse import SALT_BYTES, member_key, salt_commitment

_AAD: Final = b"sealtrail.sparse.salt.v1\0"

_SALT: Final = "SELECT subject_ref, wrapped FROM {book}.sparse_salt WHERE salt_id = %s"
_KEEP_SALT: Final = """
INSERT INTO {book}.sparse_salt (salt_id, subject_ref, wrapped) VALUES (%s, %s, %s)
    ON CONFLICT DO NOTHING
"""
_TREE: Final = (
    "SELECT salt_id, count, missing, root, crown FROM {book}.sparse_tree WHERE tree_id = %s"
)
_KEEP_TREE: Final = """
INSERT INTO {book}.sparse_tree (tree_id, salt_id, count, missing, root, crown)
VALUES (%s, %s, %s, %s, %s, %s)
"""
_KEEP_BUCKET: Final = (
    "COPY {book}.sparse_bucket (tree_id, bucket, records) FROM STDIN (FORMAT BINARY)"
)
_TURN: Final = "SELECT pg_advisory_xact_lock(hashtext('sealtrail.sparse'), hashtext(%s))"
_BUCKET: Final = "SELECT records FROM {book}.sparse_bucket WHERE tree_id = %s AND bucket = %s"
_RECORDS: Final = "SELECT records FROM {book}.sparse_bucket WHERE tree_id = %s ORDER BY bucket"


class TreeDamaged(IntegrityViolation):
    """What is stored of a sparse tree does not lead to the root that the log names."""

    problem = "sparse-tree-damaged"


class Salt(NamedTuple):
    """The salt of some trees. Not to be printed: it tells who has it what is in them."""

    salt_id: str
    secret: bytes

    @property
    def commitment(self) -> bytes:
        return salt_commitment(self.secret)

    def key(self, tag: str, digest: bytes) -> bytes:
        """Return the place of a digest of 32 bytes in the trees under this salt."""
        return member_key(self.secret, tag, digest)

    def __repr__(self) -> str:
        return f"Salt({self.salt_id})"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTree:
    """A tree that was kept, by its name."""

    tree_id: str
    salt_id: str
    count: int  #: Distinct digests.
    missing: int  #: What nobody could read when it was made, and is not in it.
    root: bytes
    crown: Crown


class SparseStore:
    """Keeps and reads the trees of one Book."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def salt(self, salt_id: str) -> Salt:
        """Return a salt, made and kept now if there is none of this name."""
        found = self._salt(salt_id)
        if found is not None:
            return found
        vault = self._book.vault
        ref = vault.subject_for(None)
        secret = clock.random_bytes(SALT_BYTES)
        wrapped = vault.wrap_for(ref, secret, _AAD + salt_id.encode())
        with self._book.database.duty(self._book.row.schema, "append") as connection:
            connection.execute(self._sql(_KEEP_SALT), (salt_id, ref, wrapped))
        kept = self._salt(salt_id)  # Perhaps another process's, which was faster.
        if kept is None:
            raise TreeDamaged("the salt that was just kept is gone")
        return kept

    def keep(
        self,
        connection: Connection,
        tree_id: str,
        salt: Salt,
        builder: SparseBuilder,
        *,
        missing: int = 0,
        step: Callable[[int], None] | None = None,
    ) -> StoredTree:
        """Build a tree and store it, in the caller's transaction, with the append role.

        The builder is empty afterwards. There must be none of this name.
        """
        with connection.cursor() as cursor, cursor.copy(self._sql(_KEEP_BUCKET)) as copy:
            copy.set_types(["text", "int4", "bytea"])

            def shelve(number: int, records: bytes) -> None:
                copy.write_row((tree_id, number, records))

            crown = builder.build(shelve, step)
        values = (tree_id, salt.salt_id, builder.count, missing, crown.root, crown.encode())
        connection.execute(self._sql(_KEEP_TREE), values)
        return StoredTree(
            tree_id=tree_id,
            salt_id=salt.salt_id,
            count=builder.count,
            missing=missing,
            root=crown.root,
            crown=crown,
        )

    def keep_alone(
        self, tree_id: str, salt: Salt, builder: SparseBuilder, *, missing: int
    ) -> StoredTree:
        """Build a tree and store it; the one of this name that somebody kept meanwhile counts."""
        schema = self._book.row.schema
        with (
            self._book.database.duty(schema, "append") as connection,
            connection.transaction(),
        ):
            connection.execute(_TURN, (f"{schema}/{tree_id}",))
            found = self._tree(connection, tree_id)
            return found or self.keep(connection, tree_id, salt, builder, missing=missing)

    def tree(self, tree_id: str, *, root: bytes | None = None) -> StoredTree | None:
        """Return a tree; None if there is none of this name.

        root: as the log names it; raises TreeDamaged for a tree that does not lead to it.
        """
        with self._reading() as connection:
            found = self._tree(connection, tree_id)
        if found is not None and root is not None and not root == found.root == found.crown.root:
            raise TreeDamaged
        return found

    def _tree(self, connection: Connection, tree_id: str) -> StoredTree | None:
        row = connection.execute(self._sql(_TREE), (tree_id,)).fetchone()
        if row is None:
            return None
        return StoredTree(
            tree_id=tree_id,
            salt_id=row[0],
            count=row[1],
            missing=row[2],
            root=bytes(row[3]),
            crown=Crown.decode(bytes(row[4])),
        )

    def walk(self, tree: StoredTree, key: bytes) -> Walk:
        """Walk to the place of a key; reads one bucket at most."""
        return tree.crown.walk(key, partial(self._bucket, tree.tree_id))

    def records(self, tree_id: str) -> Iterator[bytes]:
        """Yield the records of a tree in order, to be put into a larger one."""
        with (
            self._reading() as connection,
            connection.transaction(),
            connection.cursor("buckets") as rows,  # On the server's side: there may be many.
        ):
            rows.execute(self._sql(_RECORDS), (tree_id,))
            for (records,) in rows:
                yield from split(bytes(records))

    def _bucket(self, tree_id: str, number: int) -> list[bytes]:
        with self._reading() as connection:
            row = connection.execute(self._sql(_BUCKET), (tree_id, number)).fetchone()
        if row is None:
            raise TreeDamaged("a bucket of a sparse tree is gone")
        return split(bytes(row[0]))

    def _salt(self, salt_id: str) -> Salt | None:
        with self._reading() as connection:
            row = connection.execute(self._sql(_SALT), (salt_id,)).fetchone()
        if row is None:
            return None
        ref, wrapped = row
        secret = self._book.vault.unwrap_for(ref, bytes(wrapped), _AAD + salt_id.encode())
        return Salt(salt_id, secret)

    def _reading(self) -> AbstractContextManager[Connection]:
        return self._book.database.duty(self._book.row.schema, "read")

    def _sql(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(book=sql.Identifier(self._book.row.schema))
