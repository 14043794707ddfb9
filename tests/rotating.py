# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotates the log key of a test's house as `keys rotate checkpoint` does."""

from dataclasses import dataclass
from pathlib import Path

from house import House

from anchoring.receipt import receipt_of
from anchoring.rotation import KeyRotation, Rotated
from anchoring.shelf import Shelf
from ledger import clock
from scripts.assembly import publish_trust
from sealtrail.verify.note import Checkpoint, Note, VerifierKey
from sealtrail.verify.tlog_proof import check_tlog_proof
from sealtrail.verify.trust import Trust


@dataclass
class Rotating:
    """A house, and what the world is told about its keys."""

    house: House

    @property
    def trust_file(self) -> Path:
        return self.house.directory / "trust.json"

    def rotation(self, shelf: Shelf | None = None, publish=None) -> KeyRotation:
        book = (shelf or self.house.shelf).book(self.house.tenant)
        return KeyRotation(book=book, publish=publish or self.publish)

    def begin(self, overlap_ms: int = 7 * clock.DAY_MS) -> Rotated:
        return self.rotation().begin(overlap_ms)

    def publish(self, origins, until) -> None:
        trust = Trust(
            origins={origin: tuple(keys) for origin, keys in origins.items()},
            tsa_roots=tuple(getattr(self.house, "roots", ())),
            until=dict(until),
        )
        publish_trust(self.trust_file, trust)

    def trust(self) -> Trust:
        """What the world is told now."""
        if not self.trust_file.exists():
            publish_trust(self.trust_file, self.house.trust(list(getattr(self.house, "roots", ()))))
        return Trust.parse(self.trust_file.read_bytes())

    def receipt(self, request, by: Shelf | None = None):
        """Record a request; return its receipt as the ledger sends it."""
        (outcome,) = self.house.post(request, by=by)
        return receipt_of((by or self.house.shelf).book(self.house.tenant), outcome, {})


def believed(receipt, trust: Trust) -> Checkpoint:
    """Check a receipt as its holder does, with a trust file; raises VerifyError."""
    said = Checkpoint.parse(Note.parse(receipt.proof.checkpoint).text)
    checkpoint, _ = check_tlog_proof(
        receipt.proof.tlog_proof(),
        leaf=receipt.proof.leaf,
        origin=receipt.origin,
        keys=trust.keys_for(said.origin, said.size),
    )
    return checkpoint


def signed_by(note: bytes, keys: list[VerifierKey]) -> list[bool]:
    """Say of each key if a note bears its signature line."""
    lines = {line.key_id for line in Note.parse(note).signatures}
    return [key.key_id in lines for key in keys]
