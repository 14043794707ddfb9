# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ledger asks of whoever keeps its keys; the keys themselves stay there.

    log/<origin>              ed25519   signs the checkpoints of one Book
    log/<origin>+<n>          ed25519   the same, from its n-th key on (rotation)
    chain/<origin>/<epoch>    hmac      MACs every entry and the head row of one epoch
    packet/<origin>           ed25519   signs evidence packs of one tenant (evidence/cap_pack.py)
    packet/<origin>+<n>       ed25519   the same, from its n-th key on (rotation)
    backup/<n>                ed25519   signs the manifests of backups
    (any)                     wrap      encrypts other keys

Log key, chain key, packet key and producers' keys are never the same key. A file, a key management
service or a hardware module can stand behind this protocol; the first is `ledger/keystore.py`.
"""

from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeAlias

from ledger import clock, durable
from ledger.errors import Conflict, IntegrityViolation, Refused, Unavailable

Kind: TypeAlias = Literal["ed25519", "hmac", "wrap"]

KINDS: Final[tuple[str, ...]] = ("ed25519", "hmac", "wrap")


class KeyNameRefused(Refused):
    """A key's name is printable, without spaces, and fits into a file name of 200 bytes."""

    problem = "key-name-refused"


class KeyMisused(Refused):
    """A key does one job only: ed25519 signs, hmac authenticates, wrap encrypts other keys."""

    problem = "key-misused"


class KeyExists(Conflict):
    """A key of this name exists; a key is never replaced, a new one gets a new name."""

    problem = "key-exists"


class KeyDestroyed(Refused):
    """This key was destroyed on purpose and nobody can bring it back."""

    status = 410
    problem = "key-destroyed"


class KeyMissing(Unavailable):
    """The keystore holds no key of this name: another keystore, or `init` was not run."""

    problem = "key-missing"


class KeystoreLocked(Unavailable):
    """The passphrase does not open this keystore."""

    problem = "keystore-locked"


class KeystoreUnsafe(Unavailable):
    """Others than the owner can reach the keystore; it stays shut until that is repaired."""

    problem = "keystore-unsafe"


class KeystoreUnreachable(Unavailable):
    """The keystore cannot be read or written now."""

    problem = "keystore-unreachable"


class KeystoreDamaged(IntegrityViolation):
    """A file of the keystore was altered: it does not decrypt as what its name says."""

    problem = "keystore-damaged"


class WrappedKeyDamaged(IntegrityViolation):
    """A wrapped key was altered, or belongs to another record or another wrapping key."""

    problem = "wrapped-key-damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """What a driver says about one key, for auditors. It is a statement, not a proof."""

    name: str
    kind: Kind
    driver: str  #: "file", or the name of a service or module.
    exportable: bool  #: True if a person with the driver's credentials can copy the key.
    created: str  #: RFC 3339, UTC.
    destroyed: str | None  #: RFC 3339, UTC; None while the key can be used.
    note: str  #: What this driver cannot promise, in one sentence.
    #: RFC 3339, UTC: from when on not even the keeper's owner can bring a destroyed key back. It
    #: may lie ahead (a key service waits for days), and is None while the key can be used.
    gone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditorKey:
    """Escrow to whoever holds the private half of this X25519 key. 32 bytes."""

    public_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EscrowPassphrase:
    """Escrow to whoever knows this passphrase, in a file that leaves the machine."""

    passphrase: bytes = field(repr=False)


Recipient: TypeAlias = AuditorKey | EscrowPassphrase


class Keys(Protocol):
    """Nine things a keeper of keys can do, and three questions.

    Every method may raise KeystoreUnreachable; those that use a key raise KeyMissing, KeyDestroyed
    or KeyMisused. No error ever holds key material.
    """

    def make(self, name: str, kind: Kind) -> None:
        """Make a random key, durable on return. KeyExists if the name was ever used."""

    def evolve(self, name: str, message: bytes, successor: str) -> None:
        """Make the hmac key `successor` := HMAC(`name`, message), durable on return.

        Safe to repeat: if `successor` is already that key, nothing changes. KeyExists if it is
        another. `name` stays until it is destroyed.
        """

    def escrow(self, name: str, recipient: Recipient) -> bytes:
        """Seal a first chain key, `chain/<origin>/0`, to `recipient`: an escrow file's bytes."""

    def sign(self, name: str, message: bytes) -> bytes:
        """Sign with an ed25519 key: 64 bytes."""

    def mac(self, name: str, message: bytes) -> bytes:
        """HMAC-SHA256 with an hmac key: 32 bytes, a few microseconds."""

    def wrap(self, name: str, secret: bytes, aad: bytes) -> bytes:
        """Encrypt `secret`; `aad` names what it belongs to and must be given to open it."""

    def unwrap(self, name: str, wrapped: bytes, aad: bytes) -> bytes:
        """Open what `wrap` made under the same name and aad, or raise WrappedKeyDamaged."""

    def destroy(self, name: str) -> None:
        """Make the key unusable for ever, durable on return; safe to repeat."""

    def attest(self, name: str) -> Attestation:
        """Say what is known about a key, also of a destroyed one."""

    def public_key(self, name: str) -> bytes:
        """Return the public half of an ed25519 key, also of a destroyed one: 32 bytes."""

    def has(self, name: str) -> bool:
        """Whether a key of this name can be used: made, and not destroyed."""

    def names(self) -> list[str]:
        """Return the names of all usable keys, sorted."""


