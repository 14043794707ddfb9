# SPDX-License-Identifier: GPL-3.0-or-later
"""Cold entries over HTTP: ask for them to be brought back, see how far that is, then read them.

Asking is a look and is recorded as one: it says whose entries somebody wants to see. What comes
back is read like any other entry, and that is a look again.
"""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field

from anchoring.thaw import Retrievals
from api.state import AppState, AuditorLook
from ledger import clock
from ledger.errors import NotFound
from ledger.request import UUID7

router = APIRouter(tags=["content"])

_UUID7: Final = f"^{UUID7.pattern}$"
EventId = Annotated[str, Field(pattern=_UUID7)]
_HOUR_MS: Final = 3_600_000


class NewRetrieval(BaseModel):
    """Which entries, and for how long they are to be readable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    event_ids: list[EventId] = Field(min_length=1, max_length=1_000)
    hours: int = Field(default=72, ge=1, le=8_760)


@router.post("/retrievals", status_code=202)
def ask_retrieval(
    app: AppState, looking: AuditorLook, new: Annotated[NewRetrieval, Body()]
) -> dict[str, Any]:
    """Ask for cold entries to be brought back; the scheduler does it within a minute or so."""
    book = looking.book
    found, refusal = [], None
    for event_id in new.event_ids:
        try:
            found.append(book.reader.locate(event_id).position)
        except NotFound as error:
            refusal = error
    looking.note(
        app.shelf,
        "/v1/retrievals",
        event_ids=new.event_ids,
        count=len(found),
    )
    if refusal is not None:
        raise refusal
    until_ms = clock.now_ms() + new.hours * _HOUR_MS
    return Retrievals(book, None).ask(found, until_ms=until_ms).json()


@router.get("/retrievals/{retrieval_id}")
def retrieval(looking: AuditorLook, retrieval_id: str) -> dict[str, Any]:
    """Say how far a retrieval is; it shows nothing of any entry, so it is no look."""
    if not UUID7.fullmatch(retrieval_id):
        raise NotFound("there is no such retrieval")
    return Retrievals(looking.book, None).get(retrieval_id).json()
