# SPDX-License-Identifier: GPL-3.0-or-later
r"""`ledger.keys.Keys` over a device that holds the keys and never shows them.

    log, packet     sign     inside the device
    index, links    mac      inside the device
    subjects        wrap     inside the device
    chain/<o>/<e>   mac      outside: neither PKCS#11 nor a key service can make a key out of an
                             HMAC and keep it, and no entry can wait for a round trip. Each chain
                             key is stored encrypted under a key of its own inside the device;
                             destroying that one destroys every copy of it, those in backups, too.

    sealed chain key = device.encrypt(key of its own, K_e, "sealtrail.chain.held.v1\0" ‖ name)

KNOWN GAP: the chain keys in use lie in this process's memory, as with every driver.

KNOWN GAP: whoever can write to the register and deletes the card of a destroyed key makes its name
free again. No key comes back by that, and a signing key's name is refused by the module as long as
its public half is there. Considered: cards inside the device, of which many have little room.
"""

import hmac
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from typing import Final

from ledger import clock, escrow
from ledger.keydrivers.device import CipherRefused, Device
from ledger.keydrivers.register import Card, Register
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
from sealtrail.verify import ed25519

CHAIN: Final = "chain/"
CHAIN_NOTE: Final = "Kept outside, encrypted under a key of its own in the device; in memory in use"

_REGISTER: Final = "register"
_PROBE: Final = b"sealtrail.register.v1\0"
_CHAIN: Final = b"sealtrail.chain.held.v1\0"
_WRAPPED: Final = b"sealtrail.keystore.wrap.v1\0"


