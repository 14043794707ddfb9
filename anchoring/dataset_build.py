# SPDX-License-Identifier: GPL-3.0-or-later
"""Building a version of a training set: members, tree and manifest's digest, all or nothing.

It takes about 300 bytes of memory for each member: its two records in the tree that is made, and
its perceptual hash.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from psycopg import sql

from anchoring.dataset_manifest import manifest_line, member_rows, perceptual_lines
from anchoring.dataset_members import Ingested, Member, Resolver
from anchoring.shelf import Book
from anchoring.sparse_store import Salt, SparseStore
from anchoring.sparse_tree import SparseBuilder
from ledger.database import Connection
from ledger.errors import Conflict, FieldError, MalformedEvent
from ledger.events.dataset import unfit_names
from sealtrail.verify import canonical
from sealtrail.verify.sparse import BYTES, PIXELS

JSON = dict[str, Any]

#: Called with a step's name and how many members it has done, about every thousand.
Progress = Callable[[str, int], None]

_BATCH: Final = 1_000

_NEXT: Final = "SELECT coalesce(max(number), 0) + 1 FROM {book}.dataset"
_KEEP: Final = """
INSERT INTO {book}.dataset (number, dataset_id, version, body) VALUES (%s, %s, %s, %s)
"""
_COPY: Final = """
COPY {book}.dataset_member (number, position, bytes_key, pixel_key) FROM STDIN (FORMAT BINARY)
"""


class DatasetEmpty(Conflict):
    """A set without members proves nothing, and is not sealed."""

    status = 422
    problem = "dataset-empty"


class DatasetMoved(Conflict):
    """A member was withdrawn while the set was sealed; send it again without that member."""

    problem = "dataset-moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Which version of which set is to be sealed.

    supersedes: the version that is current now; if it is left out, whichever that is.
    """

    id: str
    version: str
    supersedes: str | None = None
    exclusions_digest: str | None = None
    cyclonedx_digest: str | None = None

    def check(self) -> None:
        """Return if every member is of its form; raises MalformedEvent naming others."""
        wrong = unfit_names(
            {
                "dataset": self.id,
                "version": self.version,
                "supersedes": self.supersedes,
                "exclusions_digest": self.exclusions_digest,
                "cyclonedx_digest": self.cyclonedx_digest,
            }
        )
        if wrong:
            detail = "this must be of the form that docs/events.md says"
            errors = [FieldError(f"/query/{name}", "form", detail) for name in wrong]
            raise MalformedEvent(errors=errors)


def build(
    book: Book, order: Order, supersedes: str | None, members: Iterable[Member], progress: Progress
) -> tuple[int, JSON]:
    """Keep a version with its tree, in one transaction; returns its number and what to record.

    Raises MalformedEvent with the numbers of the lines that are wrong, DatasetEmpty, DatasetMoved.
    """
    schema, store = book.row.schema, SparseStore(book)
    resolver = Resolver(book, as_of := book.reader.head().size)
    with book.database.duty(schema, "read") as connection:
        row = connection.execute(_sql(_NEXT, schema)).fetchone()
    number = int(row[0]) if row is not None else 1
    salt = store.salt(f"dataset/{number}")
    with book.database.duty(schema, "append") as connection, connection.transaction():
        copied = _copy(connection, schema, number, salt, resolved(resolver, members, progress))
        if not copied.counts[BYTES]:
            raise DatasetEmpty
        if resolver.withdrawn_since(connection, number):
            raise DatasetMoved
        digest, builder = _gather(connection, schema, number, progress)
        step = _Steps(progress, "tree").add
        tree = store.keep(connection, f"dataset/{number}", salt, builder, step=step)
        body: JSON = {
            "id": order.id,
            "version": order.version,
            "member_count": copied.counts[BYTES],
            "as_of": as_of,
            "manifest_digest": f"sha256:{digest}",
            "smt_root": f"sha256:{tree.root.hex()}",
            "smt_salt_commit": f"sha256:{salt.commitment.hex()}",
            "digests": copied.counts,
            **copied.perceptual(),
        }
        more = {
            "exclusions_digest": order.exclusions_digest,
            "cyclonedx_digest": order.cyclonedx_digest,
            "supersedes": supersedes,
        }
        body |= {name: value for name, value in more.items() if value is not None}
        values = (number, order.id, order.version, canonical.encode(body))
        connection.execute(_sql(_KEEP, schema), values)
    return number, body


def resolved(
    resolver: Resolver, members: Iterable[Member], progress: Progress
) -> Iterator[list[Ingested]]:
    """Yield the members as the log knows them, some at a time."""
    batch: list[Member] = []
    done = 0
    for one in members:
        batch.append(one)
        if len(batch) == _BATCH:
            yield resolver.resolve(batch)
            done += len(batch)
            progress("members", done)
            batch = []
    if batch:
        yield resolver.resolve(batch)


@dataclass(slots=True)
class _Copied:
    """What was kept of the members, besides their rows."""

    counts: dict[str, int]
    lines: list[bytes]  #: Of the perceptual manifest.

    def perceptual(self) -> JSON:
        if not self.lines:
            return {}
        digest = sha256()
        for line in sorted(self.lines):
            digest.update(line)
        return {
            "perceptual_manifest_digest": f"sha256:{digest.hexdigest()}",
            "perceptual_count": len(self.lines),
        }


def _copy(
    connection: Connection,
    schema: str,
    number: int,
    salt: Salt,
    batches: Iterable[list[Ingested]],
) -> _Copied:
    """Keep a row for each member; only the keys of its digests."""
    copied = _Copied({BYTES: 0, PIXELS: 0}, [])
    with connection.cursor() as cursor, cursor.copy(_sql(_COPY, schema)) as copy:
        copy.set_types(["int8", "int8", "bytea", "bytea"])
        for batch in batches:
            for one in batch:
                pixels = one.pixel_digest
                key = None if pixels is None else salt.key(PIXELS, pixels)
                copy.write_row((number, one.position, salt.key(BYTES, one.bytes_digest), key))
                copied.counts[BYTES] += 1
                copied.counts[PIXELS] += key is not None
                copied.lines += perceptual_lines(one.fingerprints)
    return copied


def _gather(
    connection: Connection, schema: str, number: int, progress: Progress
) -> tuple[str, SparseBuilder]:
    """Return the manifest's digest, and all keys of the tree."""
    digest, builder, steps = sha256(), SparseBuilder(), _Steps(progress, "manifest")
    for row in member_rows(connection, schema, number):
        digest.update(manifest_line(row))
        for key in row[3:]:
            if key is not None:
                builder.add(bytes(key), row[0])
        steps.add(1)
    return digest.hexdigest(), builder


class _Steps:
    """Counts one step, and tells about every thousand."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._name = progress, name
        self._done = self._told = 0

    def add(self, count: int) -> None:
        self._done += count
        if self._done - self._told >= _BATCH:
            self._told = self._done
            self._progress(self._name, self._done)


def _sql(query: str, schema: str) -> sql.Composed:
    return sql.SQL(query).format(book=sql.Identifier(schema))
