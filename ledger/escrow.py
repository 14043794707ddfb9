# SPDX-License-Identifier: GPL-3.0-or-later
r"""The first chain key of a Book, sealed for the auditor: with it every MAC can be checked later.

Day after day the ledger destroys the key it used; from K_0 every later one follows, so one small
file that leaves the machine lets its holder check the whole chain, and forge none of the tree.

    {"v":1,"origin":…,"epoch":0,"kind":"hpke","recipient":sha256 of the public key,"sealed":hex}
    {"v":1,"origin":…,"epoch":0,"kind":"passphrase","n":…,"r":8,"p":1,"salt":hex,"sealed":hex}

Canonical JSON and a newline. `info` or `aad` is "sealtrail.escrow.v1\0" ‖ JCS(all but `sealed`).
hpke: RFC 9180 base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM; sealed = enc ‖ ct.
passphrase: AES-256-GCM under scrypt (RFC 7914); sealed = nonce ‖ ct.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger import clock
from ledger.errors import Refused
from ledger.keys import AuditorKey, Recipient
from sealtrail.verify import canonical
from sealtrail.verify.errors import VerifyError

EscrowKind: TypeAlias = Literal["hpke", "passphrase"]

#: scrypt: 128 MiB and half a second for each guess, for a file that may lie anywhere.
_N: Final = 2**17
_N_MAX: Final = 2**20
_R: Final = 8
_P: Final = 1

_DOMAIN: Final = b"sealtrail.escrow.v1\0"
_FIRST: Final = re.compile(r"chain/(.+)/0")
_NONCE: Final = 12
_KEY: Final = 32
_MEMBERS: Final = {
    "hpke": {"v", "origin", "epoch", "kind", "recipient", "sealed"},
    "passphrase": {"v", "origin", "epoch", "kind", "n", "r", "p", "salt", "sealed"},
}


class EscrowRefused(Refused):
    """The escrow file does not open: another key, another passphrase, another Book, or altered."""

    problem = "escrow-refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class EscrowFile:
    """What an escrow file says in clear."""

    origin: str  #: The Book whose first chain key is inside.
    kind: EscrowKind
    header: dict[str, canonical.JSON]
    sealed: bytes

    @classmethod
    def parse(cls, data: bytes) -> "EscrowFile":
        """Read an escrow file as we write it and nothing else; EscrowRefused otherwise."""
        try:
            content = canonical.decode(data.removesuffix(b"\n"))
        except VerifyError as error:
            raise EscrowRefused("This is not an escrow file.") from error
        if not isinstance(content, dict):
            raise EscrowRefused("This is not an escrow file.")
        kind, origin, sealed = content.get("kind"), content.get("origin"), content.get("sealed")
        members = _MEMBERS.get(kind) if isinstance(kind, str) else None
        # `True == 1` and `False == 0` in Python: the type is part of the rule.
        version = [(type(content.get(member)), content.get(member)) for member in ("v", "epoch")]
        if content.keys() != members or version != [(int, 1), (int, 0)]:
            raise EscrowRefused("This escrow file has another form than this program reads.")
        if not isinstance(origin, str) or not origin:
            raise EscrowRefused("This escrow file names no Book.")
        del content["sealed"]
        file = cls(
            origin=origin, kind=cast("EscrowKind", kind), header=content, sealed=_unhex(sealed)
        )
        if file.print() != data:
            raise EscrowRefused("This escrow file is not written in its one spelling.")
        return file

    def print(self) -> bytes:
        return canonical.encode({**self.header, "sealed": self.sealed.hex()}) + b"\n"


def is_first_key(name: str) -> bool:
    """Say if this is the name of a Book's first chain key, the only one that is escrowed."""
    return _FIRST.fullmatch(name) is not None


def seal_first_key(name: str, secret: bytes, recipient: Recipient) -> bytes:
    """Seal the first chain key of a Book, chain/<origin>/0, to whoever is named."""
    found = _FIRST.fullmatch(name)
    if found is None:
        raise ValueError("only a Book's first chain key is escrowed")
    if isinstance(recipient, AuditorKey):
        return seal_to_public_key(origin=found[1], secret=secret, public_key=recipient.public_key)
    return seal_to_passphrase(origin=found[1], secret=secret, passphrase=recipient.passphrase)


