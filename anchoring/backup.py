# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a backup that can be held against what was signed, and that no keystore is part of.

    <directory>/<time>/          mode 0700; `.<time>.partial` until it is whole
        database/                pg_dump's directory format: registry and every Book, one snapshot
        manifest.json            each file's digest; each Book's size, root and signed checkpoints
        manifest.sig             signed note over the manifest's digest, by this ledger's backup key

    checkpoint before ──┐
    snapshot, pg_dump   │   size S  ≤  size N of the backup  ≤  size M
    checkpoint after  ──┘   and the consistency path N → M: all N entries were signed

Live rows only are dumped, so nothing that was deleted before comes along. Keys that encrypt other
keys, and those that sign, are in the keystore and never in a backup; what lies in the archive is
not in it either. The note keeps a backup from being altered where it lies: it is SQL that a restore
will run.

The checkpoints in a backup are there to be compared with. They are never put back into the
checkpoint store: a store rewound together with its database is what it must not be.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from anchoring.shelf import Shelf
from anchoring.signed_files import BackupIncomplete, Signed, open_signed, sign_files
from ledger import clock, durable
from ledger.database import Connection
from ledger.dump import dump, programs, server_major
from ledger.errors import IntegrityViolation, Unavailable
from ledger.head import Head, HeadRow
from ledger.keys import Keys
from ledger.migrate import BookRow, books
from sealtrail.verify import merkle
from sealtrail.verify.errors import VerifyError

Progress = Callable[[str], None]

_DATABASE: Final = "database"


@dataclass(frozen=True, slots=True, kw_only=True)
class BookState:
    """One Book as the backup holds it, between two checkpoints that were signed."""

    name: str
    schema: str
    origin: str
    size: int
    root: bytes
    before: bytes  #: The checkpoint store's note when the backup began, for at most `size`.
    after: bytes  #: … and once it was done, for at least `size`.
    path: tuple[bytes, ...]  #: Consistency path from `size` to the size of `after` (RFC 9162).

    def json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "schema": self.schema,
            "origin": self.origin,
            "size": self.size,
            "root": f"sha256:{self.root.hex()}",
            "before": self.before.decode(),
            "after": self.after.decode(),
            "path": [one.hex() for one in self.path],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup holds, as its maker signed it."""

    made: str  #: RFC 3339, when the backup began.
    server: int  #: Major version of the PostgreSQL that was dumped.
    programs: int  #: … and of the pg_dump that did it.
    books: tuple[BookState, ...]
    signed: Signed

    @property
    def schemas(self) -> list[str]:
        return [book.schema for book in self.books]

    @property
    def size_bytes(self) -> int:
        return self.signed.size_bytes

    @classmethod
    def of(cls, signed: Signed) -> "Manifest":
        """Read what a verified manifest says: we have written it."""
        about = signed.about
        if about["kind"] != "database":
            raise BackupIncomplete("this is no backup of a database")
        return cls(
            made=about["made"],
            server=about["server"],
            programs=about["programs"],
            books=tuple(_state(one) for one in about["books"]),
            signed=signed,
        )


def make_backup(
    shelf: Shelf,
    owner: Connection,
    owner_url: str,
    keys: Keys,
    directory: Path,
    *,
    jobs: int = 1,
    progress: Progress = lambda _line: None,
) -> tuple[Path, Manifest]:
    """Back up every Book while the ledger runs; returns where it lies, durable, and its manifest.

    Killed, it leaves `.<time>.partial`, which the next one removes. Raises Unavailable when a
    program or the database fails, and IntegrityViolation for a log that contradicts what was
    signed: of that, no backup is signed.
    """
    with new_directory(directory) as (made, partial):
        about = _fill(shelf, owner, owner_url, partial, jobs=jobs, say=progress)
        progress("digests of what was written")
        signed = sign_files(partial, keys, {"kind": "database", "made": made, **about})
    return directory / file_time(made), Manifest.of(signed)


@contextmanager
def new_directory(directory: Path, prefix: str = "") -> Iterator[tuple[str, Path]]:
    """Yield the time and a new directory that gets its name, durably, once all went well."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with durable.locked(directory / ".lock"):
        for left in directory.glob(".*.partial"):
            shutil.rmtree(left)
        made = clock.rfc3339(clock.now_ms())
        target = directory / f"{prefix}{file_time(made)}"
        partial = directory / f".{target.name}.partial"
        partial.mkdir(mode=0o700)
        try:
            yield made, partial
            partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        durable.sync_directory(directory)


