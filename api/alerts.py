# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ledger noticed, for auditors: the open alerts, and a person's word that one is seen."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, ConfigDict, Field

from anchoring.alerts import Alert, acknowledge, alerts
from api.holds import checked_id, in_request, person
from api.state import AppState, AuditorLook
from ledger import clock
from ledger.errors import MalformedEvent

router = APIRouter(tags=["alerts"])


class Answer(BaseModel):
    """What became of it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    reason: str | None = Field(default=None, max_length=64)


@router.get("/alerts")
def list_alerts(
    app: AppState,
    looking: AuditorLook,
    *,
    state: Annotated[Literal["open", "all"], Query()] = "open",
    code: Annotated[str | None, Query(max_length=64)] = None,
    before: Annotated[int | None, Query(ge=0, le=2**53 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> dict[str, Any]:
    """Return the newest alerts; `before` of one page starts the next, null on the last."""
    found = alerts(looking.book, open_only=state == "open", code=code, before=before, limit=limit)
    looking.note(app.shelf, "/v1/alerts", count=len(found))
    return {
        "alerts": [alert_json(one) for one in found],
        "before": found[-1].position if len(found) == limit else None,
    }


@router.post("/alerts/{event_id}/acknowledge")
def acknowledge_alert(
    looking: AuditorLook, event_id: str, answer: Annotated[Answer, Body()]
) -> dict[str, Any]:
    """Say that a person has seen an alert: an entry with their credential; safe to repeat."""
    actor = person(looking.identity)
    try:
        found = acknowledge(
            looking.book, checked_id(event_id, "alert"), actor=actor, reason=answer.reason
        )
    except MalformedEvent as error:
        raise in_request(error) from None
    return alert_json(found)


def alert_json(alert: Alert) -> dict[str, Any]:
    """Return an alert as the API and `--json` show it."""
    shown: dict[str, Any] = {
        "event_id": alert.event_id,
        "position": alert.position,
        "code": alert.code,
        "about": alert.about,
        "facts": alert.facts,
        "raised_at": clock.rfc3339(alert.raised_ms),
    }
    if alert.acknowledged_ms is not None:
        shown["acknowledged"] = {
            "at": clock.rfc3339(alert.acknowledged_ms),
            "position": alert.acknowledged,
            **({} if alert.reason is None else {"reason": alert.reason}),
        }
    return shown