def seal_to_public_key(*, origin: str, secret: bytes, public_key: bytes) -> bytes:
    """Seal a Book's first chain key to an auditor's X25519 public key (32 bytes)."""
    header: dict[str, canonical.JSON] = {
        "v": 1,
        "origin": origin,
        "epoch": 0,
        "kind": "hpke",
        "recipient": hashlib.sha256(public_key).hexdigest(),
    }
    try:
        recipient = X25519PublicKey.from_public_bytes(public_key)
        sealed = _suite().encrypt(secret, recipient, info=_bound(header))
    except ValueError as error:  # wrong length, or a point that makes every shared secret zero
        raise EscrowRefused("The auditor's key is not a usable X25519 public key.") from error
    return EscrowFile(origin=origin, kind="hpke", header=header, sealed=sealed).print()


def open_with_private_key(data: bytes, *, origin: str, private_key: bytes) -> bytes:
    """Return the first chain key of Book `origin`: 32 bytes. EscrowRefused if it does not open."""
    file = _expect(data, origin, "hpke")
    try:
        recipient = X25519PrivateKey.from_private_bytes(private_key)
        return _checked(_suite().decrypt(file.sealed, recipient, info=_bound(file.header)))
    except (InvalidTag, ValueError):
        raise EscrowRefused from None


def seal_to_passphrase(*, origin: str, secret: bytes, passphrase: bytes) -> bytes:
    """Seal a Book's first chain key to a passphrase. Costs half a second and 128 MiB."""
    if not passphrase:
        raise EscrowRefused("The passphrase of the escrow file is empty.")
    salt = clock.random_bytes(32)
    header: dict[str, canonical.JSON] = {
        "v": 1,
        "origin": origin,
        "epoch": 0,
        "kind": "passphrase",
        "n": _N,
        "r": _R,
        "p": _P,
        "salt": salt.hex(),
    }
    nonce = clock.random_bytes(_NONCE)
    sealed = nonce + _cipher(passphrase, salt, _N).encrypt(nonce, secret, _bound(header))
    return EscrowFile(origin=origin, kind="passphrase", header=header, sealed=sealed).print()


def open_with_passphrase(data: bytes, *, origin: str, passphrase: bytes) -> bytes:
    """Return the first chain key of Book `origin`: 32 bytes. EscrowRefused if it does not open."""
    file = _expect(data, origin, "passphrase")
    n, salt = file.header["n"], _unhex(file.header["salt"])
    known = (file.header["r"], file.header["p"]) == (_R, _P)
    # A file from outside must not choose how much memory we spend.
    if not known or type(n) is not int or not 2**14 <= n <= _N_MAX or n.bit_count() != 1:
        raise EscrowRefused("This escrow file asks for a derivation that this program refuses.")
    nonce, sealed = file.sealed[:_NONCE], file.sealed[_NONCE:]
    try:
        return _checked(_cipher(passphrase, salt, n).decrypt(nonce, sealed, _bound(file.header)))
    except (InvalidTag, ValueError):
        raise EscrowRefused from None


def _suite() -> hpke.Suite:
    return hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def _cipher(passphrase: bytes, salt: bytes, n: int) -> AESGCM:
    return AESGCM(
        hashlib.scrypt(passphrase, salt=salt, n=n, r=_R, p=_P, maxmem=256 * n * _R, dklen=_KEY)
    )


def _bound(header: dict[str, canonical.JSON]) -> bytes:
    """Return what the cipher text is bound to, so that no member can be exchanged."""
    return _DOMAIN + canonical.encode(header)


def _expect(data: bytes, origin: str, kind: EscrowKind) -> EscrowFile:
    file = EscrowFile.parse(data)
    if file.origin != origin:
        raise EscrowRefused("This escrow file belongs to another Book.")
    if file.kind != kind:
        raise EscrowRefused(f"This escrow file opens with another secret: it has kind {file.kind}.")
    return file


def _checked(secret: bytes) -> bytes:
    if len(secret) != _KEY:
        raise EscrowRefused("What was escrowed is not a chain key.")
    return secret


def _unhex(value: canonical.JSON) -> bytes:
    """Read lower-case hexadecimal and nothing else."""
    if isinstance(value, str) and re.fullmatch(r"([0-9a-f]{2})+", value):
        return bytes.fromhex(value)
    raise EscrowRefused("This is not an escrow file.")
