# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of contents: every event type, its class, its aggregate, and who may make it.

A stored topic is `GEN/1`: a name in this table, never the name of a module. `validate` gives back
the body exactly as it was sent, so that what is hashed is what the client said. `docs/events.md` is
this table, printed (`python -m ledger.catalog`); the JSON Schemas in `docs/schemas` come from the
same classes (`python -m ledger.catalog docs/schemas`).
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import SchemaValidator

from ledger.errors import FieldError, MalformedEvent
from ledger.events import (
    alert,
    custody,
    dataset,
    effect,
    envelope,
    generation,
    log,
    page,
    retention,
    rotation,
)
from ledger.events.client_made import CLIENT_MADE
from ledger.events.complaints import complaints, pointer_of
from ledger.events.kind import EventClass, lacking, members, pattern_of
from ledger.events.shapes import shape_of
from ledger.events.values import Body
from sealtrail.verify import canonical
from sealtrail.verify.disclosure import PERSON, VALUE_MAX
from sealtrail.verify.errors import VerifyError

JSON = dict[str, Any]

#: Committed values of one event, the person not among them; an entry has at most 64 digests.
SEALED_COUNT: Final = 63


def _client(type_: str, model: type[Body], aggregate: str) -> EventClass:
    return EventClass(type=type_, schema=1, model=model, aggregate=aggregate)


def _ledger(type_: str, model: type[Body], aggregate: str) -> EventClass:
    return EventClass(type=type_, schema=1, model=model, aggregate=aggregate, ledger_made=True)


CATALOG: Final[dict[tuple[str, int], EventClass]] = {
    (one.type, one.schema): one
    for one in (
        *(_client(*one) for one in CLIENT_MADE),
        _ledger("DATASET_SEALED", dataset.DatasetSealed, "Dataset"),
        _ledger("DATASET_SUPERSEDED", dataset.DatasetSuperseded, "Dataset"),
        _ledger("OUTPUTS_ROLLED", dataset.OutputsRolled, "OutputPeriod"),
        _ledger("OUTCOME_LATE", generation.OutcomeLate, "Generation"),
        _ledger("EPOCH_SEALED", log.EpochSealed, "Log"),
        _ledger("COMPLETENESS_REPORT", log.CompletenessReport, "AnchorDay"),
        _ledger("ANCHOR", log.Anchor, "AnchorDay"),
        _ledger("ANCHOR_FAILED", log.AnchorFailed, "AnchorDay"),
        _ledger("ACCESS", log.Access, "Log"),
        _ledger("INCARNATION_OPENED", log.IncarnationOpened, "Log"),
        _ledger("KEY_ROTATED", rotation.KeyRotated, "Log"),
        _ledger("RETENTION_POLICY_PUBLISHED", retention.RetentionPolicyPublished, "Log"),
        _ledger("TIER_MOVED", retention.TierMoved, "Log"),
        _ledger("RETENTION_EXPIRED", retention.RetentionExpired, "Log"),
        _ledger("INTEGRITY_CHECK", retention.IntegrityCheck, "Log"),
        _ledger("LEGAL_HOLD_PLACED", custody.LegalHoldPlaced, "Log"),
        _ledger("LEGAL_HOLD_RELEASED", custody.LegalHoldReleased, "Log"),
        _ledger("ERASURE_REQUESTED", custody.ErasureRequested, "Log"),
        _ledger("ERASURE_APPROVED", custody.ErasureApproved, "Log"),
        _ledger("ERASURE_WITHDRAWN", custody.ErasureWithdrawn, "Log"),
        _ledger("ERASURE_DEFERRED", custody.ErasureDeferred, "Log"),
        _ledger("ERASURE", custody.Erasure, "Log"),
        _ledger("CONSENT_EFFECTED", effect.ConsentEffected, "Log"),
        _ledger("ALERT_RAISED", alert.AlertRaised, "Log"),
        _ledger("ALERT_ACKNOWLEDGED", alert.AlertAcknowledged, "Log"),
    )
}
_TYPES: Final = frozenset(type_ for type_, _ in CATALOG)

#: Events that stand for a call of a model, and so are linked to the call that made it.
_CALLS: Final = frozenset({CATALOG["GEN_ATTEMPT", 1]})

_ENVELOPE: Final = shape_of(envelope.Envelope)

#: The person is no sealed name, but must not be clear either.
_NEVER_CLEAR: Final = frozenset({*envelope.SEALED, PERSON})


