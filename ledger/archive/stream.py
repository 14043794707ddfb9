# SPDX-License-Identifier: GPL-3.0-or-later
r"""Content of any length, encrypted piece by piece, so that nothing is believed before it is whole.

    key_x    = HMAC(key, "sealtrail.artifact.<x>.v1\0")          key: 32 bytes of one artifact
    piece_i  = AES-256-GCM(key_content, u88be(i) ‖ last, 64 KiB of content, aad)
    last     = 0x01 for the last piece, which may be shorter and is empty only if all is; else 0x00
    facts    = nonce ‖ AES-256-GCM(key_<x>, nonce, facts, aad)

This is STREAM (Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption and its
Nonce-Reuse Misuse-Resistance", CRYPTO 2015, §7), laid out as the payload of C2SP age is. Pieces
cannot be dropped, repeated or put in another order, and a cut end is seen. A key encrypts one
content in its life. GCM does not commit to its key, and need not here: what comes out counts only
if it has the digest that the ledger's entry holds.
"""

import hmac
from collections.abc import Iterable, Iterator
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger import clock
from ledger.errors import IntegrityViolation

KEY_BYTES: Final = 32
PIECE_BYTES: Final = 65_536
TAG_BYTES: Final = 16

_AAD: Final = b"sealtrail.artifact.v1\0"
_NONCE: Final = 12
_SEALED: Final = PIECE_BYTES + TAG_BYTES


class ContentDamaged(IntegrityViolation):
    """Sealed content was altered, cut or belongs to another artifact."""

    problem = "content-damaged"


def new_key() -> bytes:
    return clock.random_bytes(KEY_BYTES)


def sealed_size(size: int) -> int:
    """Return how many bytes `seal` makes of so many."""
    return size + TAG_BYTES * max(1, -(-size // PIECE_BYTES))


def content_size(sealed: int) -> int:
    """Undo `sealed_size`; raises ContentDamaged for a length that it never returns."""
    count = -(-sealed // _SEALED)
    size = sealed - count * TAG_BYTES
    if size < 0 or sealed_size(size) != sealed:
        raise ContentDamaged
    return size


def seal(key: bytes, content: Iterable[bytes], *, aad: bytes) -> Iterator[bytes]:
    """Encrypt content, in pieces of 64 KiB; the same key and content give the same bytes.

    key: for this content alone; aad: what it belongs to, and is given again to open it.
    """
    cipher = AESGCM(_derived(key, b"content"))
    waiting, number = bytearray(), 0
    for chunk in content:
        waiting += chunk
        while len(waiting) > PIECE_BYTES:  # A full piece may be the last one: it waits.
            piece = bytes(waiting[:PIECE_BYTES])
            del waiting[:PIECE_BYTES]
            yield cipher.encrypt(_nonce(number, last=False), piece, _AAD + aad)
            number += 1
    yield cipher.encrypt(_nonce(number, last=True), bytes(waiting), _AAD + aad)


def unseal(key: bytes, sealed: Iterable[bytes], *, aad: bytes) -> Iterator[bytes]:
    """Decrypt what `seal` made; raises ContentDamaged at the piece that is wrong.

    Whoever reads to the end has read all of it; a reader that stops early has read a beginning.
    """
    cipher = AESGCM(_derived(key, b"content"))
    waiting, number = bytearray(), 0
    try:
        for chunk in sealed:
            waiting += chunk
            while len(waiting) > _SEALED:
                piece = bytes(waiting[:_SEALED])
                del waiting[:_SEALED]
                yield cipher.decrypt(_nonce(number, last=False), piece, _AAD + aad)
                number += 1
        piece = cipher.decrypt(_nonce(number, last=True), bytes(waiting), _AAD + aad)
    except (InvalidTag, ValueError):
        raise ContentDamaged from None
    if not piece and number:
        raise ContentDamaged  # Only empty content ends in an empty piece.
    if piece:
        yield piece


def seal_facts(key: bytes, what: str, facts: bytes, *, aad: bytes) -> bytes:
    """Encrypt something small that belongs to an artifact; each `what` has a key of its own."""
    nonce = clock.random_bytes(_NONCE)
    return nonce + AESGCM(_derived(key, what.encode())).encrypt(nonce, facts, _AAD + aad)


def unseal_facts(key: bytes, what: str, sealed: bytes, *, aad: bytes) -> bytes:
    """Return what `seal_facts` encrypted; raises ContentDamaged."""
    cipher = AESGCM(_derived(key, what.encode()))
    try:
        return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], _AAD + aad)
    except (InvalidTag, ValueError):
        raise ContentDamaged from None


def _derived(key: bytes, what: bytes) -> bytes:
    return hmac.digest(key, b"sealtrail.artifact.%b.v1\0" % what, "sha256")


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(_NONCE - 1, "big") + (b"\1" if last else b"\0")
