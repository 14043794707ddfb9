# SPDX-License-Identifier: GPL-3.0-or-later
"""The registers, and what has answered that is not in them, for auditors."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.lineage import as_of_json
from api.state import AppState, AuditorLook
from ledger.readmodel.follower import catch_up
from ledger.registers import THINGS_MAX, Kind, register
from ledger.upgrades import ALARMING, ANSWERS_MAX, upgrades

router = APIRouter(tags=["registers"])


@router.get("/registers/{kind}")
def read_register(
    app: AppState,
    looking: AuditorLook,
    kind: Kind,
    *,
    id_: Annotated[str | None, Query(alias="id", max_length=128)] = None,
    after: Annotated[str, Query(max_length=128)] = "",
    limit: Annotated[int, Query(ge=1, le=THINGS_MAX)] = THINGS_MAX,
) -> dict[str, Any]:
    """Return the things of a register with their versions; `after` the last id comes the rest."""
    book = looking.book
    as_of = catch_up(book.database, book.row.schema, ["search"])
    found = register(book.database, book.row.schema, kind, id_=id_, after=after, limit=limit)
    looking.note(
        app.shelf,
        "/v1/registers/{kind}",
        event_ids=[
            event["event_id"]
            for thing in found
            for version in thing["versions"]
            for event in version["events"]
        ],
        count=len(found),
        size=as_of.position,
    )
    return {**as_of_json(as_of), "kind": kind, "things": found, "more": len(found) == limit}


@router.get("/upgrades")
def list_upgrades(
    app: AppState,
    looking: AuditorLook,
    *,
    alarming: Annotated[bool, Query(description="Only what somebody has to look at.")] = False,
    limit: Annotated[int, Query(ge=1, le=ANSWERS_MAX)] = ANSWERS_MAX,
) -> dict[str, Any]:
    """Return which models have answered, the latest to appear first, and if that is registered."""
    book = looking.book
    as_of = catch_up(book.database, book.row.schema, ["lineage", "search"])
    found = upgrades(book.database, book.row.schema, limit=limit)
    shown = [one for one in found if not alarming or one.standing in ALARMING]
    looking.note(app.shelf, "/v1/upgrades", count=len(shown), size=as_of.position)
    return {
        **as_of_json(as_of),
        "answers": [one.json() for one in shown],
        "more": len(found) == limit,
    }
