# SPDX-License-Identifier: GPL-3.0-or-later
r"""The keys of the ledger in a directory that only its owner, with the passphrase, can use.

    keystore.json           scrypt parameters and salt, and a value that tells a wrong passphrase
    <name>.key              one key, AES-256-GCM; name, kind and date are bound to the cipher text
    <name>.destroyed        says when a key was destroyed; its name is never used again. Of a
                            signing key it keeps the public half, for what was signed before
    .lock                   held by whoever is changing something

Every file is canonical JSON, mode 0600, in a directory of mode 0700; a looser mode, another owner
or a symbolic link keeps the keystore shut. Several processes may share one directory.

    KEK ‖ check = scrypt(passphrase, salt, N, r, p)[0:64]           RFC 7914
    cipher text = AES-256-GCM(KEK, nonce, key, "sealtrail.keystore.key.v1\0" ‖ JCS(header))
    public half = AES-256-GCM(KEK, nonce, half, "sealtrail.keystore.half.v1\0" ‖ JCS(name))

KNOWN GAP: destruction is as good as the disk. The key's bytes are overwritten before the file is
removed, but a copy on write file system, a solid-state disk, a snapshot or a backup may keep the
old ones, encrypted under a passphrase that still exists. Considered: a hardware module (a driver
behind the same protocol), or keeping the directory out of backups. SECURITY.md says so.

KNOWN GAP: a key in use lies decrypted in this process's memory, and Python cannot wipe it. Another
process that had loaded a key can use it until it calls `destroy` too, or ends.
"""

import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Final, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger import clock, durable, escrow, keyfile
from ledger.keyfile import read_passphrase
from ledger.keys import (
    KINDS,
    Attestation,
    KeyDestroyed,
    KeyExists,
    KeyMissing,
    KeyMisused,
    KeystoreDamaged,
    KeystoreLocked,
    Kind,
    Recipient,
    WrappedKeyDamaged,
    check_name,
)
from sealtrail.verify import canonical, ed25519

__all__ = ["FileKeystore", "read_passphrase"]

DRIVER: Final = "file"
NOTE: Final = "An encrypted file: backups, snapshots and flash disks may keep a destroyed one."

_SEALED: Final = b"sealtrail.keystore.key.v1\0"
_HALF: Final = b"sealtrail.keystore.half.v1\0"
_WRAPPED: Final = b"sealtrail.keystore.wrap.v1\0"
_NONCE: Final = 12
_PATHS_MAX: Final = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    """A decrypted key, ready for its one job."""

    kind: Kind
    created: str
    secret: bytes = field(repr=False)
    tool: Ed25519PrivateKey | AESGCM | None = field(repr=False)  #: ed25519, wrap, or neither


