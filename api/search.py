# SPDX-License-Identifier: GPL-3.0-or-later
"""Search, for auditors: pages as JSON, and all that is found as NDJSON, CSV or a zip of both.

A query that may name a person, by a personal key or by a word, comes in a body: addresses end in
logs. Which entries were found is entered in the access Book before the first byte, once for each
page or file; what was asked for is not, for it may be guessed from a digest.
"""

import base64
import binascii
from collections.abc import Callable, Iterator
from hashlib import sha256
from threading import BoundedSemaphore
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive, Scope, Send

from api.preference import CSV, JSON, preferred
from api.state import AppState, AuditorLook, Look, State
from evidence.search_export import CSV_NAME, Result, csv_parts, ndjson_parts, zip_parts
from ledger.errors import FieldError, Overloaded
from ledger.readmodel.query import (
    LENGTH_MAX,
    Clause,
    QueryMalformed,
    parse,
    printed,
    refuse_personal,
)
from ledger.readmodel.search import Match, Page, Place, Search, shown

router = APIRouter(tags=["content"])

PATH: Final = "/v1/search"
NDJSON: Final = "application/x-ndjson"
ZIP: Final = "application/zip"

LIMIT_MAX: Final = 500
_NUMBER_MAX: Final = 2**53 - 1

#: Files under way in a process: each is work for a core, which recording needs, too.
_TURNS: Final = BoundedSemaphore(2)

_FILES: Final[dict[str, tuple[Callable[[Result], Iterator[bytes]], str]]] = {
    NDJSON: (ndjson_parts, "results.ndjson"),
    CSV: (csv_parts, CSV_NAME),
    ZIP: (zip_parts, "results.zip"),
}

Order = Literal["newest", "oldest"]
_Q: Final = "The query (docs/search.md); empty for every entry."


class Wanted(BaseModel):
    """A query, and which page of what it finds."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    q: str = Field(default="", max_length=LENGTH_MAX, description=_Q)
    limit: int = Field(default=50, ge=1, le=LIMIT_MAX)
    order: Order = "newest"
    cursor: str | None = Field(default=None, max_length=256)


@router.get("/search", response_model=None)
def search_entries(
    request: Request,
    app: AppState,
    looking: AuditorLook,
    *,
    q: Annotated[str, Query(max_length=LENGTH_MAX, description=_Q)] = "",
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = 50,
    order: Annotated[Order, Query()] = "newest",
    cursor: Annotated[str | None, Query(max_length=256)] = None,
) -> dict[str, Any] | Response:
    """Return the entries that meet every clause of a query; `next` and `previous` are cursors.

    With `Accept: application/x-ndjson`, `text/csv` or `application/zip` all of them at once, oldest
    first. Free words and personal keys are refused here: send them as a POST.
    """
    clauses = parse(q)
    refuse_personal(clauses)
    wanted = Wanted(q=q, limit=limit, order=order, cursor=cursor)
    return _answer(request, app, looking, clauses, wanted)


@router.post("/search", response_model=None)
def search_in_body(
    request: Request, app: AppState, looking: AuditorLook, wanted: Annotated[Wanted, Body()]
) -> dict[str, Any] | Response:
    """The same for any query, in the body: also by person, and by words."""
    return _answer(request, app, looking, parse(wanted.q), wanted)


def _answer(
    request: Request, app: State, looking: Look, clauses: tuple[Clause, ...], wanted: Wanted
) -> dict[str, Any] | Response:
    form = preferred(request.headers.get("accept", ""), JSON, *_FILES)
    if form in _FILES:
        return _file(app, looking, clauses, form)
    book = looking.book
    place = None if wanted.cursor is None else read_cursor(wanted.cursor, clauses)
    page = Search(book.database, book.vault, book.row.schema).page(
        clauses, limit=wanted.limit, descending=wanted.order == "newest", place=place
    )
    looking.note(
        app.shelf,
        PATH,
        event_ids=[match.event_id for match in page.found],
        count=len(page.found),
        size=page.as_of.position,
    )
    return _told(page, clauses, wanted, place)


def _told(
    page: Page, clauses: tuple[Clause, ...], wanted: Wanted, place: Place | None
) -> dict[str, Any]:
    """Return a page in the order that was asked for, whichever way it was read."""
    descending = wanted.order == "newest"
    backward = place is not None and place.descending != descending
    found = page.found[::-1] if backward else page.found
    more, before = (place is not None, page.more) if backward else (page.more, place is not None)
    as_of = page.as_of.position

    def cursor(match: Match, way: bool) -> str:
        return print_cursor(Place(match.position, way, as_of), clauses)

    return {
        "found": [{**shown(match), "links": _links(match)} for match in found],
        "as_of": as_of,
        "behind": page.as_of.behind,
        "next": cursor(found[-1], descending) if found and more else None,
        "previous": cursor(found[0], not descending) if found and before else None,
    }


def _file(app: State, looking: Look, clauses: tuple[Clause, ...], form: str) -> Response:
    """Return all that is found; the look is entered first, as an export."""
    if not _TURNS.acquire(blocking=False):
        raise Overloaded("other exports are under way; send the same request again")
    try:
        result = Result.of(looking.book, clauses)
        looking.note(
            app.shelf,
            PATH,
            count=result.whole.count,
            size=result.whole.as_of.position,
            exported=True,
            found=result.positions_digest,
        )
    except BaseException:
        _TURNS.release()
        raise
    make, name = _FILES[form]
    headers = {
        "content-disposition": f'attachment; filename="{name}"',
        "cache-control": "no-store",
        "sealtrail-as-of": str(result.whole.as_of.position),
        "sealtrail-behind": str(result.whole.as_of.behind),
        "sealtrail-count": str(result.whole.count),
    }
    return _Export(make(result), media_type=form, headers=headers)


class _Export(StreamingResponse):
    """A file on its way out. Its turn ends with the answer, also if nobody was there to take it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:  # Not in the parts: what is never asked for its first part never ends.
            _TURNS.release()


def _links(match: Match) -> dict[str, str]:
    entry = f"/v1/events/{match.event_id}"
    return {"entry": entry, "proof": f"{entry}/proof"}


def print_cursor(place: Place, clauses: tuple[Clause, ...]) -> str:
    """Print where a page ended. It opens nothing that its reader may not see anyway."""
    way = "d" if place.descending else "a"
    text = f"{place.position}.{place.as_of}.{way}.{_digest(clauses)}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str, clauses: tuple[Clause, ...]) -> Place:
    """Read a cursor; raises QueryMalformed for one that is none, or another query's."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        position, as_of, way, digest = text.split(".")
        place = Place(int(position), way == "d", int(as_of))
    except (ValueError, binascii.Error):
        raise _no_cursor("a cursor is what `next` or `previous` of an answer was") from None
    if digest != _digest(clauses):
        raise _no_cursor("a cursor belongs to the query that it came from")
    numbers = 0 <= place.position <= _NUMBER_MAX and 0 <= place.as_of <= _NUMBER_MAX
    if not numbers or print_cursor(place, clauses) != cursor:
        raise _no_cursor("a cursor is what `next` or `previous` of an answer was")
    return place


def _digest(clauses: tuple[Clause, ...]) -> str:
    return sha256(printed(clauses).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _no_cursor(detail: str) -> QueryMalformed:
    return QueryMalformed(errors=[FieldError("/cursor", "cursor", detail)])