def file_time(made: str) -> str:
    """Spell a time as every file system takes it; in order of time, too."""
    return made.replace(":", "-")


def open_backup(directory: Path, keys: Keys) -> Manifest:
    """Return the manifest of a backup that this ledger signed; its files are not read yet.

    Raises BackupIncomplete, or BackupAltered for a manifest that no backup key of ours signed.
    """
    return Manifest.of(open_signed(directory, keys))


def database_of(directory: Path) -> Path:
    """Return where the dump of a backup lies."""
    return directory / _DATABASE


def _fill(
    shelf: Shelf, owner: Connection, owner_url: str, partial: Path, *, jobs: int, say: Progress
) -> dict[str, Any]:
    """Dump the database into `partial`; return what was dumped and who has signed it."""
    # Opening a Book checks it: what contradicts the checkpoint store is found before anything.
    before = {row.name: shelf.book(row.name).notary.refresh()[0] for row in books(owner)}
    using = programs(server_major(owner))
    with owner.transaction():
        owner.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        row = owner.execute("SELECT pg_export_snapshot()").fetchone()
        rows = books(owner)
        heads = [HeadRow(one.schema).read(owner) for one in rows]
        if {one.name for one in rows} != before.keys():
            raise Unavailable("a Book was made just now; make the backup again")
        say(f"pg_dump {using.major}: {len(rows)} Books")
        dump(
            using,
            owner_url,
            schemas=["sealtrail", *(one.schema for one in rows)],
            snapshot=row[0] if row is not None else "",
            directory=partial / _DATABASE,
            jobs=jobs,
        )
    states = [
        _covered(shelf, one, head, before[one.name]) for one, head in zip(rows, heads, strict=True)
    ]
    return {
        "server": server_major(owner),
        "programs": using.major,
        "books": [state.json() for state in states],
    }


def _covered(shelf: Shelf, row: BookRow, head: Head, before: bytes) -> BookState:
    """Return the state of a Book, once a checkpoint covers all of its entries."""
    book = shelf.book(row.name)
    note, signed = book.notary.refresh()
    if signed.size < head.size:  # By a writer that died in between, or is about to.
        book.settle()
        note, signed = book.notary.refresh()
    path: Sequence[bytes] = ()
    if 0 < head.size < signed.size:
        path = book.tree.consistency(head.size, signed.size)
    state = BookState(
        name=row.name,
        schema=row.schema,
        origin=row.origin,
        size=head.size,
        root=head.root,
        before=before,
        after=note,
        path=tuple(path),
    )
    check_covers(state, signed.size, signed.root)
    return state


def check_covers(state: BookState, size: int, root: bytes) -> None:
    """Return if a log of `size` and `root` begins so; else raise IntegrityViolation."""
    try:
        if state.size == 0:
            if state.root != merkle.EMPTY_ROOT:
                raise merkle.ProofInvalid
            return
        merkle.check_consistency(
            old_size=state.size, old_root=state.root, new_size=size, new_root=root, path=state.path
        )
    except VerifyError:
        raise IntegrityViolation(
            f"the {state.size} entries of {state.name} are not those that were signed"
        ) from None


def _state(said: dict[str, Any]) -> BookState:
    return BookState(
        name=said["name"],
        schema=said["schema"],
        origin=said["origin"],
        size=said["size"],
        root=bytes.fromhex(said["root"].removeprefix("sha256:")),
        before=said["before"].encode(),
        after=said["after"].encode(),
        path=tuple(bytes.fromhex(one) for one in said["path"]),
    )