def lookup(type_: object, schema: object) -> EventClass:
    """Return the event class; raises MalformedEvent for an unknown type or schema."""
    if not isinstance(type_, str) or type_ not in _TYPES:
        raise _malformed("/type", "unknown-type", "this ledger has no such event type")
    # `True` is 1 to a dict, but not to us.
    found = CATALOG.get((type_, schema)) if type(schema) is int else None
    if found is None:
        raise _malformed("/schema", "unknown-schema", f"{type_} has no such schema version")
    return found


def validate(
    type_: str, schema: int, body: JSON, sealed: Mapping[str, Any], *, by_ledger: bool = False
) -> JSON:
    """Check body and sealed names of an event and return the body as it was sent.

    Raises MalformedEvent with pointer and rule of every field that is wrong, never its value.
    """
    errors = faults(lookup(type_, schema), body, sealed, by_ledger=by_ledger)
    if errors:
        raise MalformedEvent(errors=errors)
    return body


def validate_envelope(groups: JSON) -> None:
    """Check the optional groups of a request; raises MalformedEvent."""
    errors = envelope_faults(None, groups)
    if errors:
        raise MalformedEvent(errors=errors)


def faults(
    event: EventClass,
    body: JSON,
    sealed: Mapping[str, Any],
    *,
    by_ledger: bool = False,
    custody: bool = False,
) -> list[FieldError]:
    """Return what is wrong with body and sealed values of an event; no value is repeated.

    custody: the client keeps its values and sent digests only, so nobody here can say whether a
    member that is not clear was committed. Raises MalformedEvent for one that others record.
    """
    _check_maker(event, body, by_ledger=by_ledger)
    errors: list[FieldError] = []
    if not _fits(event.shape, body):
        try:
            event.model.model_validate(body)
        except ValidationError as error:
            errors = complaints(error, "/body", event.sealed)
    if sealed:
        errors += _sealed_faults(event, body, sealed)
    if event.needy and not custody:
        errors += [
            FieldError(f"/body{pointer_of(name)}", "required", f"send {name}, clear or in sealed")
            for name in lacking(_needed(event.model, body), body, sealed)
        ]
    return errors


def envelope_faults(event: EventClass | None, groups: JSON) -> list[FieldError]:
    """Return what is wrong with the optional groups of a request."""
    if not groups:
        return []
    if not _fits(_ENVELOPE, groups):
        try:
            envelope.Envelope.model_validate(groups)
        except ValidationError as error:
            return complaints(error, "", _NEVER_CLEAR)
    errors = [
        FieldError(f"/{name}", "empty", "leave an empty group out")
        for name, value in groups.items()
        if not value and isinstance(value, dict)
    ]
    parents = {}
    for at, link in enumerate(groups.get("links", ())):
        if link["rel"] == "parent-call":
            parents[link["id"]] = link
            if "leaf" not in link:
                detail = "a parent call is linked by id and leaf, so that its content is bound, too"
                errors.append(FieldError(f"/links/{at}/leaf", "required", detail))
    parent = groups.get("trace", {}).get("parent_event")
    if parent is not None and parent not in parents and event in _CALLS:
        detail = "link parent_event as `parent-call`, with the leaf of its receipt"
        errors.append(FieldError("/trace/parent_event", "unlinked-parent", detail))
    return errors


def born_assets(type_: str, aggregate_id: str, body: JSON) -> list[str]:
    """Name the assets to which an entry gives birth."""
    if type_ == "INGEST":
        return [aggregate_id]
    if type_ == "GEN":
        return [output["asset_id"] for output in body["outputs"]]
    return []


def consulted(type_: str, body: JSON) -> list[str]:
    """Name the other streams that the decision about an event has to see."""
    if type_ == "EXPORT":
        return [f"Asset/{body['asset_id']}"]
    if type_ == "GEN":
        return [f"Asset/{output['asset_id']}" for output in body["outputs"]]
    return []


def json_schema(type_: str, schema: int) -> JSON:
    """Return the JSON Schema (2020-12) of an event's body, under its stable id."""
    event = lookup(type_, schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:sealtrail:schema:{event.type.lower()}:{event.schema}",
        **event.model.model_json_schema(schema_generator=ClosedSchema),
        "x-sealed": sorted(event.sealed),
    }


def describe() -> str:
    """Return docs/events.md."""
    return page.describe(CATALOG.values())


def schemas() -> dict[str, str]:
    """Return docs/schemas: the text of each file by its name, such as `gen-1.json`."""
    return {
        f"{type_.lower()}-{schema}.json": json.dumps(json_schema(type_, schema), indent=2) + "\n"
        for type_, schema in CATALOG
    }


