# SPDX-License-Identifier: GPL-3.0-or-later
"""Walks the HMAC chain of a log again: every MAC of the epochs whose keys are at hand.

The keystore holds the key of the present epoch; the escrowed first key gives all of them. Epochs
without a key are walked as stored values: what EPOCH_SEALED says of them is still compared.

    origin      epochs 0 … e    from position 0
    origin/i2   epochs 0 … e    from the size that it inherited, with a first key of its own
"""

import hmac
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from ledger.head import Chain
from ledger.keys import KeyDestroyed, KeyMissing
from ledger.migrate import Incarnation
from sealtrail.verify import chain

#: K_0 from escrow: of the present origin, or of several by their origins.
FirstKeys: TypeAlias = bytes | Mapping[str, bytes] | None


class ChainWalk:
    """Follows one log from position 0; tells at each position if its MAC is right.

    first_key: K_0 from escrow, which makes every epoch checkable; None: only the keystore's.
    incarnations: where the chain begins anew, under another origin.
    """

    def __init__(
        self, of: Chain, first_key: FirstKeys = None, incarnations: Sequence[Incarnation] = ()
    ) -> None:
        keys = {of.origin: first_key} if isinstance(first_key, bytes) else first_key
        self._first_keys: Mapping[str, bytes] = keys or {}
        self._ahead = sorted(incarnations, key=lambda one: one.size)
        self._unchecked: list[tuple[str, int]] = []  # Epochs whose MACs could not be told.
        self._begin(of.of(self._ahead[0].old_origin) if self._ahead else of)

    def _begin(self, of: Chain) -> None:
        """Start at epoch 0 of an origin."""
        self._chain, self._origin = of, of.origin
        self._held = set(of.epochs())
        self._key = self._first_keys.get(of.origin)  # Of the present epoch, if from escrow.
        self.epoch = 0
        self.mac: bytes | None = None  #: Before the next entry; None if no key could tell.
        self.checkable = False  #: Whether the present epoch's MACs can be recomputed.
        self._start: bytes | None = None  # What the present epoch's first entry is chained to.
        self._entries = 0  # Of the present epoch.
        self._open(None)

    def not_checked(self) -> Iterator[str]:
        """Say of which epochs no MAC could be told, a sentence for each origin."""
        for origin in dict.fromkeys(origin for origin, _ in self._unchecked):
            epochs = [epoch for of, epoch in self._unchecked if of == origin]
            whose = f" of {origin}" if origin != self._origin else ""
            yield (
                f"MACs of {len(epochs)} older epochs ({epochs[0]} to {epochs[-1]}){whose}: "
                "escrow key needed"
            )

    def step(self, position: int, leaf: bytes, stored_mac: bytes) -> bool:
        """Return whether the MAC stored at `position` follows from the one before, if one can."""
        if self._ahead and position >= self._ahead[0].size:
            self._begin(self._chain.of(self._ahead.pop(0).origin))
        previous, self.mac = self.mac, stored_mac
        self._entries += 1
        if not self.checkable:
            return True
        if previous is None or len(previous) != chain.MAC_BYTES:
            return False
        expected = self._compute(chain.link_message(previous, position, leaf))
        return expected is None or expected == stored_mac

    def seal(self, body: Mapping[str, Any], position: int, before: bytes) -> str | None:
        """Take EPOCH_SEALED at `position`, go on to the next epoch, or say what is wrong with it.

        before: the MAC stored for the entry before it; empty at position 0.
        """
        wrong = None
        if body.get("epoch") != self.epoch:
            wrong = "it seals another epoch than the present one"
        elif not self._names_the_last(body, position, before):
            wrong = "it names another last entry or MAC than the one before it"
        if self._key is not None:
            self._key = chain.evolve(self._key, self._origin)
        self.epoch += 1
        self._open(self.mac)
        return wrong

    def _names_the_last(self, body: Mapping[str, Any], position: int, before: bytes) -> bool:
        """Whether EPOCH_SEALED names what it follows: of an empty epoch, its start value."""
        if not position:
            return body.get("last_n") is None and body.get("last_mac") is None
        last_mac: bytes | None = before
        if self.epoch and self._entries == 1:
            last_mac = self._start  # None: without the key nobody can tell.
        named = last_mac is None or body.get("last_mac") == mac_text(last_mac)
        return named and body.get("last_n") == position - 1

    def _open(self, last_mac: bytes | None) -> None:
        """Begin an epoch after the MAC of the one before."""
        self._entries = 0
        self.checkable = self._key is not None or self.epoch in self._held
        self.mac = None
        if not self.checkable:
            self._unchecked.append((self._origin, self.epoch))
        elif self.epoch == 0 or (last_mac is not None and len(last_mac) == chain.MAC_BYTES):
            self.mac = self._compute(chain.start_message(self._origin, self.epoch, last_mac))
        self._start = self.mac

    def _compute(self, message: bytes) -> bytes | None:
        if self._key is not None:
            return hmac.digest(self._key, message, "sha256")
        try:
            return self._chain.mac(self.epoch, message)
        except (KeyDestroyed, KeyMissing):
            # The writer ended this epoch while we were reading it.
            self.checkable = False
            self._unchecked.append((self._origin, self.epoch))
            return None


def mac_text(mac: bytes) -> str:
    """Print a MAC as it stands in entries."""
    return f"hmac-sha256:{mac.hex()}"
