# SPDX-License-Identifier: GPL-3.0-or-later
"""What an old receipt is worth after a restore: its entry is in the log, or was orphaned.

A receipt shows that an origin has signed an entry at a position. If the log that inherited from
that origin holds the same leaf there, a new proof leads to its checkpoint. If not, the restore lost
that entry; the receipt stays true about the old log, and both checkpoints are shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from anchoring.checkpoint import verifier_keys
from anchoring.receipt import prove
from anchoring.restore_survey import origin_of
from anchoring.shelf import Book
from ledger.keys import log_key, was_made
from ledger.tiles import WIDTH
from sealtrail.verify import base64text, canonical
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.merkle import leaf_hash
from sealtrail.verify.note import Checkpoint, Note
from sealtrail.verify.tlog_proof import TlogProof, check_tlog_proof

Standing: TypeAlias = Literal["in the log", "orphaned by restore", "refuted"]

_NUMBERS: Final = range(1, 10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A receipt, held against the log as it is now."""

    verdict: Standing
    sentence: str
    position: int | None = None
    signed: bytes = b""  #: The checkpoint in the receipt.
    present: bytes = b""  #: The newest checkpoint of the log that inherited from its origin.
    proof: bytes = b""  #: A new tlog-proof of the same entry, if it is in the log.

    def checkpoints(self) -> list[str]:
        """Return both checkpoints, a line each."""
        named = (("receipt", self.signed), ("log now", self.present))
        return [f"{what}  {_line(note)}" for what, note in named if note]

    def json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "sentence": self.sentence,
            "position": self.position,
            "signed": self.signed.decode(),
            "present": self.present.decode(),
            "proof": self.proof.decode(),
        }


def judge_receipt(data: bytes, books: Sequence[Book]) -> Judged:
    """Say what a client's receipt (its JSON) is worth now. Raises Unreadable for anything else."""
    members = canonical.parse(data)
    whole = members if isinstance(members, dict) else {}
    entry = base64text.decode(str(whole.get("entry", "")), "The entry in a receipt")
    proof = TlogProof.parse(str(whole.get("proof", "")).encode())
    origin = Checkpoint.parse(Note.parse(proof.checkpoint).text).origin
    book = next((one for one in books if _was_signed_by(one, origin)), None)
    if book is None:
        return Judged(verdict="refuted", sentence=f"no Book of this ledger was ever {origin}")
    leaf = leaf_hash(entry)
    try:
        known = verifier_keys(book.keys, origin)
        check_tlog_proof(proof.print(), leaf=leaf, origin=origin, keys=known)
    except VerifyError as error:
        return Judged(verdict="refuted", sentence=str(error), signed=proof.checkpoint)
    return _place(book, origin, proof, leaf)


def _place(book: Book, origin: str, proof: TlogProof, leaf: bytes) -> Judged:
    """Look for the leaf where the receipt saw it."""
    position = proof.index
    note, checkpoint = book.notary.refresh()
    held = b""
    if position < checkpoint.size:
        held = book.tree.tile(0, position // WIDTH, position % WIDTH + 1)[-32:]
    if held == leaf:
        again = prove(book, position, leaf, at=note)
        return Judged(
            verdict="in the log",
            sentence=f"position {position} of {book.origin} holds this entry",
            position=position,
            signed=proof.checkpoint,
            present=note,
            proof=again.tlog_proof(),
        )
    if origin == book.origin:
        return Judged(
            verdict="refuted",
            sentence=f"{origin} has signed this entry and no longer holds it: two histories",
            position=position,
            signed=proof.checkpoint,
            present=note,
        )
    return Judged(
        verdict="orphaned by restore",
        sentence=f"{origin} has signed this entry; a restore lost it before {book.origin} began",
        position=position,
        signed=proof.checkpoint,
        present=note,
    )


def _was_signed_by(book: Book, origin: str) -> bool:
    """Say if this Book ever went by an origin; the keystore knows also those that were lost."""
    for number in _NUMBERS:
        known = origin_of(book.row.first_origin, number)
        if not was_made(book.keys, log_key(known)):
            return False
        if known == origin:
            return True
    return False


def _line(note: bytes) -> str:
    checkpoint = Checkpoint.parse(Note.parse(note).text)
    return f"{checkpoint.origin}  size {checkpoint.size}  root sha256:{checkpoint.root.hex()}"
