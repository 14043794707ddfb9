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


_RECEIPT: Final = b'{"event_id":"%b%b%b","position":%d,"leaf":"sha256:%b%b%b%b%d\\n%b%b%b}'

#: How many hashes from the leaf upward an entry has to itself, and how many with few others.
_OWN: Final = 2
_FEW: Final = 2


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


def _node_json(node: bytes) -> tuple[bytes, bytes]:
    """Print a hash as it stands in the path, and as a line of a tlog-proof within a JSON string."""
    return b'"sha256:%b"' % node.hex().encode(), b2a_base64(node, newline=False) + rb"\n"


def _joined(nodes: Sequence[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    digests = b",".join([digest for digest, _ in nodes if digest])
    return digests, b"".join([line for _, line in nodes])


@lru_cache(maxsize=256)
def _upper(path: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """Print the upper end of a path, which neighbours in a commit have in common."""
    return _joined([_node_json(node) for node in path])


@lru_cache(maxsize=1_024)
def _middle(path: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """Print what few neighbours have in common, and the upper end."""
    return _joined([*map(_node_json, path[:_FEW]), _upper(path[_FEW:])])


@lru_cache(maxsize=64)
def _frame(
    origin: str, recorded_ms: int, size: int, checkpoint: bytes
) -> tuple[bytes, bytes, bytes, bytes]:
    """Print what all receipts of a commit have in common: what stands between their own pieces."""
    quoted = json_bytes(checkpoint.decode())
    return (
        b'","origin":%b,"recorded_at":"%b","entry":"'
        % (json_bytes(origin), clock.rfc3339(recorded_ms).encode()),
        b'","size":%d,"path":[' % size,
        b'],"checkpoint":%b,"proof":"%b\\nindex ' % (quoted, TLOG_PROOF.encode()),
        b'\\n%b,"disclosures":' % quoted[1:],
    )


def printed_receipt(book: Book, outcome: Recorded, disclosures: Mapping[str, str]) -> bytes:
    """Print the JSON of `receipt_of` for a new entry, as it stands in the answer.

    The same document, piece by piece: most pieces are the same in all receipts of a commit. A test
    holds the two against each other.
    """
    row, path = outcome.row, outcome.path
    times, sizes, proof, end = _frame(
        book.origin, row.recorded_ms, outcome.size, outcome.checkpoint
    )
    position, leaf = row.link.position, row.link.leaf
    digests, lines = _middle(tuple(path[_OWN:]))
    for node in reversed(path[:_OWN]):
        digest, line = _node_json(node)
        digests, lines = b"%b,%b" % (digest, digests) if digests else digest, line + lines
    return _RECEIPT % (
        row.event_id.encode(),
        times,
        b2a_base64(row.data, newline=False),
        position,
        leaf.hex().encode(),
        sizes,
        digests,
        proof,
        position,
        lines,
        end,
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
