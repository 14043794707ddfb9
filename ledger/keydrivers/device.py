# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hardware module or a key service does with a key that it holds and never shows.

A device knows keys by a reference of its own; what a key is called, what it is for and when it was
made is written on a card in the ledger's register (`ledger/keydrivers/register.py`).
"""

from typing import NamedTuple, Protocol

from ledger.keys import Kind


class Made(NamedTuple):
    """A new key inside the device."""

    reference: str  #: How the device finds it again; at most 512 printable characters.
    half: bytes | None  #: The public half of an ed25519 key.


class CipherRefused(Exception):  # noqa: N818 - an answer, not an accident
    """What was to be opened is altered, or belongs to another key or other additional data."""


class Device(Protocol):
    """A keeper of non-extractable keys.

    Every method may raise KeystoreUnreachable, and KeyMissing if the device has no key of that
    reference (any more). No error ever holds key material, nor what the device answered.
    """

    driver: str  #: Its name in attestations.
    note: str  #: What it cannot promise, in one sentence.
    message_max: int | None  #: The longest message that it signs or MACs, in bytes.

    def make(self, name: str, kind: Kind, reference: str) -> Made:
        """Make a random key, durable on return. `reference` is random; it may choose another.

        Safe to repeat after a crash: what was made under `reference` before is thrown away.
        """

    def holds(self, name: str) -> bool:
        """Say if the device has a usable key that was made under this name."""

    def sign(self, reference: str, message: bytes) -> bytes:
        """Sign (Ed25519, RFC 8032): 64 bytes."""

    def mac(self, reference: str, message: bytes) -> bytes:
        """HMAC-SHA256: 32 bytes."""

    def encrypt(self, reference: str, secret: bytes, aad: bytes) -> bytes:
        """Encrypt at most 4,096 bytes, bound to `aad` by an authenticated cipher."""

    def decrypt(self, reference: str, sealed: bytes, aad: bytes) -> bytes:
        """Open what `encrypt` made; raises CipherRefused."""

    def destroy(self, reference: str) -> str:
        """Make the key unusable from now on; safe to repeat, also for one that is gone.

        Returns (RFC 3339, UTC) from when on not even the device's owner can bring it back.
        """
