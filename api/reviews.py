# SPDX-License-Identifier: GPL-3.0-or-later
"""The desk, for auditors: open cases, requests to take down, consents and what their end began.

Nothing is decided here. A decision is an event (HUMAN_REVIEW, TAKEDOWN, …) that a person's token
sends to `POST /v1/events`, and is seen here as soon as it was acknowledged.
"""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query

from api.state import AppState, AuditorLook, Look
from ledger.desk.consents import ConsentProjection, consent_of, consent_revoked_by
from ledger.desk.reviews import Case, ReviewProjection, reviews
from ledger.desk.takedowns import TakedownProjection, takedowns
from ledger.errors import FieldError, MalformedEvent, NotFound
from ledger.readmodel.follower import AsOf, catch_up
from ledger.request import UUID7

router = APIRouter(tags=["desk"])

#: What `state` may ask for, and the states of a case that it means.
CASE_STATES: Final[dict[str, tuple[str, ...] | None]] = {
    "open": ("waiting", "opened", "assigned"),
    "waiting": ("waiting",),
    "opened": ("opened",),
    "assigned": ("assigned",),
    "decided": ("decided",),
    "all": None,
}
_PAGE_MAX: Final = 1_000


@router.get("/reviews")
def list_reviews(
    app: AppState,
    looking: AuditorLook,
    *,
    queue: Annotated[str | None, Query(max_length=64)] = None,
    state: Annotated[
        Literal["open", "waiting", "opened", "assigned", "decided", "all"], Query()
    ] = "open",
    overdue: Annotated[bool, Query(description="Only open cases after their deadline.")] = False,
    before: Annotated[str | None, Query(max_length=160)] = None,
    limit: Annotated[int, Query(ge=1, le=_PAGE_MAX)] = 100,
) -> dict[str, Any]:
    """Return cases for people, the newest first; `before` of one page starts the next.

    Who has a case or decided it is sealed in the events that are named.
    """
    as_of = _caught_up(looking, ReviewProjection.name)
    book, now = looking.book, looking.book.database.now_ms()
    found = reviews(
        book.database,
        book.row.schema,
        queue=queue,
        states=CASE_STATES[state],
        overdue_ms=now if overdue else None,
        before=None if before is None else _place(before),
        limit=limit,
    )
    ids = sorted({one.last_event for one in found})
    looking.note(app.shelf, "/v1/reviews", event_ids=ids, count=len(found), size=as_of.position)
    return {
        "reviews": [one.json(now) for one in found],
        "before": page_end(found) if len(found) == limit else None,
        "as_of": as_of.position,
        "behind": as_of.behind,
    }


@router.get("/takedowns")
def list_takedowns(
    app: AppState,
    looking: AuditorLook,
    *,
    state: Annotated[Literal["open", "overdue", "met", "late", "invalid", "all"], Query()] = "all",
    before: Annotated[int | None, Query(ge=0, le=2**53 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=_PAGE_MAX)] = 100,
) -> dict[str, Any]:
    """Return requests to take a picture down with their 48 hours, the newest first."""
    as_of = _caught_up(looking, TakedownProjection.name)
    book, now = looking.book, looking.book.database.now_ms()
    found = takedowns(
        book.database, book.row.schema, state=state, now_ms=now, before=before, limit=limit
    )
    ids = sorted({one.last_event for one in found})
    looking.note(app.shelf, "/v1/takedowns", event_ids=ids, count=len(found), size=as_of.position)
    return {
        "takedowns": [one.json(now) for one in found],
        "before": found[-1].position if len(found) == limit else None,
        "as_of": as_of.position,
        "behind": as_of.behind,
    }


@router.get("/consents/{consent_id:path}")
def consent(app: AppState, looking: AuditorLook, consent_id: str) -> dict[str, Any]:
    """Return a consent, by its id or by the event that revoked it, with what the end of it began.

    Whose consent it is stands sealed in the event that granted it.
    """
    as_of = _caught_up(looking, ConsentProjection.name)
    book = looking.book
    found = consent_of(book.database, book.row.schema, consent_id)
    if found is None and UUID7.fullmatch(consent_id):
        found = consent_revoked_by(book.database, book.row.schema, consent_id)
    ids = [] if found is None else [found.event_id]
    size = as_of.position
    looking.note(app.shelf, "/v1/consents/{id}", event_ids=ids, count=len(ids), size=size)
    if found is None:
        raise NotFound("there is no such consent in this Book")
    return {**found.json(book.database.now_ms()), "as_of": size, "behind": as_of.behind}


def page_end(found: list[Case]) -> str:
    """Return what starts the next page."""
    return f"{found[-1].position}:{found[-1].case_id}"


def _place(before: str) -> tuple[int, str]:
    number, colon, case_id = before.partition(":")
    if not colon or not number.isascii() or not number.isdigit() or len(number) > 15:
        told = "send `before` as the page before gave it"
        raise MalformedEvent(errors=[FieldError("/query/before", "place", told)])
    return int(number), case_id


def _caught_up(looking: Look, name: str) -> AsOf:
    return catch_up(looking.book.database, looking.book.row.schema, [name])
