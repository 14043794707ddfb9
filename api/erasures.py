# SPDX-License-Identifier: GPL-3.0-or-later
"""Erasures over HTTP: a dry run, a request, a second person's word, and how it went.

A person's id is sent in a body, never in a path. Whoever asks whether somebody is known here has
looked, and that is recorded like any other look.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field

from api.holds import checked_id, in_request
from api.state import AppState, AuditorLook
from evidence.spool import Spool
from ledger.erasure.erasures import Erasures
from ledger.errors import MalformedEvent

router = APIRouter(tags=["erasures"])

PersonId = Annotated[str, Field(min_length=1, max_length=256)]
Ref = Annotated[str, Field(max_length=36)]


class Somebody(BaseModel):
    """A data subject: by the person's own id, or by the random name that entries use."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    person: PersonId | None = None
    subject_ref: Ref | None = None


class NewErasure(Somebody):
    """Whom to erase, and on which ground (docs/events.md, ERASURE_REQUESTED)."""

    erasure_id: str | None = Field(default=None, max_length=36)
    basis: str = Field(max_length=256)


class Withdrawal(BaseModel):
    """Why a request is given up."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    reason: str = Field(max_length=256)


@router.post("/erasures/plan")
def plan_erasure(
    app: AppState, looking: AuditorLook, somebody: Annotated[Somebody, Body()]
) -> dict[str, Any]:
    """Return what an erasure would take, what it would leave, and what forbids it now."""
    looking.note(app.shelf, "/v1/erasures/plan", count=1)
    erasures = Erasures.of(looking.book)
    subject, plan = erasures.plan(person=somebody.person, ref=somebody.subject_ref)
    held = erasures.held_by(subject.ref)
    return {"subject_ref": str(subject.ref), **plan.json(), "held_by": list(held)}


@router.post("/erasures", status_code=201)
def request_erasure(
    app: AppState, looking: AuditorLook, new: Annotated[NewErasure, Body()]
) -> dict[str, Any]:
    """Ask for an erasure: nothing goes before a second person approves. Safe to repeat."""
    looking.note(app.shelf, "/v1/erasures", count=1)
    if new.erasure_id is not None:
        checked_id(new.erasure_id, "erasure")
    try:
        case = Erasures.of(looking.book).request(
            basis=new.basis,
            by=looking.identity,
            person=new.person,
            ref=new.subject_ref,
            erasure_id=new.erasure_id,
        )
    except MalformedEvent as error:
        raise in_request(error) from None
    return case.json()


@router.get("/erasures")
def erasures(app: AppState, looking: AuditorLook) -> dict[str, Any]:
    """Return every erasure of the Book, by random names only."""
    found = Erasures.of(looking.book).all()
    looking.note(app.shelf, "/v1/erasures", count=len(found))
    return {"erasures": [case.json() for case in found]}


@router.get("/erasures/{erasure_id}")
def erasure(app: AppState, looking: AuditorLook, erasure_id: str) -> dict[str, Any]:
    """Return one erasure and where it stands."""
    looking.note(app.shelf, "/v1/erasures/{id}", count=1)
    return Erasures.of(looking.book).get(checked_id(erasure_id, "erasure")).json()


@router.post("/erasures/{erasure_id}/approve")
def approve_erasure(
    app: AppState, looking: AuditorLook, erasure_id: str, somebody: Annotated[Somebody, Body()]
) -> dict[str, Any]:
    """Approve as a second person, naming the subject anew: unreadable at once, or deferred."""
    case = Erasures.of(looking.book).approve(
        checked_id(erasure_id, "erasure"),
        by=looking.identity,
        person=somebody.person,
        ref=somebody.subject_ref,
    )
    Spool(app.packet_dir, ttl_s=app.packet_ttl_s).forget(looking.book.row.name)
    return case.json()


@router.post("/erasures/{erasure_id}/withdraw")
def withdraw_erasure(
    looking: AuditorLook, erasure_id: str, withdrawal: Annotated[Withdrawal, Body()]
) -> dict[str, Any]:
    """Give a request up that nobody has approved yet."""
    try:
        case = Erasures.of(looking.book).withdraw(
            checked_id(erasure_id, "erasure"), by=looking.identity, reason=withdrawal.reason
        )
    except MalformedEvent as error:
        raise in_request(error) from None
    return case.json()