def check_name(name: str) -> None:
    """Return if `name` can name a key, or raise KeyNameRefused."""
    if not name.isprintable() or " " in name:
        raise KeyNameRefused
    try:
        durable.safe_name(name)
    except ValueError:
        raise KeyNameRefused from None


def was_made(keys: Keys, name: str) -> bool:
    """Say if a key of this name was ever made, be it usable or destroyed."""
    try:
        keys.attest(name)
    except KeyMissing:
        return False
    return True


def is_destroyed(keys: Keys, name: str) -> bool:
    """Say if a key of this name was made and destroyed again."""
    try:
        return keys.attest(name).destroyed is not None
    except KeyMissing:
        return False


def is_gone(keys: Keys, name: str, now_ms: int) -> bool:
    """Say if a key was destroyed and by now nobody can bring it back (Attestation.gone)."""
    try:
        gone = keys.attest(name).gone
    except KeyMissing:
        return False
    return gone is not None and clock.parse_time(gone) <= now_ms


def chain_key(origin: str, epoch: int) -> str:
    """Return the name of a Book's chain key in an epoch."""
    return f"chain/{origin}/{epoch}"


def log_key(origin: str, generation: int = 1) -> str:
    """Return the name of the key that signs a Book's checkpoints; a later one after a rotation.

    No origin holds a `+`, so that no two Books can come to share a name.
    """
    return f"log/{origin}" if generation == 1 else f"log/{origin}+{generation}"


def packet_key(origin: str, generation: int = 1) -> str:
    """Return the name of the key that signs a tenant's evidence packs; `origin`: its first one."""
    return f"packet/{origin}" if generation == 1 else f"packet/{origin}+{generation}"


def packet_keys(keys: Keys, origin: str) -> list[str]:
    """Return the names of all keys that ever signed a tenant's evidence packs, oldest first."""
    names: list[str] = []
    while was_made(keys, name := packet_key(origin, len(names) + 1)):
        names.append(name)
    return names


def log_keys(keys: Keys, origin: str) -> list[str]:
    """Return the names of all keys that ever signed for a log, oldest first."""
    names: list[str] = []
    while was_made(keys, name := log_key(origin, len(names) + 1)):
        names.append(name)
    return names


def is_closed(keys: Keys, origin: str) -> bool:
    """Say if nobody can sign for this log any more: it had keys, and all are destroyed."""
    names = log_keys(keys, origin)
    return bool(names) and not any(keys.has(name) for name in names)
