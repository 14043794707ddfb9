# SPDX-License-Identifier: GPL-3.0-or-later
"""Receipts as COSE (RFC 9942): by position for anybody, by event id for an auditor.

They are what the proofs of api.public and api.content are, in the form that readers of SCITT know.
"""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from anchoring.cose_receipt import consistency_receipt, inclusion_receipt
from api.caching import BRIEFLY, EACH_TIME
from api.content import find_entry
from api.public import NUMBER, Number
from api.state import AppState, AuditorLook, PublicBook
from ledger.errors import FieldError, MalformedEvent
from sealtrail.verify.cose_receipt import MEDIA_TYPE

router = APIRouter(tags=["cose"])


@router.get("/proofs/{position}/receipt", response_class=Response)
def proof_receipt(book: PublicBook, position: Annotated[str, Path(pattern=NUMBER)]) -> Response:
    """Return the COSE receipt of the entry at a position, under the newest checkpoint."""
    return _receipt(inclusion_receipt(book, int(position)), position, BRIEFLY)


@router.get("/consistency/receipt", response_class=Response)
def growth_receipt(book: PublicBook, old: Annotated[Number, Query(alias="from")]) -> Response:
    """Return the COSE receipt that the newest checkpoint extends the log of `from` entries."""
    size = int(old)
    if size == 0:
        rule = "every log extends the empty one, so there is no receipt of it"
        raise MalformedEvent(errors=[FieldError("/query/from", "order", rule)])
    return _receipt(consistency_receipt(book, size), f"from-{old}", BRIEFLY)


@router.get("/events/{event_id}/receipt", response_class=Response)
def event_receipt(app: AppState, looking: AuditorLook, event_id: str) -> Response:
    """Return the COSE receipt of one entry, under the newest checkpoint."""
    read = looking.book.reader.locate  # Leaf and path stay, wherever the bytes are.
    found = find_entry(app, looking, event_id, "/v1/events/{id}/receipt", read)
    return _receipt(inclusion_receipt(looking.book, found.position), str(found.position), EACH_TIME)


def _receipt(data: bytes, name: str, cache: str) -> Response:
    headers = {
        "cache-control": cache,
        "content-disposition": f'attachment; filename="{name}.receipt"',
    }
    return Response(data, media_type=MEDIA_TYPE, headers=headers)
