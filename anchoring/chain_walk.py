# SPDX-License-Identifier: GPL-3.0-or-later
"""Walks the HMAC chain of a log again: every MAC of the epochs whose keys are at hand.

The keystore holds the key of the present epoch; the escrowed first key gives all of them. Epochs
without a key are walked as stored values: what EPOCH_SEALED says of them is still compared.
"""

import hmac
from collections.abc import Mapping
from typing import Any

from ledger.head import Chain
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
        self.mac = self._start(None)
        self.unchecked: list[int] = []  #: Epochs whose MACs could not be recomputed.
        self._note_epoch()

    def step(self, position: int, leaf: bytes, stored_mac: bytes) -> bool:
        """Return whether the MAC stored at `position` follows from the one before."""
        previous, self.mac = self.mac, stored_mac
        if previous == b"":
            return True  # No key for this epoch; recorded in `unchecked`.
        message = chain.link_message(previous, position, leaf)
        return self._compute(message) == stored_mac

    def seal(self, body: Mapping[str, Any], position: int, before: bytes) -> str | None:
        """Take EPOCH_SEALED at `position`, go on to the next epoch, or say what is wrong with it.

        before: the MAC stored for the entry before it; empty at position 0.
        """
        wrong = None
        if body.get("epoch") != self.epoch:
            wrong = "it seals another epoch than the present one"
        elif position and (
            body.get("last_n") != position - 1 or body.get("last_mac") != mac_text(before)
        ):
            wrong = "it names another last entry or MAC than the one before it"
        if self._key is not None:
            self._key = chain.evolve(self._key, self._origin)
        last = self.mac
        self.epoch += 1
        self.mac = self._start(last)
        self._note_epoch()
        return wrong

    def _note_epoch(self) -> None:
        if not self._checkable():
            self.unchecked.append(self.epoch)
            self.mac = b""

    def _checkable(self) -> bool:
        return self._key is not None or self.epoch in self._held

    def _start(self, last_mac: bytes | None) -> bytes:
        if not self._checkable():
            return b""
        return self._compute(chain.start_message(self._origin, self.epoch, last_mac))

    def _compute(self, message: bytes) -> bytes:
        if self._key is not None:
            return hmac.digest(self._key, message, "sha256")
        return self._chain.mac(self.epoch, message)


def mac_text(mac: bytes) -> str:
    """Print a MAC as it stands in entries."""
    return f"hmac-sha256:{mac.hex()}"
