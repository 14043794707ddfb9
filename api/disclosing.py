# SPDX-License-Identifier: GPL-3.0-or-later
"""What the vault shows to auditors: single fields of an entry, and entries by an identifier.

Names of fields are those of the catalogue, and nothing else goes into the look that is recorded: a
path or a query may end up in logs, so a value to search for comes in a body, and is recorded
nowhere. Which entries it found is.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, ConfigDict, Field

from anchoring.shelf import Book
from api.state import AppState, AuditorLook
from ledger.erasure.lawful import check_lawful
from ledger.errors import FieldError, MalformedEvent
from ledger.events.kind import is_sealed
from ledger.store import Entry
from ledger.vault.opening import FOUND_MAX, ValuesErased
from ledger.vault.owners import FIELDS, IDENTIFIERS
from sealtrail.verify.disclosure import PERSON

router = APIRouter(tags=["content"])

NAMES_MAX = 64

Disclose = Annotated[
    str | None,
    Query(max_length=8_192, description="Names of committed fields to show, with commas between."),
]


class Search(BaseModel):
    """An identifier, such as `actor.account_id`, and its exact value."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    field: str = Field(max_length=128)
    value: str = Field(min_length=1, max_length=1_024)


@router.post("/events:search")
def search(
    app: AppState, looking: AuditorLook, wanted: Annotated[Search, Body()]
) -> dict[str, Any]:
    """Return the ids of the events that hold an identifier, the first thousand of them."""
    if wanted.field not in IDENTIFIERS and wanted.field != PERSON:
        detail = "only identifiers can be searched for, never what somebody wrote: docs/api.md"
        raise MalformedEvent(errors=[FieldError("/field", "identifier", detail)])
    size = looking.book.notary.size
    found = looking.book.vault.find(wanted.field, wanted.value)
    looking.note(
        app.shelf,
        "/v1/events:search",
        event_ids=found,
        count=len(found),
        size=size,
        fields=[wanted.field],
    )
    return {"event_ids": found, "more": len(found) == FOUND_MAX}


def named_fields(disclose: str | None) -> tuple[str, ...]:
    """Return the committed names that a reader wants to see; raises MalformedEvent."""
    if disclose is None:
        return ()
    names = tuple(dict.fromkeys(disclose.split(",")))
    if len(names) > NAMES_MAX or not all(is_sealed(name, FIELDS) for name in names):
        detail = f"disclose names up to {NAMES_MAX} fields that events seal (docs/events.md)"
        raise MalformedEvent(errors=[FieldError("/query/disclose", "name", detail)])
    return names


def disclosed(book: Book, entry: Entry, names: Sequence[str]) -> dict[str, Any]:
    """Return the disclosures of these fields of an entry, after the look was recorded.

    A field that was never sealed here is left out. Raises ValuesErased if nothing of them can be
    shown because a person was erased, ErasureUnknown if the log knows of no such erasure.
    """
    opened = book.vault.open(entry.event_id, names, sd=entry.value.get("_sd", ()))
    check_lawful(book, opened.gone)
    if opened.gone and not opened.disclosures:
        raise ValuesErased(erasures=", ".join(opened.erasures))
    return {"disclosures": dict(opened.disclosures), "erasures": list(opened.erasures)}
