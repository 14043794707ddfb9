# SPDX-License-Identifier: GPL-3.0-or-later
r"""The vault's bytes: what is encrypted under which key, and what is bound to it.

    blob      = AES-256-GCM(DEK, nonce 0, JCS([D, …]), event_id ‖ ref)
    dek       = nonce ‖ AES-256-GCM(subject key, nonce, DEK,
                                    "sealtrail.vault.dek.v1\0" ‖ event_id ‖ ref)
    identity  = nonce ‖ AES-256-GCM(subject key, nonce, UTF-8(person's id),
                                    "sealtrail.vault.identity.v1\0" ‖ ref)
    other     = nonce ‖ AES-256-GCM(subject key, nonce, secret,
                                    "sealtrail.vault.wrap.v1\0" ‖ ref ‖ aad)
    key       = wrap(subjects/<origin>/<g>, subject key [‖ earlier ones, newest first],
                                    "sealtrail.vault.subject.v1\0" ‖ ref)
    index     = mac(index/<origin>/<g>, UTF-8(field) ‖ 0x00 ‖ UTF-8(NFC(value)))

D are the disclosures (sealtrail.verify.disclosure) that belong to one data subject; event_id and
ref are the 16 bytes of a UUID. Nonces are 12 random bytes; a DEK encrypts one blob in its life, so
that blob's nonce is zero and not stored. GCM does not commit to its key, and need not here: what
comes out of a blob counts only if the entry commits to it.
Source: NIST SP 800-38D; RFC 9901 §4.2; Unicode UAX #15 (NFC).
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, TypeAlias
from unicodedata import is_normalized, normalize

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.errors import IntegrityViolation

__all__ = ["AESGCM", "Cipher"]

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
REF_BYTES: Final = 16

#: Random bytes that one sealed blob takes: its key, and the nonce under which that is wrapped.
BLOB_CHANCE: Final = KEY_BYTES + NONCE_BYTES

_DEK: Final = b"sealtrail.vault.dek.v1\0"
_IDENTITY: Final = b"sealtrail.vault.identity.v1\0"
_WRAP: Final = b"sealtrail.vault.wrap.v1\0"
_SUBJECT: Final = b"sealtrail.vault.subject.v1\0"
_ONCE: Final = bytes(NONCE_BYTES)


#: A subject's keys are replaced so often at most; what is wrapped stays below 4,096 bytes.
GENERATIONS_MAX: Final = 64


class SealedValueDamaged(IntegrityViolation):
    """A sealed value was altered, or moved from another event or another person."""

    problem = "sealed-value-damaged"


class SubjectKeys:
    """A data subject's key after it was replaced: the newest encrypts, every earlier one opens."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """keys: 32 bytes each, the newest first."""
        self._ciphers = [AESGCM(key) for key in keys]

    def encrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        return self._ciphers[0].encrypt(nonce, data, aad)

    def decrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        """Open it with whichever key fits; raises InvalidTag if none does."""
        for cipher in self._ciphers:
            with suppress(InvalidTag):
                return cipher.decrypt(nonce, data, aad)
        raise InvalidTag


Cipher: TypeAlias = AESGCM | SubjectKeys


def subject_cipher(secret: bytes) -> Cipher:
    """Return what encrypts and opens for a data subject. secret: as it is wrapped."""
    if len(secret) == KEY_BYTES:
        return AESGCM(secret)
    if not secret or len(secret) % KEY_BYTES:
        raise SealedValueDamaged
    return SubjectKeys([secret[at : at + KEY_BYTES] for at in range(0, len(secret), KEY_BYTES)])


def succeeded(secret: bytes, key: bytes) -> bytes:
    """Put a new key, 32 bytes, before a subject's earlier ones, unless those are too many."""
    return key + secret if len(secret) < GENERATIONS_MAX * KEY_BYTES else secret


def wrapping_key(origin: str, generation: int) -> str:
    """Return the name of the key that wraps the subject keys of one generation."""
    return f"subjects/{origin}/{generation}"


def index_key(origin: str, generation: int) -> str:
    """Return the name of the key of one generation's blind indexes."""
    return f"index/{origin}/{generation}"


def subject_aad(ref: bytes) -> bytes:
    """Return what a wrapped subject key is bound to. ref: 16 bytes."""
    return _SUBJECT + ref


def index_message(field: str, value: str) -> bytes:
    """Return what a blind index is the MAC of."""
    if not is_normalized("NFC", value):
        value = normalize("NFC", value)
    return b"%b\0%b" % (field.encode(), value.encode())


def seal_blob(
    cipher: Cipher, disclosures: Sequence[str], *, event_id: bytes, ref: bytes, chance: bytes
) -> tuple[bytes, bytes]:
    """Return (wrapped DEK: 60 bytes, blob: the list's length + 16) of one subject in one event.

    cipher: of the subject key; chance: BLOB_CHANCE fresh random bytes, used for nothing else.
    """
    secret, nonce = chance[:KEY_BYTES], chance[KEY_BYTES:]
    bound = event_id + ref
    # A disclosure is base64url, so this is the canonical JSON of the list.
    printed = ('["' + '","'.join(disclosures) + '"]').encode()
    blob = AESGCM(secret).encrypt(_ONCE, printed, bound)
    return nonce + cipher.encrypt(nonce, secret, _DEK + bound), blob


def open_blob(
    cipher: Cipher, wrapped_dek: bytes, blob: bytes, *, event_id: bytes, ref: bytes
) -> list[str]:
    """Return the disclosures in a blob; raises SealedValueDamaged for any other bytes."""
    bound = event_id + ref
    try:
        secret = cipher.decrypt(wrapped_dek[:NONCE_BYTES], wrapped_dek[NONCE_BYTES:], _DEK + bound)
        printed = AESGCM(secret).decrypt(_ONCE, blob, bound)
    except (InvalidTag, ValueError):
        raise SealedValueDamaged from None
    found: list[str] = json.loads(printed)  # We printed it: nobody else has the key.
    return found


def seal_identity(cipher: Cipher, person: str, *, ref: bytes, nonce: bytes) -> bytes:
    """Encrypt a person's id under the person's own key, so that it can be indexed anew."""
    return nonce + cipher.encrypt(nonce, person.encode(), _IDENTITY + ref)


def open_identity(cipher: Cipher, sealed: bytes, *, ref: bytes) -> str:
    """Return a person's id; raises SealedValueDamaged."""
    return _open(cipher, sealed, _IDENTITY + ref).decode()


def wrap_other(cipher: Cipher, secret: bytes, *, ref: bytes, aad: bytes, nonce: bytes) -> bytes:
    """Encrypt another key of this subject, such as an artifact's, bound to `aad`."""
    return nonce + cipher.encrypt(nonce, secret, _WRAP + ref + aad)


def unwrap_other(cipher: Cipher, wrapped: bytes, *, ref: bytes, aad: bytes) -> bytes:
    """Return what `wrap_other` encrypted; raises SealedValueDamaged."""
    return _open(cipher, wrapped, _WRAP + ref + aad)


def _open(cipher: Cipher, sealed: bytes, aad: bytes) -> bytes:
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], aad)
    except (InvalidTag, ValueError):
        raise SealedValueDamaged from None