class HeldKeystore:
    """A keeper of keys whose secrets are in a device and whose cards are in a directory."""

    def __init__(self, directory: Path, device: Device) -> None:
        """Open the register; make one if `directory` is missing or empty.

        Raises KeystoreLocked if the device is another than the one the register was made with.
        """
        self._device = device
        self._register = Register(directory)
        self._guard = RLock()
        self._cards: dict[str, Card] = {}
        self._chains: dict[str, bytes] = {}  # Chain keys in clear.
        with self._register.changing():
            root = self._register.root(device.driver)
            if root is None:
                # A name of its own: other ledgers may share the account or the token.
                own = clock.random_bytes(16).hex()
                root = device.make(f"{_REGISTER}/{own}", "hmac", own).reference
                self._register.found(device.driver, root)
            self._believe(root)
            self._finish_destructions()

    def make(self, name: str, kind: Kind) -> None:
        """Make a random key inside the device, durable on return."""
        check_name(name)
        if kind not in KINDS or name.startswith(f"{_REGISTER}/"):
            raise KeyMisused
        with self._register.changing():
            if self._used(name):
                raise KeyExists(key=name)
            if kind == "hmac" and name.startswith(CHAIN):
                self._store_chain(name, clock.random_bytes(32))
            else:
                self._make(name, kind)

    def evolve(self, name: str, message: bytes, successor: str) -> None:
        """Make the chain key `successor` := HMAC(`name`, message); safe to repeat."""
        check_name(successor)
        if not (name.startswith(CHAIN) and successor.startswith(CHAIN)):
            raise KeyMisused("Only chain keys evolve.", key=name)
        secret = self.mac(name, message)
        with self._register.changing():
            if self._register.has(successor, "destroyed"):
                raise KeyDestroyed(key=successor)
            if not self._register.has(successor, "key"):
                self._store_chain(successor, secret)
                return
            if not hmac.compare_digest(self._chain(successor), secret):
                raise KeyExists(key=successor)
            self._register.sync()  # Whoever wrote it may have died before this.

    def escrow(self, name: str, recipient: Recipient) -> bytes:
        """Seal the first chain key of a Book to `recipient`."""
        if not escrow.is_first_key(name):
            raise KeyMisused("Only a Book's first chain key, chain/<origin>/0, is escrowed.")
        return escrow.seal_first_key(name, self._chain(name), recipient)

    def sign(self, name: str, message: bytes) -> bytes:
        """Sign with an ed25519 key inside the device: 64 bytes."""
        card = self._card(name, "ed25519")
        self._check_length(message)
        return self._asked(card, lambda: self._device.sign(card.reference, message))

    def mac(self, name: str, message: bytes) -> bytes:
        """HMAC-SHA256: of a chain key here, in microseconds, of any other inside the device."""
        secret = self._chains.get(name)
        if secret is None and name.startswith(CHAIN):
            secret = self._chain(name)
        if secret is not None:
            return hmac.digest(secret, message, "sha256")
        card = self._card(name, "hmac")
        self._check_length(message)
        return self._asked(card, lambda: self._device.mac(card.reference, message))

    def wrap(self, name: str, secret: bytes, aad: bytes) -> bytes:
        """Encrypt `secret` inside the device."""
        card = self._card(name, "wrap")
        bound = _wrap_aad(name, aad)
        return self._asked(card, lambda: self._device.encrypt(card.reference, secret, bound))

    def unwrap(self, name: str, wrapped: bytes, aad: bytes) -> bytes:
        """Open what `wrap` made under the same name and aad, or raise WrappedKeyDamaged."""
        card = self._card(name, "wrap")
        bound = _wrap_aad(name, aad)
        try:
            return self._asked(card, lambda: self._device.decrypt(card.reference, wrapped, bound))
        except CipherRefused:
            raise WrappedKeyDamaged(key=name) from None

    def destroy(self, name: str) -> None:
        """Destroy the key inside the device; from then on its name answers KeyDestroyed."""
        check_name(name)
        with self._register.changing():
            self._forget(name)
            card = self._register.read(name, "destroyed")
            if card is None:
                card = self._known(name)
                # First the mark, then the key: a crash between them is finished at the next start.
                card = _buried(card, destroyed=clock.rfc3339(clock.now_ms()))
                self._register.write(card, "destroyed")
            self._finish(card)

    def attest(self, name: str) -> Attestation:
        """Say what is known about a key, also of a destroyed one."""
        check_name(name)
        card = self._register.read(name, "destroyed") or self._known(name)
        chain = name.startswith(CHAIN)
        return Attestation(
            name=name,
            kind=card.kind,
            driver=self._device.driver,
            exportable=chain,
            created=card.created,
            destroyed=card.destroyed,
            gone=card.gone,
            note=f"{CHAIN_NOTE}. {self._device.note}" if chain else self._device.note,
        )

    def public_key(self, name: str) -> bytes:
        """Return the public half of an ed25519 key, also of a destroyed one: 32 bytes."""
        card = self._cards.get(name) or self._register.read(name, "destroyed") or self._known(name)
        if card.kind != "ed25519" or card.half is None:
            raise KeyMisused(f"This key has kind {card.kind}, not ed25519.", key=name)
        return card.half

    def has(self, name: str) -> bool:
        """Whether a key of this name can be used, by its card; the device is not asked."""
        return self._register.has(name, "key") and not self._register.has(name, "destroyed")

    def names(self) -> list[str]:
        """Return the names of all usable keys, sorted."""
        return [name for name in self._register.names("key") if self.has(name)]

    # How a key is made, found and ended.

    def _believe(self, root: str) -> None:
        """Authenticate the register under its own key; raises KeystoreLocked if that is missing."""
        try:
            self._device.mac(root, _PROBE)
        except KeyMissing:
            raise KeystoreLocked("The register was made with another device or token.") from None
        self._register.believe(lambda data: self._device.mac(root, data))

    def _used(self, name: str) -> bool:
        """Say if a name was ever used, by a card or, should one be missing, by the device."""
        if self._register.has(name, "key") or self._register.has(name, "destroyed"):
            return True
        # What a crash left while it was made is thrown away by the device; anything else is not.
        return not self._register.has(name, "making") and self._device.holds(name)

    def _make(self, name: str, kind: Kind, sealed_of: bytes | None = None) -> Card:
        """Make a key in three durable steps: a card that says so, the key, its final card."""
        created = clock.rfc3339(clock.now_ms())
        begun = self._register.read(name, "making")
        reference = begun.reference if begun is not None else clock.random_bytes(16).hex()
        card = Card(name=name, kind=kind, created=created, reference=reference)
        self._register.write(card, "making")
        made = self._device.make(name, "wrap" if sealed_of is not None else kind, reference)
        if made.half is not None:
            # A key that any verifier would refuse must never sign a first checkpoint.
            ed25519.check_public_key(made.half)
        sealed = None
        if sealed_of is not None:
            sealed = self._device.encrypt(made.reference, sealed_of, _CHAIN + name.encode())
        card = Card(
            name=name,
            kind=kind,
            created=created,
            reference=made.reference,
            half=made.half,
            sealed=sealed,
        )
        self._register.write(card, "key")
        self._register.remove(name, "making")
        self._cards[name] = card
        return card

    def _store_chain(self, name: str, secret: bytes) -> None:
        self._make(name, "hmac", sealed_of=secret)
        self._chains[name] = secret

    def _known(self, name: str) -> Card:
        card = self._register.read(name, "key")
        if card is None:
            raise KeyMissing(key=name)
        return card

    def _card(self, name: str, kind: Kind) -> Card:
        """Return the card of a usable key for the job of `kind`."""
        card = self._cards.get(name)
        if card is None:
            check_name(name)
            with self._guard:
                if self._register.has(name, "destroyed"):
                    raise KeyDestroyed(key=name)
                card = self._cards[name] = self._known(name)
        if card.kind != kind:
            raise KeyMisused(f"This key has kind {card.kind}, not {kind}.", key=name)
        if kind != "hmac" and card.sealed is not None:
            raise KeystoreDamaged(key=name)
        return card

    def _chain(self, name: str) -> bytes:
        """Return a chain key in clear, from memory or opened by the device."""
        secret = self._chains.get(name)
        if secret is not None:
            return secret
        card = self._card(name, "hmac")
        sealed = card.sealed
        if sealed is None:
            raise KeystoreDamaged(key=name)
        bound = _CHAIN + name.encode()
        try:
            secret = self._asked(card, lambda: self._device.decrypt(card.reference, sealed, bound))
        except CipherRefused:
            raise KeystoreDamaged(key=name) from None
        with self._guard:
            self._chains[name] = secret
        return secret

    def _asked(self, card: Card, ask: Callable[[], bytes]) -> bytes:
        """Ask the device; a key that another process destroyed answers KeyDestroyed."""
        try:
            return ask()
        except KeyMissing:
            self._forget(card.name)
            if self._register.has(card.name, "destroyed"):
                raise KeyDestroyed(key=card.name) from None
            raise KeyMissing(
                "The register has a card, but the device has no such key.", key=card.name
            ) from None

    def _check_length(self, message: bytes) -> None:
        longest = self._device.message_max
        if longest is not None and len(message) > longest:
            raise KeyMisused(f"This keeper of keys takes messages of at most {longest} bytes.")

    def _forget(self, name: str) -> None:
        with self._guard:
            self._cards.pop(name, None)
            self._chains.pop(name, None)

    def _finish(self, card: Card) -> None:
        """Destroy what a tombstone names, write from when on it is gone, remove the card."""
        if card.gone is None:
            gone = self._device.destroy(card.reference)
            self._register.write(_buried(card, destroyed=card.destroyed, gone=gone), "destroyed")
        self._register.remove(card.name, "key")

    def _finish_destructions(self) -> None:
        """Finish what a crash interrupted. A device that cannot destroy now is asked again."""
        for name in self._register.names("key"):
            if not self._register.has(name, "destroyed"):
                continue
            card = self._register.read(name, "destroyed")
            if card is not None:
                self._finish(card)


def _buried(card: Card, *, destroyed: str | None, gone: str | None = None) -> Card:
    """Return the tombstone of a card: what was sealed is not on it."""
    return Card(
        name=card.name,
        kind=card.kind,
        created=card.created,
        reference=card.reference,
        half=card.half,
        destroyed=destroyed,
        gone=gone,
    )


def _wrap_aad(name: str, aad: bytes) -> bytes:
    return _WRAPPED + name.encode() + b"\0" + aad