class FileKeystore:
    """`ledger.keys.Keys` in a directory. Opening costs about 0.1 s, for the passphrase."""

    def __init__(self, directory: Path, passphrase: bytes) -> None:
        """Open the keystore; make one if `directory` is missing or empty.

        Raises KeystoreLocked for another passphrase, KeystoreUnsafe for loose modes.
        """
        if not passphrase:
            raise KeystoreLocked("The passphrase of the keystore is empty.")
        self._directory = directory
        self._lock_file = directory / ".lock"
        self._guard = RLock()  # what one thread destroys, no other may load meanwhile
        self._loaded: dict[str, _Key] = {}
        self._paths: dict[tuple[str, str], Path] = {}  # Each commit asks for the same few.
        with keyfile.reaching():
            if not directory.is_symlink():
                directory.parent.mkdir(parents=True, exist_ok=True)
                directory.mkdir(mode=0o700, exist_ok=True)
        keyfile.check_directory(directory)
        with self._changing():
            self._kek = AESGCM(self._open(passphrase))
            for tombstone in directory.glob("*.destroyed"):
                durable.erase(tombstone.with_suffix(".key"))  # destruction that a crash interrupted

    def make(self, name: str, kind: Kind) -> None:
        """Make a random key, durable on return."""
        check_name(name)
        if kind not in KINDS:
            raise KeyMisused
        with self._changing():
            if self._path(name, "key").exists() or self._path(name, "destroyed").exists():
                raise KeyExists(key=name)
            self._store(name, kind, clock.random_bytes(32))

    def evolve(self, name: str, message: bytes, successor: str) -> None:
        """Make `successor` := HMAC(`name`, message), durable on return; safe to repeat."""
        check_name(successor)
        secret = self.mac(name, message)
        with self._changing():
            if self._path(successor, "destroyed").exists():
                raise KeyDestroyed(key=successor)
            if not self._path(successor, "key").exists():
                self._store(successor, "hmac", secret)
                return
            present = self._key(successor, "hmac")
            if not hmac.compare_digest(present.secret, secret):
                raise KeyExists(key=successor)
            durable.sync_directory(self._directory)  # whoever wrote it may have died before this

    def escrow(self, name: str, recipient: Recipient) -> bytes:
        """Seal the first chain key of a Book to `recipient`."""
        if not escrow.is_first_key(name):
            raise KeyMisused("Only a Book's first chain key, chain/<origin>/0, is escrowed.")
        return escrow.seal_first_key(name, self._key(name, "hmac").secret, recipient)

    def sign(self, name: str, message: bytes) -> bytes:
        """Sign with an ed25519 key: 64 bytes."""
        return self._signer(name).sign(message)

    def mac(self, name: str, message: bytes) -> bytes:
        """HMAC-SHA256 with an hmac key: 32 bytes."""
        key = self._loaded.get(name)  # written out: this runs twice for every entry
        if key is None or key.kind != "hmac":
            key = self._key(name, "hmac")
        return hmac.digest(key.secret, message, "sha256")

    def wrap(self, name: str, secret: bytes, aad: bytes) -> bytes:
        """Encrypt `secret` under a wrap key: 12 bytes of nonce, cipher text, 16 bytes of tag."""
        nonce = clock.random_bytes(_NONCE)
        return nonce + self._cipher(name).encrypt(nonce, secret, _wrap_aad(name, aad))

    def unwrap(self, name: str, wrapped: bytes, aad: bytes) -> bytes:
        """Open what `wrap` made under the same name and aad, or raise WrappedKeyDamaged."""
        cipher = self._cipher(name)
        try:
            return cipher.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], _wrap_aad(name, aad))
        except (InvalidTag, ValueError):
            raise WrappedKeyDamaged(key=name) from None

    def destroy(self, name: str) -> None:
        """Overwrite and remove the key; from then on its name answers KeyDestroyed."""
        check_name(name)
        with self._changing():
            self._loaded.pop(name, None)
            tombstone = self._path(name, "destroyed")
            if not tombstone.exists():
                header = self._header(name)
                destroyed = clock.rfc3339(clock.now_ms())
                half = self._half(name) if header["kind"] == "ed25519" else {}
                # First the mark, then the key: a crash between them is finished at the next start.
                self._write(tombstone, {**header, "destroyed": destroyed, **half})
            durable.erase(self._path(name, "key"))

    def attest(self, name: str) -> Attestation:
        """Say what is known about a key, also of a destroyed one."""
        check_name(name)
        with self._guard, keyfile.reaching():
            header = self._buried(name)
            header = self._header(name) if header is None else header
        return Attestation(
            name=name,
            kind=cast("Kind", header["kind"]),
            driver=DRIVER,
            exportable=True,
            created=str(header["created"]),
            destroyed=str(header["destroyed"]) if "destroyed" in header else None,
            gone=str(header["destroyed"]) if "destroyed" in header else None,
            note=NOTE,
        )

    def public_key(self, name: str) -> bytes:
        """Return the public half of an ed25519 key, also of a destroyed one: 32 bytes."""
        try:
            return self._signer(name).public_key().public_bytes_raw()
        except KeyDestroyed:
            with self._guard, keyfile.reaching():
                content = self._buried(name)
            if content is None or "half" not in content:
                raise
            return self._opened_half(name, keyfile.unhex(content["half"]))

    def has(self, name: str) -> bool:
        """Whether a key of this name can be used."""
        return self._path(name, "key").exists() and not self._path(name, "destroyed").exists()

    def names(self) -> list[str]:
        """Return the names of all usable keys, sorted."""
        with keyfile.reaching():
            spelled = [path.stem for path in self._directory.glob("*.key")]
        found = (durable.name_of(stem) for stem in spelled)
        return sorted(name for name in found if name is not None and self.has(name))

    # What follows is how a key gets in and out of its file.

    def _key(self, name: str, kind: Kind) -> _Key:
        """Return a key for the job of `kind`, from memory or from its file."""
        key = self._loaded.get(name)
        if key is None:
            check_name(name)
            with self._guard, keyfile.reaching():
                if self._path(name, "destroyed").exists():
                    raise KeyDestroyed(key=name)
                key = self._loaded[name] = self._load(name)
        if key.kind != kind:
            raise KeyMisused(f"This key has kind {key.kind}, not {kind}.", key=name)
        return key

    def _signer(self, name: str) -> Ed25519PrivateKey:
        return cast("Ed25519PrivateKey", self._key(name, "ed25519").tool)

    def _cipher(self, name: str) -> AESGCM:
        return cast("AESGCM", self._key(name, "wrap").tool)

    def _load(self, name: str) -> _Key:
        content = self._content(name)
        header = {member: content[member] for member in ("v", "name", "kind", "created")}
        try:
            secret = self._kek.decrypt(
                keyfile.unhex(content["nonce"]),
                keyfile.unhex(content["sealed"]),
                _SEALED + canonical.encode(header),
            )
        except (InvalidTag, ValueError):
            raise KeystoreDamaged(key=name) from None
        return _ready(cast("Kind", content["kind"]), str(content["created"]), secret)

    def _store(self, name: str, kind: Kind, secret: bytes) -> None:
        created = clock.rfc3339(clock.now_ms())
        key = _ready(kind, created, secret)
        if isinstance(key.tool, Ed25519PrivateKey):
            # A key that any verifier would refuse must never sign a first checkpoint.
            ed25519.check_public_key(key.tool.public_key().public_bytes_raw())
        header: dict[str, canonical.JSON] = {
            "v": 1,
            "name": name,
            "kind": kind,
            "created": created,
        }
        nonce = clock.random_bytes(_NONCE)
        sealed = self._kek.encrypt(nonce, secret, _SEALED + canonical.encode(header))
        self._write(
            self._path(name, "key"), {**header, "nonce": nonce.hex(), "sealed": sealed.hex()}
        )
        self._loaded[name] = key

    def _header(self, name: str) -> dict[str, canonical.JSON]:
        """Return what a key's file says in clear, once the cipher text has confirmed it."""
        with self._guard:
            key = self._load(name)
        return {"v": 1, "name": name, "kind": key.kind, "created": key.created}

    def _content(self, name: str) -> dict[str, canonical.JSON]:
        try:
            content = keyfile.read_file(self._path(name, "key"))
        except FileNotFoundError:
            raise KeyMissing(key=name) from None
        members = {"v", "name", "kind", "created", "nonce", "sealed"}
        fits = content.keys() == members and content["v"] == 1 and content["kind"] in KINDS
        if not fits or content["name"] != name:
            raise KeystoreDamaged(key=name)
        return content

    def _buried(self, name: str) -> dict[str, canonical.JSON] | None:
        """Return what the tombstone of a destroyed key says; None if it was not destroyed."""
        try:
            content = keyfile.read_file(self._path(name, "destroyed"))
        except FileNotFoundError:
            return None
        members = {"v", "name", "kind", "created", "destroyed"}
        fits = content.keys() - {"half"} == members and content["v"] == 1
        fits = fits and content["kind"] in KINDS
        if not fits or content["name"] != name:
            raise KeystoreDamaged(key=name)
        return content

    def _half(self, name: str) -> dict[str, canonical.JSON]:
        """Return what a tombstone keeps of a signing key: its public half, bound to its name."""
        nonce = clock.random_bytes(_NONCE)
        tool = cast("Ed25519PrivateKey", self._load(name).tool)
        half = tool.public_key().public_bytes_raw()
        sealed = self._kek.encrypt(nonce, half, _HALF + canonical.encode(name))
        return {"half": (nonce + sealed).hex()}

    def _opened_half(self, name: str, sealed: bytes) -> bytes:
        try:
            return self._kek.decrypt(
                sealed[:_NONCE], sealed[_NONCE:], _HALF + canonical.encode(name)
            )
        except (InvalidTag, ValueError):
            raise KeystoreDamaged(key=name) from None

    def _open(self, passphrase: bytes) -> bytes:
        """Return the key-encryption key, or raise KeystoreLocked."""
        path = self._directory / "keystore.json"
        try:
            content = keyfile.read_file(path)
        except FileNotFoundError:
            if any(not path.name.startswith(".") for path in self._directory.iterdir()):
                raise KeystoreDamaged("There are files, but no keystore.json.") from None
            content = keyfile.new_parameters()
            kek, check = keyfile.derive(passphrase, content)
            self._write(path, {**content, "check": check.hex()})
            return kek
        if content.keys() != {"v", "kdf", "n", "r", "p", "salt", "check"}:
            raise KeystoreDamaged
        kek, check = keyfile.derive(passphrase, content)
        if not hmac.compare_digest(check, keyfile.unhex(content["check"])):
            raise KeystoreLocked
        return kek

    def _write(self, path: Path, content: dict[str, canonical.JSON]) -> None:
        durable.write_durably(path, canonical.encode(content), mode=0o600)

    def _path(self, name: str, suffix: str) -> Path:
        path = self._paths.get((name, suffix))
        if path is None:
            check_name(name)
            path = self._directory / f"{durable.safe_name(name)}.{suffix}"
            if len(self._paths) < _PATHS_MAX:
                self._paths[name, suffix] = path
        return path

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._guard, keyfile.reaching(), durable.locked(self._lock_file):
            yield


def _ready(kind: Kind, created: str, secret: bytes) -> _Key:
    tool: Ed25519PrivateKey | AESGCM | None = None
    if kind == "ed25519":
        tool = Ed25519PrivateKey.from_private_bytes(secret)
    elif kind == "wrap":
        tool = AESGCM(secret)
    return _Key(kind=kind, created=created, secret=secret, tool=tool)


def _wrap_aad(name: str, aad: bytes) -> bytes:
    return _WRAPPED + name.encode() + b"\0" + aad
