# SPDX-License-Identifier: GPL-3.0-or-later
"""Receipts: what a caller holds after a POST, and what proves any entry later.

A receipt is a C2SP tlog-proof (index, inclusion path, signed checkpoint) plus the entry itself. It
is never stored: a repeated request gets an equivalent one, same origin, position and leaf, with a
path to whatever signed checkpoint covers it by then.
"""

from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from anchoring.shelf import Book
from ledger.errors import Conflict, IntegrityViolation, Unavailable
from ledger.outcome import Recorded, Repeated
from ledger.reader import Stored
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.merkle import check_inclusion
from sealtrail.verify.note import Checkpoint, Note
from sealtrail.verify.tlog_proof import FIRST_LINE as TLOG_PROOF


class Proof(NamedTuple):
    """One entry's inclusion under one signed checkpoint. A tuple: one is made per event."""

    position: int
    leaf: bytes
    path: Sequence[bytes]
    size: int  #: Of the checkpoint.
    checkpoint: bytes  #: The signed note.

    def tlog_proof(self) -> bytes:
        """Print the C2SP tlog-proof file, as sealtrail.verify.tlog_proof does, but faster."""
        lines = [TLOG_PROOF, f"index {self.position}", *map(_line, self.path), "", ""]
        return "\n".join(lines).encode() + self.checkpoint

    def json(self) -> dict[str, Any]:
        return {
            "position": self.position,
            "leaf": digest_text(self.leaf),
            "size": self.size,
            "path": [digest_text(node) for node in self.path],
            "checkpoint": self.checkpoint.decode(),
            "proof": self.tlog_proof().decode(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The answer to a POST: the recorded entry and its proof."""

    origin: str
    event_id: str
    entry: bytes
    recorded_at: str
    proof: Proof
    disclosures: Mapping[str, str] = field(repr=False)
    repeat: bool

    def json(self) -> dict[str, Any]:
        return {
            "event_id": self.event_id,
            "origin": self.origin,
            "recorded_at": self.recorded_at,
            "entry": b2a_base64(self.entry, newline=False).decode(),
            **self.proof.json(),
            "disclosures": dict(self.disclosures),
        }


@lru_cache(maxsize=4_096)
def digest_text(digest: bytes) -> str:
    """Print a hash as it stands in every JSON of this product."""
    return f"sha256:{digest.hex()}"


@lru_cache(maxsize=4_096)
def _line(node: bytes) -> str:
    """Print a hash as it stands in a tlog-proof. The receipts of a commit share most of them."""
    return b2a_base64(node, newline=False).decode()


def receipt_of(book: Book, outcome: Recorded | Repeated, disclosures: Mapping[str, str]) -> Receipt:
    """Return the receipt of an outcome: at hand for a new entry, read back for a repeated one."""
    if isinstance(outcome, Repeated):
        return stored_receipt(book, book.reader.at(outcome.position), disclosures)
    entry = outcome.row.entry
    proof = Proof(
        position=outcome.row.link.position,
        leaf=outcome.row.link.leaf,
        path=outcome.path,
        size=outcome.size,
        checkpoint=outcome.checkpoint,
    )
    return Receipt(
        origin=book.origin,
        event_id=entry.event_id,
        entry=entry.data,
        recorded_at=entry.value["time"]["recorded"],
        proof=proof,
        disclosures=disclosures,
        repeat=False,
    )


def stored_receipt(book: Book, stored: Stored, disclosures: Mapping[str, str]) -> Receipt:
    """Return the receipt of an entry that is in the log already."""
    return Receipt(
        origin=book.origin,
        event_id=stored.entry.event_id,
        entry=stored.entry.data,
        recorded_at=stored.entry.value["time"]["recorded"],
        proof=prove(book, stored.position, stored.leaf),
        disclosures=disclosures,
        repeat=True,
    )


def prove(book: Book, position: int, leaf: bytes, at: bytes | None = None) -> Proof:
    """Prove an entry under a signed checkpoint: the note `at`, else the newest that covers it.

    The path is checked before it is handed out: it was read from the database. Raises Conflict
    when `at` does not cover the position, Unavailable when no signed checkpoint does yet, and
    IntegrityViolation when the stored tree does not lead to the root that was signed.
    """
    if at is None:
        note, checkpoint = book.notary.latest()
        if checkpoint.size <= position:
            note, checkpoint = book.notary.refresh()
    else:
        note, checkpoint = at, Checkpoint.parse(Note.parse(at).text)
    if checkpoint.size <= position:
        if at is not None:
            raise Conflict("this checkpoint does not cover the entry")
        raise Unavailable("no signed checkpoint covers this entry yet; ask again")
    path = book.tree.inclusion(position, checkpoint.size)
    return _checked(position, leaf, path, note, checkpoint)


def prove_at(book: Book, position: int, note: bytes, checkpoint: Checkpoint) -> Proof:
    """Prove the entry at a position under a checkpoint that covers it, by the stored leaf hash."""
    leaf, path = book.tree.proof(position, checkpoint.size)
    return _checked(position, leaf, path, note, checkpoint)


def _checked(
    position: int, leaf: bytes, path: Sequence[bytes], note: bytes, checkpoint: Checkpoint
) -> Proof:
    try:
        check_inclusion(
            leaf=leaf, index=position, size=checkpoint.size, path=path, root=checkpoint.root
        )
    except VerifyError as error:
        raise IntegrityViolation("the stored tree does not lead to the signed root") from error
    return Proof(position=position, leaf=leaf, path=path, size=checkpoint.size, checkpoint=note)
