# SPDX-License-Identifier: GPL-3.0-or-later
"""Legal holds over HTTP: place one, see them, release one. For persons who audit, by name.

Placing and releasing are entries of the Book itself; looking at holds is a look like any other.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field

from anchoring.shelf import Book
from api.state import AppState, AuditorLook
from ledger.errors import FieldError, Forbidden, MalformedEvent, NotFound
from ledger.hold_content import with_committed
from ledger.hold_persons import subjects_of
from ledger.hold_record import Hold
from ledger.holds import Holds
from ledger.request import UUID7, Identity

router = APIRouter(tags=["holds"])

PersonId = Annotated[str, Field(min_length=1, max_length=256)]


class NewHold(BaseModel):
    """What to keep, for which matter, by whose order (docs/events.md, LEGAL_HOLD_PLACED)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    hold_id: str | None = Field(default=None, max_length=36)
    matter: str = Field(max_length=256)
    authority: str = Field(max_length=256)
    scope: dict[str, Any] = Field(default_factory=dict)
    #: Persons by their own ids; entries name their subjects by random names.
    persons: list[PersonId] = Field(default_factory=list, max_length=16)


class Release(BaseModel):
    """By whose order a hold ends."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    authority: str = Field(max_length=256)
    reason: str | None = Field(default=None, max_length=256)


@router.post("/holds", status_code=201)
def place_hold(looking: AuditorLook, new: Annotated[NewHold, Body()]) -> dict[str, Any]:
    """Place a legal hold; safe to repeat with the same `hold_id`, a UUID of version 7."""
    actor = person(looking.identity)
    try:
        hold = Holds.of(looking.book).apply(
            resolved(looking.book, new.scope, new.persons),
            matter=new.matter,
            authority=new.authority,
            actor=actor,
            hold_id=new.hold_id,
        )
    except MalformedEvent as error:
        raise in_request(error) from None
    return hold_json(hold)


@router.get("/holds")
def holds(app: AppState, looking: AuditorLook) -> dict[str, Any]:
    """Return every hold of the Book, released ones included."""
    found = Holds.of(looking.book).all()
    looking.note(app.shelf, "/v1/holds", count=len(found))
    return {"holds": [hold_json(hold) for hold in found]}


@router.get("/holds/{hold_id}")
def hold(app: AppState, looking: AuditorLook, hold_id: str) -> dict[str, Any]:
    """Return one hold, and how many recorded entries it keeps now."""
    looking.note(app.shelf, "/v1/holds/{id}", count=1)
    book = Holds.of(looking.book)
    found = book.get(checked_id(hold_id, "hold"))
    return {**hold_json(found), "entries": book.count(found.hold_id)}


@router.post("/holds/{hold_id}/release")
def release_hold(
    looking: AuditorLook, hold_id: str, release: Annotated[Release, Body()]
) -> dict[str, Any]:
    """Release a hold. What it kept goes on under its clocks; what waited for it happens."""
    actor = person(looking.identity)
    try:
        released = Holds.of(looking.book).release(
            checked_id(hold_id, "hold"),
            authority=release.authority,
            reason=release.reason,
            actor=actor,
        )
    except MalformedEvent as error:
        raise in_request(error) from None
    return hold_json(released)


def resolved(book: Book, scope: dict[str, Any], persons: Sequence[str]) -> dict[str, Any]:
    """Return a scope with the subjects of these persons, and what commits to its artifacts."""
    scope = with_committed(book, scope)
    given = scope.get("subjects", [])
    if not persons or not isinstance(given, list):
        return scope
    found = [ref for one in persons for ref in subjects_of(book, one)]
    return {
        **scope,
        "subjects": [*given, *(ref for ref in dict.fromkeys(found) if ref not in given)],
    }


def person(identity: Identity) -> dict[str, Any]:
    """Return a person as an entry names one; a program decides nothing about custody."""
    if identity.kind != "person":
        raise Forbidden("what is kept and what goes is decided by a person, with a token of theirs")
    return {"kind": "human", "credential": identity.credential}


def checked_id(text: str, what: str) -> str:
    """Return the id in a path if it can be one of ours; raises NotFound."""
    if not UUID7.fullmatch(text):
        raise NotFound(f"there is no such {what} in this Book")
    return text


def in_request(error: MalformedEvent) -> MalformedEvent:
    """Return what is wrong with an entry as what is wrong with the request that asked for it."""
    return MalformedEvent(
        errors=[
            FieldError(one.pointer.removeprefix("/body"), one.rule, one.detail)
            for one in error.errors
        ]
    )


def hold_json(hold: Hold) -> dict[str, Any]:
    """Return a hold as the API and `--json` show it."""
    shown = {
        "hold_id": hold.hold_id,
        "matter": hold.matter,
        "authority": hold.authority,
        "placed": {"at": hold.placed, "by": hold.credential},
        "complete": hold.complete,
        "scopes": list(hold.scopes),
        "positions": list(hold.positions),
        "released": hold.released,
    }
    return {name: value for name, value in shown.items() if value is not None}
