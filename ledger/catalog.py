# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of contents: every event type, its class, its aggregate, and who may make it.

A stored topic is `GEN/1`: a name in this table, never the name of a module. `validate` gives back
the body exactly as it was sent, so that what is hashed is what the client said. `docs/events.md` is
this table, printed (`python -m ledger.catalog`); JSON Schemas come from the same classes.
"""

import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from ledger.errors import FieldError, MalformedEvent
from ledger.events import asset, envelope, export, generation, log, moderation, page, training
from ledger.events.complaints import complaints, pointer_of
from ledger.events.kind import EventClass, lacking, members
from ledger.events.values import Body
from sealtrail.verify import canonical
from sealtrail.verify.disclosure import PERSON, VALUE_MAX, is_name
from sealtrail.verify.errors import VerifyError

JSON = dict[str, Any]

#: Committed values of one event, the person not among them.
SEALED_COUNT: Final = 63


def _client(type_: str, model: type[Body], aggregate: str, *, terminal: bool = False) -> EventClass:
    return EventClass(type=type_, schema=1, model=model, aggregate=aggregate, terminal=terminal)


def _ledger(type_: str, model: type[Body], aggregate: str) -> EventClass:
    return EventClass(type=type_, schema=1, model=model, aggregate=aggregate, ledger_made=True)


CATALOG: Final[dict[tuple[str, int], EventClass]] = {
    (one.type, one.schema): one
    for one in (
        _client("INGEST", asset.Ingest, "Asset"),
        _client("ASSET_WITHDRAWN", asset.AssetWithdrawn, "Asset"),
        _client("TRAIN_STARTED", training.TrainStarted, "TrainingRun"),
        _client("TRAIN", training.Train, "TrainingRun", terminal=True),
        _client("TRAIN_FAILED", training.TrainFailed, "TrainingRun", terminal=True),
        _client("GEN_ATTEMPT", generation.GenAttempt, "Generation"),
        _client("GEN", generation.Gen, "Generation", terminal=True),
        _client("GEN_DENY", generation.GenDeny, "Generation", terminal=True),
        _client("GEN_ERROR", generation.GenError, "Generation", terminal=True),
        _client("MODERATION", moderation.Moderation, "Generation"),
        _client("EXPORT", export.Export, "Export"),
        _ledger("OUTCOME_LATE", generation.OutcomeLate, "Generation"),
        _ledger("EPOCH_SEALED", log.EpochSealed, "Log"),
        _ledger("COMPLETENESS_REPORT", log.CompletenessReport, "AnchorDay"),
        _ledger("ANCHOR", log.Anchor, "AnchorDay"),
        _ledger("ANCHOR_FAILED", log.AnchorFailed, "AnchorDay"),
        _ledger("ACCESS", log.Access, "Log"),
    )
}
_TYPES: Final = frozenset(type_ for type_, _ in CATALOG)


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
    type_: str,
    schema: int,
    body: JSON,
    sealed: Mapping[str, Any],
    *,
    by_ledger: bool = False,
    custody: bool = False,
) -> JSON:
    """Check body and sealed names of an event and return the body as it was sent.

    custody: the client keeps its values and sent digests only, so what is sealed cannot be seen.
    Raises MalformedEvent with pointer and rule of every field that is wrong, never its value.
    """
    event = lookup(type_, schema)
    _check_maker(event, body, by_ledger=by_ledger)
    errors: list[FieldError] = []
    try:
        event.model.model_validate(body)
    except ValidationError as error:
        errors += complaints(error, "/body", event.sealed)
    if sealed:
        errors += _check_sealed(event, body, sealed)
    if event.model.needs and not custody:
        errors += [
            FieldError(f"/body{pointer_of(name)}", "required", f"send {name}, clear or in sealed")
            for name in lacking(event.model.needs, body, sealed)
        ]
    if errors:
        raise MalformedEvent(errors=errors)
    return body


def validate_envelope(groups: JSON) -> None:
    """Check the optional groups of a request; raises MalformedEvent."""
    try:
        envelope.Envelope.model_validate(groups)
    except ValidationError as error:
        # The person is no sealed name, but must not be clear either.
        raise MalformedEvent(errors=complaints(error, "", (*envelope.SEALED, PERSON))) from None
    errors = [
        FieldError(f"/{name}", "empty", "leave an empty group out")
        for name, value in groups.items()
        if not value and isinstance(value, dict)
    ]
    errors += [
        FieldError(f"/links/{at}/leaf", "required", "a parent call is linked by id and leaf")
        for at, link in enumerate(groups.get("links", ()))
        if link["rel"] == "parent-call" and "leaf" not in link
    ]
    if errors:
        raise MalformedEvent(errors=errors)


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
        **event.model.model_json_schema(schema_generator=_Schema),
        "x-sealed": sorted(event.sealed),
    }


def describe() -> str:
    """Return docs/events.md."""
    return page.describe(CATALOG.values())


def _check_maker(event: EventClass, body: JSON, *, by_ledger: bool) -> None:
    """Refuse a client that speaks for the ledger."""
    timeout = event.type == "GEN_ERROR" and isinstance(body, dict) and body.get("timeout") is True
    if not by_ledger and (event.ledger_made or timeout):
        pointer = "/body/timeout" if timeout else "/type"
        raise _malformed(pointer, "ledger-made", "only the ledger itself records this")
    if by_ledger and not (event.ledger_made or timeout):
        raise _malformed("/type", "client-made", "the ledger itself never records this")


def _check_sealed(event: EventClass, body: JSON, sealed: Mapping[str, Any]) -> Iterable[FieldError]:
    if len(sealed) > SEALED_COUNT:
        detail = f"at most {SEALED_COUNT} values are committed in one event"
        return [FieldError("/sealed", "too-many", detail)]
    return [
        FieldError(f"/sealed/{name}" if is_name(name) else "/sealed", *wrong)
        for name, value in sealed.items()
        if (wrong := _sealed_wrongly(event, body, name, value)) is not None
    ]


def _sealed_wrongly(
    event: EventClass, body: JSON, name: str, value: object
) -> tuple[str, str] | None:
    """Return rule and detail of what is wrong with one sealed value; None if nothing is."""
    if name == PERSON:
        return "person", "the person is sent as on_behalf_of, or comes from the token"
    if not event.seals(name):
        return "unknown-name", f"{event.type} seals no value of this name; see docs/events.md"
    if any(clear is not None for _, clear in members(name, body)):
        return "clear-and-sealed", "send it clear or in sealed, not both"
    if value is None:
        return "null", "leave an absent value out instead of null"
    return _uncommittable(value)


def _uncommittable(value: object) -> tuple[str, str] | None:
    # Six bytes are the most that JSON makes of a character: short text needs no printing.
    if isinstance(value, str) and len(value) <= VALUE_MAX // 6 - 1:
        return None
    try:
        size = len(canonical.encode(value))  # type: ignore[arg-type]
    except VerifyError:
        return "not-canonical", "a sealed value is JSON without floats, nested at most 64 deep"
    if size <= VALUE_MAX:
        return None
    return "too-long", "a sealed value is at most 64 KiB; a larger one is an artifact"


class _Schema(GenerateJsonSchema):
    """Absent means absent: no member has a default, and none may be null."""

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])


def _malformed(pointer: str, rule: str, detail: str) -> MalformedEvent:
    return MalformedEvent(detail, errors=[FieldError(pointer, rule, detail)])


if __name__ == "__main__":
    sys.stdout.write(describe())
