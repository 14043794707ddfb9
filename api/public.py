# SPDX-License-Identifier: GPL-3.0-or-later
"""What anybody may read: checkpoints, consistency, hash tiles, anchors, proofs by position.

Nothing here is content. Every answer can be checked against the log's public key, so these paths
need no credential and no entry in the access Book.
"""

from typing import Annotated, Any

from anchoring.anchors import Anchors
from anchoring.receipt import digest_text, prove
from anchoring.shelf import Book
from fastapi import APIRouter, Query, Response
from ledger.clock import day_start
from ledger.errors import FieldError, MalformedEvent, NotFound
from sealtrail.verify.note import Checkpoint

from api.state import PublicBook
from api.tiles import TilePath

router = APIRouter(tags=["public"])

_FOREVER = {"cache-control": "public, max-age=31536000, immutable"}
_BRIEFLY = {"cache-control": "public, max-age=1"}
Size = Annotated[int, Query(ge=0, lt=2**63)]


def _latest(book: Book) -> tuple[bytes, Checkpoint]:
    return book.notary.refresh()


@router.get("/checkpoint", response_class=Response)
def checkpoint(book: PublicBook) -> Response:
    """Return the newest signed checkpoint (C2SP tlog-checkpoint)."""
    note, _ = _latest(book)
    return Response(note, media_type="text/plain; charset=utf-8", headers=_BRIEFLY)


@router.get("/consistency")
def consistency(
    book: PublicBook,
    old: Annotated[int, Query(alias="from", ge=0, lt=2**63)],
    new: Annotated[int, Query(alias="to", ge=0, lt=2**63)],
) -> dict[str, Any]:
    """Return the RFC 9162 path that proves the log of `to` entries to extend that of `from`."""
    _, newest = _latest(book)
    if old > new:
        raise MalformedEvent(
            errors=[FieldError("/query/from", "order", "from is not larger than to")]
        )
    if new > newest.size:
        raise NotFound(f"the log has {newest.size} signed entries")
    return {
        "origin": book.origin,
        "from": old,
        "to": new,
        "from_root": digest_text(book.tree.root(old)),
        "to_root": digest_text(book.tree.root(new)),
        "path": [digest_text(node) for node in book.tree.consistency(old, new)],
    }


@router.get("/proofs/{position}")
def proof(book: PublicBook, position: int, size: Size | None = None) -> dict[str, Any]:
    """Prove the entry at a position, by its leaf hash alone, under any signed size.

    Without `size`: under the newest checkpoint, as a tlog-proof. With it: the bare path and root.
    """
    _, newest = _latest(book)
    limit = newest.size if size is None else size
    if not 0 <= position < limit or limit > newest.size:
        raise NotFound(f"the log has {newest.size} signed entries")
    leaf = book.tree.tile(0, position // 256, position % 256 + 1)[-32:]
    if size is None:
        return {"origin": book.origin, **prove(book, position, leaf).json()}
    return {
        "origin": book.origin,
        "position": position,
        "leaf": digest_text(leaf),
        "size": size,
        "root": digest_text(book.tree.root(size)),
        "path": [digest_text(node) for node in book.tree.inclusion(position, size)],
    }


@router.get("/anchors/{day}")
def anchors(book: PublicBook, day: str) -> dict[str, Any]:
    """List the anchors of a UTC day, interim and nightly, with their raw tokens."""
    try:
        day_start(day)
    except ValueError:
        raise MalformedEvent(
            errors=[FieldError("/path/day", "day", "a day is written YYYY-MM-DD")]
        ) from None
    return {"origin": book.origin, "day": day, "anchors": Anchors(book).of_day(day)}


def hash_tile(book: Book, tile: TilePath) -> Response:
    """Return a hash tile of the signed log."""
    _, newest = _latest(book)
    tile.check(newest.size)
    hashes = book.tree.tile(tile.level or 0, tile.index, tile.width)
    return Response(hashes, media_type="application/octet-stream", headers=_FOREVER)


