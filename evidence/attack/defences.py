# SPDX-License-Identifier: GPL-3.0-or-later
"""Who notices an attack: each defence of the ledger, asked after it happened.

    open     a process that starts now, and opens the Book
    look     a process that was there before: the scheduler's hourly look at head and store
    fsck     everything re-derived from the stored bytes
    receipt  a client that kept its receipt, and asks for its entry again
    packet   a stranger with a trust file from outside, who is given a packet

Each names what it noticed: `fsck:mac`, `open:head-forged`. Being unable to look is not noticing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from anchoring.checkpoint import CheckpointNotary
from anchoring.checkpoint_store import FileCheckpointStore
from anchoring.fsck import Fsck
from anchoring.receipt import Proof, prove
from anchoring.shelf import Book
from evidence.attack.target import Target
from evidence.packet import PacketRequest, build_packet
from ledger import clock
from ledger.errors import IntegrityViolation, LedgerError, Unavailable
from sealtrail.verify.errors import Refuted, VerifyError
from sealtrail.verify.merkle import check_consistency
from sealtrail.verify.packet import check_packet, read_packet
from sealtrail.verify.report import Report
from sealtrail.verify.tlog_proof import check_tlog_proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a client kept of one event: its receipt."""

    event_id: str
    proof: Proof


def keep(book: Book, positions: Sequence[int]) -> list[Kept]:
    """Return the receipts that clients hold for these positions."""
    found = [book.reader.at(position) for position in positions]
    return [
        Kept(event_id=one.entry.event_id, proof=prove(book, one.position, one.leaf))
        for one in found
    ]


def examine(target: Target, kept: Sequence[Kept]) -> dict[str, str]:
    """Ask every defence; return what noticed something, and the sentence it says."""
    noticed: dict[str, str] = {}
    shelf = target.start()
    try:
        book = target.running
        try:
            book = shelf.book(book.row.name)
        except IntegrityViolation as error:
            noticed[f"open:{error.problem}"] = str(error)
        noticed |= _look(target.running)
        noticed |= _fsck(target.running, shelf.store)
        noticed |= _receipts(target, book, kept)
        noticed |= _packet(target, book, kept)
    finally:
        shelf.close()
    return noticed


def judge(target: Target, packet: bytes) -> dict[str, str]:
    """Have a stranger check a packet, with trust from outside; return what he noticed."""
    try:
        report = check_packet(read_packet(packet), trust=target.trust, now=clock.now())
    except VerifyError as error:
        return {"packet:unreadable": str(error)}
    if report.verdict != "refuted":
        return {}
    return {"packet:refuted": _first(report)}


def _first(report: Report) -> str:
    return next(one.sentence for one in report.findings if one.verdict == "refuted")


def _look(book: Book) -> dict[str, str]:
    try:
        book.notary.check(book.reader.head())
    except IntegrityViolation as error:
        return {f"look:{error.problem}": str(error)}
    return {}


def _fsck(running: Book, store: FileCheckpointStore) -> dict[str, str]:
    """Run fsck as a process that starts now: what an older one remembers does not help it."""
    try:
        notary = CheckpointNotary(
            origin=running.origin, keys=running.keys, store=store, tree=running.tree
        )
    except IntegrityViolation as error:
        return {f"fsck:{error.problem}": str(error)}
    found: dict[str, str] = {}
    for one in Fsck(replace(running, notary=notary)).run().damage:
        found.setdefault(f"fsck:{one.what}", one.sentence)
    return found


def _receipts(target: Target, book: Book, kept: Sequence[Kept]) -> dict[str, str]:
    """Ask for each event again, and hold what comes back against the receipt; offline."""
    for receipt in kept:
        try:
            _compare(target, book, receipt)
        except Unavailable:
            continue
        except (LedgerError, VerifyError) as error:
            return {"receipt": f"position {receipt.proof.position}: {error}"}
    return {}


def _compare(target: Target, book: Book, receipt: Kept) -> None:
    """Return if the ledger still stands by a receipt; else raise."""
    old = receipt.proof
    stored = book.reader.find(receipt.event_id)
    if (stored.position, stored.leaf) != (old.position, old.leaf):
        raise Refuted("The ledger shows another entry than the one receipted.")
    note, newest = book.notary.refresh()
    if newest.size < old.size:
        raise Refuted("The ledger's newest checkpoint is smaller than the receipt's.")
    new = prove(book, old.position, old.leaf, at=note)
    keys = target.trust.origins[target.origin]
    before, _ = check_tlog_proof(old.tlog_proof(), leaf=old.leaf, origin=target.origin, keys=keys)
    after, _ = check_tlog_proof(new.tlog_proof(), leaf=old.leaf, origin=target.origin, keys=keys)
    check_consistency(
        old_size=before.size,
        old_root=before.root,
        new_size=after.size,
        new_root=after.root,
        path=book.tree.consistency(before.size, after.size),
    )


def _packet(target: Target, book: Book, kept: Sequence[Kept]) -> dict[str, str]:
    """Have a packet of the first kept entry made, and checked by a stranger."""
    if not kept:
        return {}
    try:
        return judge(target, good_packet(target, book, [kept[0].event_id]))
    except Unavailable:
        return {}
    except LedgerError as error:
        return {f"packet:{error.problem}": str(error)}


def good_packet(target: Target, book: Book, event_ids: Sequence[str]) -> bytes:
    """Have the ledger build a packet; it checks it itself before it hands it out."""
    request = PacketRequest(event_ids=tuple(event_ids))
    return build_packet(book, request, trust_file=target.trust_file).data
