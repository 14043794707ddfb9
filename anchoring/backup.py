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

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from anchoring.shelf import Shelf
from ledger import clock, durable
from ledger.database import Connection
from ledger.dump import dump, programs, server_major
from ledger.errors import IntegrityViolation, Refused, Unavailable
from ledger.head import Head, HeadRow
from ledger.keys import Keys, was_made
from ledger.migrate import BookRow, books
from sealtrail.verify import canonical, merkle
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.note import Note, SignatureLine, VerifierKey, check_note

Progress = Callable[[str], None]

SIGNER: Final = "sealtrail-backup"  #: The name under a manifest's note.
_FIRST: Final = "sealtrail backup manifest v1"
_DATABASE: Final = "database"
_MANIFEST: Final = "manifest.json"
_SIGNATURE: Final = "manifest.sig"


class BackupAltered(IntegrityViolation):
    """This is not a backup that this ledger made, or it was altered since."""

    problem = "backup-altered"


class BackupIncomplete(Refused):
    """There is no whole backup in this directory."""

    problem = "backup-incomplete"


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
    files: dict[str, tuple[int, str]]  #: Bytes and SHA-256 (hex) of each file, by relative path.

    @property
    def schemas(self) -> list[str]:
        return [book.schema for book in self.books]

    @property
    def size_bytes(self) -> int:
        return sum(size for size, _ in self.files.values())

    def print(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "made": self.made,
                "server": self.server,
                "programs": self.programs,
                "books": [book.json() for book in self.books],
                "files": {name: list(one) for name, one in self.files.items()},
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "Manifest":
        """Read a manifest whose note was verified: what it says, we have written."""
        said = cast("dict[str, Any]", canonical.decode(data))
        if said["v"] != 1:
            raise BackupIncomplete("this backup was made by a newer version")
        return cls(
            made=said["made"],
            server=said["server"],
            programs=said["programs"],
            books=tuple(_state(one) for one in said["books"]),
            files={name: (one[0], one[1]) for name, one in said["files"].items()},
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
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = _backup_key(keys)
    with durable.locked(directory / ".lock"):
        for left in directory.glob(".*.partial"):
            shutil.rmtree(left)
        made = clock.rfc3339(clock.now_ms())
        target = directory / made.replace(":", "-")
        partial = directory / f".{target.name}.partial"
        partial.mkdir(mode=0o700)
        try:
            manifest = _fill(shelf, owner, owner_url, partial, made=made, jobs=jobs, say=progress)
            durable.write_durably(partial / _MANIFEST, manifest.print(), mode=0o600)
            note = _signed(keys, key, manifest.print())
            durable.write_durably(partial / _SIGNATURE, note, mode=0o600)
            partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        durable.sync_directory(directory)
    return target, manifest


def open_backup(directory: Path, keys: Keys) -> Manifest:
    """Return the manifest of a backup that this ledger signed; its files are not read yet.

    Raises BackupIncomplete, or BackupAltered for a manifest that no backup key of ours signed.
    """
    try:
        data = (directory / _MANIFEST).read_bytes()
        signature = (directory / _SIGNATURE).read_bytes()
    except FileNotFoundError:
        raise BackupIncomplete from None
    trusted = [_verifier(keys, name) for name in _backup_keys(keys)]
    try:
        note = Note.parse(signature)
        check_note(note, trusted)
    except VerifyError as error:
        raise BackupAltered(f"{BackupAltered.__doc__} {error}") from None
    if note.text != _text(data):
        raise BackupAltered("The manifest is not the one that was signed.")
    return Manifest.parse(data)


def check_files(
    directory: Path, manifest: Manifest, progress: Callable[[int, int], None] = lambda *_: None
) -> None:
    """Return if each file is byte for byte what it was, and there is no other; or BackupAltered."""
    if {name for name, _ in _files(directory)} != manifest.files.keys():
        raise BackupAltered("Files are missing or were added since the backup was made.")
    done = 0
    for name, (size, digest) in manifest.files.items():
        if _digest(directory / name) != (size, digest):
            raise BackupAltered(f"The file {name} is not what it was when the backup was made.")
        done += size
        progress(done, manifest.size_bytes)


def database_of(directory: Path) -> Path:
    """Return where the dump of a backup lies."""
    return directory / _DATABASE


def _fill(
    shelf: Shelf,
    owner: Connection,
    owner_url: str,
    partial: Path,
    *,
    made: str,
    jobs: int,
    say: Progress,
) -> Manifest:
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
    say("digests of what was written")
    return Manifest(
        made=made,
        server=server_major(owner),
        programs=using.major,
        books=tuple(states),
        files={name: _digest(path) for name, path in sorted(_files(partial))},
    )


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


def _files(directory: Path) -> Iterator[tuple[str, Path]]:
    """Yield every file of a backup but its manifest; raises BackupAltered for a link among them."""
    for path in directory.rglob("*"):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise BackupAltered("There is something in the backup that is no plain file.")
        name = path.relative_to(directory).as_posix()
        if path.is_file() and name not in (_MANIFEST, _SIGNATURE):
            yield name, path


def _digest(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


def _text(manifest: bytes) -> str:
    return f"{_FIRST}\nsha256:{hashlib.sha256(manifest).hexdigest()}\n{len(manifest)}\n"


def _signed(keys: Keys, name: str, manifest: bytes) -> bytes:
    text, key = _text(manifest), _verifier(keys, name)
    signature = keys.sign(name, text.encode())
    line = SignatureLine(name=key.name, key_id=key.key_id, signature=signature)
    return Note(text=text, signatures=(line,)).print()


def _verifier(keys: Keys, name: str) -> VerifierKey:
    return VerifierKey.ed25519(SIGNER, keys.public_key(name))


def _backup_keys(keys: Keys) -> list[str]:
    """Return the names of all backup keys that were ever made: a new one is backup/<n+1>."""
    found: list[str] = []
    while was_made(keys, name := f"backup/{len(found) + 1}"):
        found.append(name)
    return found


def _backup_key(keys: Keys) -> str:
    """Return the key that signs backups now; make the first."""
    found = _backup_keys(keys)
    if not found:
        keys.make("backup/1", "ed25519")
        return "backup/1"
    return found[-1]
