# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory of files that this ledger has signed: nothing can be altered, added or taken away.

    manifest.json    canonical JSON: what the directory is about, and each file's size and SHA-256
    manifest.sig     signed note (C2SP) over three lines:
                         sealtrail backup manifest v1
                         sha256:<64 hex digits>        of manifest.json
                         <its length in bytes>

The key, backup/<n>, is in the keystore and signs nothing else. A manifest is read only once its
note was verified, and no other file before its digest was.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from ledger import durable
from ledger.errors import IntegrityViolation, Refused
from ledger.keys import Keys, was_made
from sealtrail.verify import canonical
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.note import Note, SignatureLine, VerifierKey, check_note

SIGNER: Final = "sealtrail-backup"  #: The name under a manifest's note.
_FIRST: Final = "sealtrail backup manifest v1"
_MANIFEST: Final = "manifest.json"
_SIGNATURE: Final = "manifest.sig"


class BackupAltered(IntegrityViolation):
    """This is not a backup that this ledger made, or it was altered since."""

    problem = "backup-altered"


class BackupIncomplete(Refused):
    """There is no whole backup in this directory."""

    problem = "backup-incomplete"


class Signed(NamedTuple):
    """What stands in a verified manifest."""

    about: dict[str, Any]
    files: dict[str, tuple[int, str]]  #: Bytes and SHA-256 (hex) of each file, by relative path.

    @property
    def size_bytes(self) -> int:
        return sum(size for size, _ in self.files.values())


def sign_files(directory: Path, keys: Keys, about: Mapping[str, Any]) -> Signed:
    """Write manifest and note over every file that is in `directory` now; durable on return."""
    files = {name: _digest(path) for name, path in sorted(_files(directory))}
    listed = {name: list(one) for name, one in files.items()}
    manifest = canonical.encode({"v": 1, "about": dict(about), "files": cast("Any", listed)})
    durable.write_durably(directory / _MANIFEST, manifest, mode=0o600)
    text, name = _text(manifest), _newest_key(keys)
    key = _verifier(keys, name)
    line = SignatureLine(name=key.name, key_id=key.key_id, signature=keys.sign(name, text.encode()))
    note = Note(text=text, signatures=(line,)).print()
    durable.write_durably(directory / _SIGNATURE, note, mode=0o600)
    return Signed(dict(about), files)


def open_signed(directory: Path, keys: Keys) -> Signed:
    """Return what the manifest says; no other file is read yet.

    Raises BackupIncomplete, or BackupAltered for a manifest that no backup key of ours signed.
    """
    try:
        data = (directory / _MANIFEST).read_bytes()
        signature = (directory / _SIGNATURE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise BackupIncomplete from None
    try:
        note = Note.parse(signature)
        check_note(note, [_verifier(keys, name) for name in _names(keys)])
    except VerifyError as error:
        raise BackupAltered(f"{BackupAltered.__doc__} {error}") from None
    if note.text != _text(data):
        raise BackupAltered("The manifest is not the one that was signed.")
    said = cast("dict[str, Any]", canonical.decode(data))
    if said["v"] != 1:
        raise BackupIncomplete("this backup was made by a newer version")
    return Signed(said["about"], {name: (one[0], one[1]) for name, one in said["files"].items()})


def check_files(
    directory: Path, signed: Signed, progress: Callable[[int, int], None] = lambda *_: None
) -> None:
    """Return if each file is byte for byte what it was, and there is no other; or BackupAltered."""
    if {name for name, _ in _files(directory)} != signed.files.keys():
        raise BackupAltered("Files are missing or were added since the backup was made.")
    done = 0
    for name, (size, digest) in signed.files.items():
        if _digest(directory / name) != (size, digest):
            raise BackupAltered(f"The file {name} is not what it was when the backup was made.")
        done += size
        progress(done, signed.size_bytes)


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


def _verifier(keys: Keys, name: str) -> VerifierKey:
    return VerifierKey.ed25519(SIGNER, keys.public_key(name))


def _names(keys: Keys) -> list[str]:
    """Return the names of all backup keys that were ever made: a new one is backup/<n+1>."""
    found: list[str] = []
    while was_made(keys, name := f"backup/{len(found) + 1}"):
        found.append(name)
    return found


def _newest_key(keys: Keys) -> str:
    """Return the key that signs backups now; make the first."""
    found = _names(keys)
    if not found:
        keys.make("backup/1", "ed25519")
        return "backup/1"
    return found[-1]
