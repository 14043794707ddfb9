# SPDX-License-Identifier: GPL-3.0-or-later
"""Walks the HMAC chain of a log again: every MAC of the epochs whose keys are at hand.

The keystore holds the key of the present epoch; the escrowed first key gives all of them. Epochs
without a key are walked as stored values: what EPOCH_SEALED says of them is still compared.
"""

import hmac
from collections.abc import Mapping
from typing import Any

from ledger.head import Chain
from ledger.keys import KeyDestroyed, KeyMissing
from sealtrail.verify import chain


class ChainWalk:
    """Follows one log from position 0; tells at each position if its MAC is right.

    first_key: K_0 from escrow, which makes every epoch checkable; None: only the keystore's.
    """

    def __init__(self, of: Chain, first_key: bytes | None = None) -> None:
        self._chain, self._origin = of, of.origin
        self._held = set(of.epochs())
        self._key = first_key  #: Key of the present epoch when walking from escrow.
        self.epoch = 0
        self.mac: bytes | None = None  #: Before the next entry; None if no key could tell.
        self.checkable = False  #: Whether the present epoch's MACs can be recomputed.
        self.unchecked: list[int] = []  #: Epochs whose MACs could not be.
        self._start: bytes | None = None  # What the present epoch's first entry is chained to.
        self._entries = 0  # Of the present epoch.
        self._open(None)

    def step(self, position: int, leaf: bytes, stored_mac: bytes) -> bool:
        """Return whether the MAC stored at `position` follows from the one before, if one can."""
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
            self.unchecked.append(self.epoch)
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
            self.unchecked.append(self.epoch)
            return None


def mac_text(mac: bytes) -> str:
    """Print a MAC as it stands in entries."""
    return f"hmac-sha256:{mac.hex()}"