def _fits(shape: SchemaValidator, value: JSON) -> bool:
    """Say a quick yes; a no only means that the model has to be asked."""
    try:
        shape.validate_python(value)
    except ValidationError:
        return False
    return True


def _check_maker(event: EventClass, body: JSON, *, by_ledger: bool) -> None:
    """Refuse a client that speaks for the ledger."""
    timeout = event.type == "GEN_ERROR" and isinstance(body, dict) and body.get("timeout") is True
    if not by_ledger and (event.ledger_made or timeout):
        pointer = "/body/timeout" if timeout else "/type"
        door = f"; send {event.model.door}" if event.model.door else ""
        raise _malformed(pointer, "ledger-made", "only the ledger itself records this" + door)
    if by_ledger and not (event.ledger_made or timeout):
        raise _malformed("/type", "client-made", "the ledger itself never records this")


def _needed(model: type[Body], body: JSON) -> tuple[str, ...]:
    """Return what must be there, clear or sealed, given what is there."""
    needs = model.needs
    for (member, value), names in model.needs_when.items():
        if any(found == value for _, found in members(member, body)):
            needs += names
    return needs


def _sealed_faults(event: EventClass, body: JSON, sealed: Mapping[str, Any]) -> list[FieldError]:
    if len(sealed) > SEALED_COUNT:
        detail = f"at most {SEALED_COUNT} values are committed in one event"
        return [FieldError("/sealed", "too-many", detail)]
    errors = []
    for name, value in sealed.items():
        wrong = _sealed_fault(event, body, name, value)
        if wrong is not None:
            # A name that is not ours may be anything, so it is not repeated.
            pointer = "/sealed" if wrong == _UNKNOWN_NAME else f"/sealed/{name}"
            errors.append(FieldError(pointer, *wrong))
    return list(dict.fromkeys(errors))


def _sealed_fault(
    event: EventClass, body: JSON, name: str, value: object
) -> tuple[str, str] | None:
    """Return rule and detail of what is wrong with one sealed value; None if nothing is."""
    if name == PERSON:
        return "person", "the person is sent as on_behalf_of, or comes from the token"
    pattern = pattern_of(name)
    if pattern not in event.sealed:
        return _UNKNOWN_NAME
    if "[" in name and not any(True for _ in members(name[: name.rindex("]") + 1], body)):
        return "no-such-item", "the body's list has no item of this index"
    if _has_null(value):
        return "null", "leave an absent value out instead of null"
    form = event.forms.get(pattern)  # All that may also be clear has one.
    if form is not None and any(clear is not None for _, clear in members(name, body)):
        return "clear-and-sealed", "send it clear or in sealed, not both"
    return _value_fault(form, value)


def _value_fault(form: TypeAdapter[Any] | None, value: object) -> tuple[str, str] | None:
    if form is not None:
        try:
            form.validate_python(value, strict=True)
        except ValidationError:
            return "form", "this must be of the form that docs/events.md says"
    # Six bytes are the most that JSON makes of a character: short text is not printed to see it.
    if isinstance(value, str) and len(value) <= VALUE_MAX // 6 - 1 and value.isascii():
        return None
    try:
        size = len(canonical.encode(value))  # type: ignore[arg-type]
    except VerifyError:
        return "not-canonical", "a sealed value is JSON without floats, nested at most 64 deep"
    if size > VALUE_MAX:
        return "too-long", "a sealed value is at most 64 KiB; a larger one is an artifact"
    return None


def _has_null(value: object) -> bool:
    if isinstance(value, (dict, list)):
        return any(_has_null(one) for one in (value.values() if isinstance(value, dict) else value))
    return value is None


_UNKNOWN_NAME: Final = ("unknown-name", "docs/events.md lists what this event may commit")


class ClosedSchema(GenerateJsonSchema):
    """Absent means absent: no member has a default, none may be null, and no name is free."""

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def dict_schema(self, schema: Any) -> JsonSchemaValue:
        found = super().dict_schema(schema)
        return found | {"additionalProperties": False} if "patternProperties" in found else found


def _malformed(pointer: str, rule: str, detail: str) -> MalformedEvent:
    return MalformedEvent(detail, errors=[FieldError(pointer, rule, detail)])


def _main(arguments: list[str]) -> None:
    if not arguments:
        sys.stdout.write(describe())
        return
    directory = Path(arguments[0])
    for name, text in schemas().items():
        (directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    _main(sys.argv[1:])
