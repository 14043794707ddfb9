# SPDX-License-Identifier: GPL-3.0-or-later
r"""A bundle: bodies of one run of 256 positions, compressed, sealed under a key of its own.

    plain   = for each member in order of position: u16be(length) ‖ bytes      (C2SP tlog-tiles)
    sealed  = "STB1" ‖ AES-256-GCM(key, nonce 0, zlib(plain),
                                   "sealtrail.bundle.v1\0" ‖ origin ‖ 0x00 ‖ u64be(run) ‖ members)
    name    = hex(SHA-256(sealed))

zlib (RFC 1950) because any machine of the next decades reads it without a library of ours. A key
seals one plain text in its life, so its nonce is zero. What comes out counts only where it hashes
to the leaf that is in the tree: GCM does not commit to its key, and need not here.
Source: NIST SP 800-38D; RFC 1950.
"""

import zlib
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.errors import IntegrityViolation
from ledger.retention import members as bits

KEY_BYTES: Final = 32
ENTRY_MAX: Final = 65_535
_MAGIC: Final = b"STB1"
_AAD: Final = b"sealtrail.bundle.v1\0"
_ONCE: Final = bytes(12)

#: No bundle is larger when it is plain: 256 entries of the largest size that a length can say.
PLAIN_MAX: Final = bits.WIDTH * (ENTRY_MAX + 2)


class BundleDamaged(IntegrityViolation):
    """A bundle of the archive does not hold the entries that its index says."""

    problem = "bundle-damaged"


def wrapping_key(origin: str) -> str:
    """Return the name of the key that wraps the keys of a Book's bundles."""
    return f"cold/{origin}/0"


def join(bodies: Sequence[bytes]) -> bytes:
    """Return the plain bundle of bodies in order of their positions."""
    return b"".join(len(body).to_bytes(2, "big") + body for body in bodies)


def split(plain: bytes) -> list[bytes]:
    """Return the bodies of a plain bundle; BundleDamaged unless it ends where the last one does."""
    bodies, at = [], 0
    while at < len(plain):
        end = at + 2 + int.from_bytes(plain[at : at + 2], "big")
        if end > len(plain) or at + 2 > len(plain):
            raise BundleDamaged
        bodies.append(plain[at + 2 : end])
        at = end
    return bodies


def name_of(sealed: bytes) -> str:
    """Return the name of a sealed bundle in the archive."""
    return sha256(sealed).hexdigest()


def seal(plain: bytes, key: bytes, *, origin: str, number: int, members: bytes) -> bytes:
    """Compress and encrypt a plain bundle. key: 32 random bytes, used for nothing else."""
    compressed = zlib.compress(plain, 9)
    return _MAGIC + AESGCM(key).encrypt(_ONCE, compressed, _aad(origin, number, members))


def unseal(
    sealed: bytes, key: bytes, *, origin: str, number: int, members: bytes
) -> Mapping[int, bytes]:
    """Return the bodies of a sealed bundle by their positions; raises BundleDamaged."""
    try:
        compressed = AESGCM(key).decrypt(
            _ONCE, sealed.removeprefix(_MAGIC), _aad(origin, number, members)
        )
        inflating = zlib.decompressobj()
        plain = inflating.decompress(compressed, PLAIN_MAX)
    except (InvalidTag, zlib.error):
        raise BundleDamaged from None
    if not sealed.startswith(_MAGIC) or not inflating.eof or inflating.unused_data:
        raise BundleDamaged
    bodies, positions = split(plain), bits.unpack(number, members)
    if len(bodies) != len(positions):
        raise BundleDamaged
    return dict(zip(positions, bodies, strict=True))


def _aad(origin: str, number: int, members: bytes) -> bytes:
    return _AAD + origin.encode() + b"\0" + number.to_bytes(8, "big") + members
