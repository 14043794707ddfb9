# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of the desk, as clients send them: cases, requests to take down, consents."""

from typing import Any

from house import attempt, event_id, export, gen, record_key

from ledger import clock

DIGEST = "sha256:" + "77" * 32


def event(type_: str, aggregate_id: str, body: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An event on behalf of somebody of this house."""
    return {
        "event_id": event_id(),
        "type": type_,
        "schema": 1,
        "aggregate_id": aggregate_id,
        "on_behalf_of": "employee-7",
        "body": body,
        "record_key": record_key(),
        **more,
    }


def at(ms: int) -> str:
    return clock.rfc3339(ms)


def moderation(generation: str, action: str) -> dict[str, Any]:
    judged = {
        "stage": "pre_prompt",
        "classifier": {"id": "filter", "version": "1"},
        "filter_action": action,
    }
    return event("MODERATION", generation, {"mod": judged})


def escalated(generation: str, case: str, **more: Any) -> dict[str, Any]:
    body = {"escalation": {"id": case, "queue": "safety", **more}, "reason_code": "risk"}
    return event("GEN_ESCALATED", generation, body)


def review(generation: str, state: str, outcome: str | None = None, **more: Any) -> dict[str, Any]:
    """A HUMAN_REVIEW; whoever has it or decided it is sealed."""
    body: dict[str, Any] = {"review": {"queue": "safety", "state": state, **more}}
    sealed = {}
    if state == "assigned":
        sealed = {"review.assigned_to": "reviewer-3"}
    if outcome is not None:
        body["outcome"], sealed = outcome, {"reviewer": "reviewer-3"}
    return event("HUMAN_REVIEW", generation, body, **({"sealed": sealed} if sealed else {}))


def override(generation: str, outcome: str) -> dict[str, Any]:
    body = {"override": {"reason_code": "context"}, "outcome": outcome}
    return event("HUMAN_OVERRIDE", generation, body, sealed={"reviewer": "reviewer-3"})


def quarantined(generation: str, asset: str, **more: Any) -> dict[str, Any]:
    """A GEN whose output is held back."""
    outcome = gen(generation, asset)
    held = {"location": "vault-7", **more}
    outcome["body"]["outputs"][0].update({"disposition": "quarantined", "quarantine": held})
    return outcome


def ended(type_: str, generation: str, asset: str) -> dict[str, Any]:
    return event(type_, generation, {"asset_id": asset, "reason_code": "reviewed"})


def delivered(house: Any) -> str:
    """Generate and export an output; returns the id of the delivery."""
    first, asset = attempt(), event_id()
    sent = export(asset)
    house.post(first, gen(first["aggregate_id"], asset), sent)
    return str(sent["aggregate_id"])


def takedown(delivery: str, request: str, received_ms: int, **more: Any) -> dict[str, Any]:
    said = {"request_id": request, "received_at": at(received_ms), **more}
    return event("TAKEDOWN", delivery, {"takedown": said})


def text(id_: str, version: str = "1", digest: str = DIGEST, **more: Any) -> dict[str, Any]:
    """A version of a consent text."""
    body = {"version": version, "digest": digest, **more}
    return event("CONSENT_TEXT_PUBLISHED", id_, body)


def granted(consent: str, text_id: str, person: str, version: str = "1") -> dict[str, Any]:
    body = {
        "consent": {
            "id": consent,
            "text_id": text_id,
            "text_version": version,
            "text_digest": DIGEST,
            "action": "opt_in",
            "method": "click",
        }
    }
    return event("CONSENT_GRANTED", consent, body, on_behalf_of=person)


def revoked(consent: str, person: str, **body: Any) -> dict[str, Any]:
    return event("CONSENT_REVOKED", consent, body, on_behalf_of=person)
