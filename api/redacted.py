# SPDX-License-Identifier: GPL-3.0-or-later
"""Search in the redacted copies of prompts, for auditors.

What is searched for may be personal, so it comes in a body, and is recorded nowhere; which entries
were found is entered in the access Book before any of them is shown. The originals are read one by
one, at `GET /v1/events/{id}?disclose=prompt.user`, each with a look of its own.
"""

from threading import BoundedSemaphore
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field

from api.state import AppState, AuditorLook
from ledger import clock
from ledger.errors import Overloaded
from ledger.redaction.copies import Copies, Copy, terms_of
from ledger.vault.ring import KeyRing

router = APIRouter(tags=["content"])

#: Copies are opened for one answer for so long; then it says where to go on.
BUDGET_S: Final = 1.5

#: One search at a time in a process: it is work for a core, which recording needs, too.
_TURN: Final = BoundedSemaphore(1)
_WAIT_S: Final = 10.0


class Words(BaseModel):
    """What to look for: words, or "words in a row", all of which must occur."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    q: str = Field(max_length=200)
    before: int | None = Field(default=None, ge=0, le=2**53 - 1)
    limit: int = Field(default=20, ge=1, le=100)


@router.post("/redacted:search")
def search_redacted(
    app: AppState, looking: AuditorLook, wanted: Annotated[Words, Body()]
) -> dict[str, Any]:
    """Return the newest redacted copies that hold every word; `before` of one page starts the next.

    `behind` entries have no copies by the present rules yet; what was erased has none.
    """
    terms = terms_of(wanted.q)
    book = looking.book
    size = book.notary.size
    ring = KeyRing(book.keys, schema=book.row.schema, origin=book.row.first_origin)
    if not _TURN.acquire(timeout=_WAIT_S):
        raise Overloaded("other searches are under way; send the same request again")
    try:
        page = Copies(book.database, ring).search(
            terms, before=wanted.before, limit=wanted.limit, budget_s=BUDGET_S
        )
    finally:
        _TURN.release()
    looking.note(
        app.shelf,
        "/v1/redacted:search",
        event_ids=sorted({one.event_id for one in page.found}),
        count=len(page.found),
        size=size,
        fields=sorted({one.field for one in page.found}),
    )
    return {
        "found": [_told(one) for one in page.found],
        "looked": page.looked,
        "before": page.before,
        "behind": page.behind,
    }


def _told(one: Copy) -> dict[str, Any]:
    return {
        "event_id": one.event_id,
        "field": one.field,
        "position": one.position,
        "recorded_at": clock.rfc3339(one.recorded_ms),
        "redacted": one.text,
    }
