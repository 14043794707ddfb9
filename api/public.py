# SPDX-License-Identifier: GPL-3.0-or-later
"""What anybody may read: checkpoints, consistency, hash tiles, anchors, proofs by position.

Nothing here is content. Every answer can be checked against the log's public key, so these paths
need no credential and no entry in the access Book.
"""

from hashlib import sha256
from typing import Annotated, Any, Final
from weakref import WeakKeyDictionary

from fastapi import APIRouter, Path, Query, Request, Response

from anchoring.anchors import Anchors
from anchoring.checkpoint import CheckpointNotary
from anchoring.receipt import digest_text, prove_at
from anchoring.shelf import Book
from anchoring.tree import root_of_path
from api.caching import BRIEFLY, FOREVER, tagged
from api.state import PublicBook
from api.tiles import WIDTH, TilePath
from ledger import clock
from ledger.clock import day_start
from ledger.errors import FieldError, MalformedEvent, NotFound
from sealtrail.verify.note import Checkpoint

router = APIRouter(tags=["public"])

#: A size or position as it is spelled: int() alone would take more than one spelling.
NUMBER: Final = r"^(?:0|[1-9][0-9]{0,18})$"
Number = Annotated[str, Query(pattern=NUMBER, json_schema_extra={"format": "int64"})]


def _latest(book: Book) -> Checkpoint:
    _, checkpoint = book.notary.refresh()
    return checkpoint


def _covering(book: Book, size: int) -> tuple[bytes, Checkpoint]:
    """Return a signed checkpoint of at least `size`, if there is one: fresh to the second."""
    if _looked.get(book.notary, 0.0) > clock.monotonic():
        note, newest = book.notary.latest()
        if newest.size >= size:
            return note, newest
    found = book.notary.refresh()
    _looked[book.notary] = clock.monotonic() + _FRESH_S
    return found


#: How long a checkpoint counts as the newest before the store is asked again, in seconds.
_FRESH_S: Final = 1.0
_looked: WeakKeyDictionary[CheckpointNotary, float] = WeakKeyDictionary()


def _briefly(response: Response) -> None:
    response.headers["cache-control"] = BRIEFLY


@router.get("/checkpoint", response_class=Response)
def checkpoint(book: PublicBook) -> Response:
    """Return the newest signed checkpoint (C2SP tlog-checkpoint)."""
    note, _ = book.notary.refresh()
    headers = {"cache-control": BRIEFLY}
    return Response(note, media_type="text/plain; charset=utf-8", headers=headers)


@router.get("/consistency")
def consistency(
    book: PublicBook,
    response: Response,
    old: Annotated[Number, Query(alias="from")],
    new: Annotated[Number, Query(alias="to")],
) -> dict[str, Any]:
    """Return the RFC 9162 path that proves the log of `to` entries to extend that of `from`."""
    first, last = int(old), int(new)
    newest = _latest(book)
    if first > last:
        raise MalformedEvent(
            errors=[FieldError("/query/from", "order", "from is not larger than to")]
        )
    if last > newest.size:
        raise NotFound(f"the log has {newest.size} signed entries")
    _briefly(response)
    return {
        "origin": book.origin,
        "from": first,
        "to": last,
        "from_root": digest_text(book.tree.root(first)),
        "to_root": digest_text(book.tree.root(last)),
        "path": [digest_text(node) for node in book.tree.consistency(first, last)],
    }


@router.get("/proofs/{position}")
def proof(
    book: PublicBook,
    response: Response,
    position: Annotated[str, Path(pattern=NUMBER)],
    size: Number | None = None,
) -> dict[str, Any]:
    """Prove the entry at a position, by its leaf hash alone, under any signed size.

    Without `size`: under the newest checkpoint, as a tlog-proof. With it: the bare path and root.
    """
    index = int(position)
    note, newest = _covering(book, index + 1 if size is None else int(size))
    limit = newest.size if size is None else int(size)
    if index >= limit or limit > newest.size:
        raise NotFound(f"the log has {newest.size} signed entries")
    _briefly(response)
    if size is None:
        return {"origin": book.origin, **prove_at(book, index, note, newest).json()}
    leaf, path = book.tree.proof(index, limit)
    return {
        "origin": book.origin,
        "position": index,
        "leaf": digest_text(leaf),
        "size": limit,
        "root": digest_text(root_of_path(leaf, index, limit, path)),
        "path": [digest_text(node) for node in path],
    }


@router.get("/anchors/{day}")
def anchors(book: PublicBook, response: Response, day: str) -> dict[str, Any]:
    """List the anchors of a UTC day, interim and nightly, with their raw tokens."""
    try:
        day_start(day)
    except ValueError:
        raise MalformedEvent(
            errors=[FieldError("/path/day", "day", "a day is written YYYY-MM-DD")]
        ) from None
    _briefly(response)
    return {"origin": book.origin, "day": day, "anchors": Anchors(book).of_day(day)}


def hash_tile(request: Request, book: Book, tile: TilePath) -> Response:
    """Return a hash tile of the signed log. Only a full one stays what it is."""
    tile.check(_latest(book).size)
    hashes = book.tree.tile(tile.level or 0, tile.index, tile.width)
    return tagged(
        request,
        hashes,
        tag=sha256(hashes).hexdigest(),
        media_type="application/octet-stream",
        cache=FOREVER if tile.width == WIDTH else BRIEFLY,
    )
