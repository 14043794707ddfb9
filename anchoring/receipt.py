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
from typing import Any, Final, NamedTuple

from anchoring.shelf import Book
from ledger import clock
from ledger.errors import Conflict, IntegrityViolation, Unavailable
from ledger.outcome import Recorded, Repeated
from ledger.printing import json_bytes
from ledger.reader import Located, Stored
from ledger.retention.tiers import BodyCold, BodyExpired, Tier
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
    body: Tier = "database"  #: Else the bytes are not at hand, and the receipt is a proof alone.

    def json(self) -> dict[str, Any]:
        if self.body == "database":
            entry = {"entry": b2a_base64(self.entry, newline=False).decode()}
        else:
            entry = {"body": self.body}
        return {
            "event_id": self.event_id,
            "origin": self.origin,
            "recorded_at": self.recorded_at,
            **entry,
            **self.proof.json(),
            "disclosures": dict(self.disclosures),
        }


_RECEIPT: Final = (
    b'{"event_id":"%b","origin":%b,"recorded_at":"%b","entry":"%b","position":%d,"leaf":"sha256:%b"'
    b',"size":%d,"path":[%b],"checkpoint":%b,"proof":"%b%b,"disclosures":%b}'
)

#: How many hashes from the leaf upward are an entry's own; the rest it has in common with others.
_LOWER: Final = 4
_TLOG_PROOF: Final = TLOG_PROOF.encode() + rb"\nindex %d\n%b\n"


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
        try:
            return stored_receipt(book, book.reader.at(outcome.position), disclosures)
        except (BodyCold, BodyExpired):
            return bodiless_receipt(book, book.reader.locate_at(outcome.position))
    row = outcome.row
    proof = Proof(
        position=row.link.position,
        leaf=row.link.leaf,
        path=outcome.path,
        size=outcome.size,
        checkpoint=outcome.checkpoint,
    )
    return Receipt(
        origin=book.origin,
        event_id=row.event_id,
        entry=row.data,
        recorded_at=clock.rfc3339(row.recorded_ms),
        proof=proof,
        disclosures=disclosures,
        repeat=False,
    )


@lru_cache(maxsize=4_096)
def _digest_json(digest: bytes) -> bytes:
    return b'"sha256:%b"' % digest.hex().encode()


@lru_cache(maxsize=4_096)
def _line_json(node: bytes) -> bytes:
    """Print a line of a tlog-proof as it stands within a JSON string."""
    return b2a_base64(node, newline=False) + rb"\n"


@lru_cache(maxsize=256)
def _upper(path: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], bytes]:
    """Print the upper end of a path, which neighbours in a commit have in common."""
    digests = b",".join(map(_digest_json, path))
    return (digests,) if path else (), b"".join(map(_line_json, path))


@lru_cache(maxsize=256)
def _quoted(text: bytes) -> bytes:
    return json_bytes(text.decode())


def printed_receipt(book: Book, outcome: Recorded, disclosures: Mapping[str, str]) -> bytes:
    """Print the JSON of `receipt_of` for a new entry, as it stands in the answer.

    The same document, piece by piece: most pieces are the same in all receipts of a commit. A test
    holds the two against each other.
    """
    row, path, checkpoint = outcome.row, outcome.path, _quoted(outcome.checkpoint)
    position = row.link.position
    upper_json, upper_lines = _upper(tuple(path[_LOWER:]))
    return _RECEIPT % (
        row.event_id.encode(),
        _quoted(book.origin.encode()),
        clock.rfc3339(row.recorded_ms).encode(),
        b2a_base64(row.data, newline=False),
        position,
        row.link.leaf.hex().encode(),
        outcome.size,
        b",".join([*map(_digest_json, path[:_LOWER]), *upper_json]),
        checkpoint,
        _TLOG_PROOF % (position, b"".join(map(_line_json, path[:_LOWER])) + upper_lines),
        checkpoint[1:],
        json_bytes(disclosures),
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


def bodiless_receipt(book: Book, located: Located) -> Receipt:
    """Return the receipt of an entry whose bytes are cold or have expired: its proof, and that."""
    return Receipt(
        origin=book.origin,
        event_id=located.event_id,
        entry=b"",
        recorded_at=clock.rfc3339(located.recorded_ms),
        proof=prove(book, located.position, located.leaf),
        disclosures={},
        repeat=True,
        body=located.tier,
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
