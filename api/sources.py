# SPDX-License-Identifier: GPL-3.0-or-later
"""Which numbers of producers' sequences are missing, for auditors."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from api.state import AppState, AuditorLook
from ledger.readmodel.follower import catch_up
from ledger.sources.listing import page, source_json

router = APIRouter(tags=["completeness"])


@router.get("/sources")
def list_sources(
    app: AppState,
    looking: AuditorLook,
    *,
    state: Annotated[
        Literal["watched", "all"], Query(description="watched: gaps, a tail, or a running writer.")
    ] = "watched",
    after: Annotated[str, Query(max_length=128)] = "",
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> dict[str, Any]:
    """Return sequences by name, with their gaps; `after` of one page starts the next.

    `as_of` is how many entries were read for it, `behind` how many were not.
    """
    book = looking.book
    as_of = catch_up(book.database, book.row.schema, {"sources"})
    now_ms = book.database.now_ms()
    found = page(book.database, book.row.schema, after=after, limit=limit, every=state == "all")
    looking.note(app.shelf, "/v1/sources", count=len(found), size=as_of.position)
    return {
        "sources": [source_json(one, now_ms) for one in found],
        "after": found[-1].source_id if len(found) == limit else None,
        "as_of": as_of.position,
        "behind": as_of.behind,
    }
