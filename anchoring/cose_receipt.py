# SPDX-License-Identifier: GPL-3.0-or-later
"""Receipts for those who read COSE: an entry's place, or the log's growth, under a signed root.

The path comes from the stored tree and is checked against the root before anything is handed out;
the root comes from a checkpoint that was signed and accepted before (`CheckpointNotary`). Source:
RFC 9942; sealtrail.verify.cose_receipt for the bytes.
"""

from collections.abc import Sequence

from anchoring.checkpoint import Countersigned
from anchoring.shelf import Book
from ledger.errors import IntegrityViolation, NotFound, Refused
from sealtrail.verify.cose_receipt import CoseReceipt
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.merkle import check_consistency, check_inclusion


class NoPath(Refused):
    """A receipt of this form needs a path of one hash at least; ask again when the log has grown.

    The format of RFC 9942 has no empty path: there is no receipt for the only entry of a log, nor
    for a log that has not grown.
    """

    status = 409
    problem = "receipt-without-path"


def inclusion_receipt(book: Book, position: int) -> bytes:
    """Return the receipt of the entry at a position, under the newest checkpoint.

    Raises NotFound for a position that no signed checkpoint covers, NoPath in a log of one entry,
    IntegrityViolation for a stopped Book and when the stored tree does not lead to the signed root.
    """
    signed = _countersigned(book, position + 1, larger_than=1)
    size, root = signed.checkpoint.size, signed.checkpoint.root
    leaf, path = book.tree.proof(position, size)
    try:
        check_inclusion(leaf=leaf, index=position, size=size, path=path, root=root)
    except VerifyError as error:
        raise IntegrityViolation("the stored tree does not lead to the signed root") from error
    return _receipt(signed, path, position=position)


def consistency_receipt(book: Book, old_size: int) -> bytes:
    """Return the receipt that the newest checkpoint extends the log of `old_size` entries, of 1 on.

    Raises as `inclusion_receipt`; NoPath for a log that has not grown.
    """
    signed = _countersigned(book, old_size, larger_than=old_size)
    size, root = signed.checkpoint.size, signed.checkpoint.root
    path = book.tree.consistency(old_size, size)
    try:
        check_consistency(
            old_size=old_size,
            old_root=book.tree.root(old_size),
            new_size=size,
            new_root=root,
            path=path,
        )
    except VerifyError as error:
        raise IntegrityViolation("the stored tree does not lead to the signed root") from error
    return _receipt(signed, path, old_size=old_size)


def _countersigned(book: Book, size: int, *, larger_than: int) -> Countersigned:
    """Return the signed root of at least `size` entries under which a receipt is made."""
    if book.writer.stopped is not None:  # What may be another history gets no new signature.
        raise book.writer.stopped
    needed = max(size, larger_than + 1)
    newest = book.notary.latest()[1].size
    if needed > newest:
        newest = book.notary.refresh()[1].size
    if size > newest:
        raise NotFound(f"the log has {newest} signed entries")
    if needed > newest:
        raise NoPath
    return book.notary.countersign(needed)


def _receipt(
    signed: Countersigned,
    path: Sequence[bytes],
    *,
    position: int | None = None,
    old_size: int | None = None,
) -> bytes:
    receipt = CoseReceipt(
        origin=signed.checkpoint.origin,
        size=signed.checkpoint.size,
        kid=signed.kid,
        path=tuple(path),
        signature=signed.signature,
        position=position,
        old_size=old_size,
        root=None if old_size is None else signed.checkpoint.root,
    )
    return receipt.print()
