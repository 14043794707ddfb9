# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of contents: every event type, its class, its aggregate, and who may make it.

A stored topic is `GEN/1`: a name in this table, never the name of a module. `validate` gives back
the body exactly as it was sent, so that what is hashed is what the client said. `docs/events.md` is
this table, printed (`python -m ledger.catalog`); JSON Schemas come from the same classes.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from sealtrail.verify import canonical
from sealtrail.verify.disclosure import PERSON, is_name
from sealtrail.verify.errors import VerifyError

from ledger.errors import FieldError, MalformedEvent
from ledger.events import asset, envelope, export, generation, log, training
from ledger.events.values import Body

JSON = dict[str, Any]

SEALED_MAX: Final = 65_536  #: Bytes of one committed value; what is larger is an artifact.
SEALED_COUNT: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class EventClass:
    """One event type in one version of its schema."""

    type: str
    schema: int
    model: type[Body]
    aggregate: str
    ledger_made: bool = False

    @property
    def topic(self) -> str:
        return f"{self.type}/{self.schema}"

    @property
    def sealed(self) -> tuple[str, ...]:
        """Name patterns that may be sent in `sealed`, the envelope's included."""
        return (*self.model.sealed, *envelope.SEALED)


def _client(type_: str, model: type[Body], aggregate: str) -> EventClass:
    return EventClass(type=type_, schema=1, model=model, aggregate=aggregate)


def _ledger(type_: str, model: type[Body], aggregate: str) -> EventClass:
    return EventClass(type=type_, schema=1, model=model, aggregate=aggregate, ledger_made=True)


CATALOG: Final[dict[tuple[str, int], EventClass]] = {
    (one.type, one.schema): one
    for one in (
        _client("INGEST", asset.Ingest, "Asset"),
        _client("ASSET_WITHDRAWN", asset.AssetWithdrawn, "Asset"),
        _client("TRAIN_STARTED", training.TrainStarted, "TrainingRun"),
        _client("TRAIN", training.Train, "TrainingRun"),
        _client("TRAIN_FAILED", training.TrainFailed, "TrainingRun"),
        _client("GEN_ATTEMPT", generation.GenAttempt, "Generation"),
        _client("GEN", generation.Gen, "Generation"),
        _client("GEN_DENY", generation.GenDeny, "Generation"),
        _client("GEN_ERROR", generation.GenError, "Generation"),
        _client("MODERATION", generation.Moderation, "Generation"),
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
    found = CATALOG.get((type_, schema)) if type(schema) is int else None
    if found is None:
        raise _malformed("/schema", "unknown-schema", f"{type_} has the schema versions 1 to 1")
    return found


def validate(
    type_: str, schema: int, body: JSON, sealed: JSON, *, by_ledger: bool = False
) -> JSON:
    """Check body and sealed names of an event and return the body as it was sent.

    Raises MalformedEvent with pointer and rule of every field that is wrong, never its value.
    """
    event = lookup(type_, schema)
    if not by_ledger and (event.ledger_made or body.get("timeout") is True):
        raise _malformed(
            "/type" if event.ledger_made else "/body/timeout",
            "ledger-made",
            "the ledger itself records this; it cannot be sent",
        )
    errors = _check_sealed(event, sealed) + list(_nulls(body, "/body"))
    try:
        event.model.model_validate(body)
    except ValidationError as error:
        errors += list(_fields(error, "/body", event.sealed))
    errors += _check_needs(event, body, sealed)
    errors += _check_distinct(type_, body)
    if errors:
        raise MalformedEvent(errors=errors)
    return body


def validate_envelope(groups: JSON) -> None:
    """Check the optional groups of a request; raises MalformedEvent."""
    try:
        envelope.Envelope.model_validate(groups)
    except ValidationError as error:
        raise MalformedEvent(errors=list(_fields(error, "", envelope.SEALED))) from None
    nulls = list(_nulls(groups, ""))
    if nulls:
        raise MalformedEvent(errors=nulls)
    empty = [name for name, value in groups.items() if value in ({}, [])]
    if empty:
        raise _malformed(f"/{empty[0]}", "empty", "leave an empty group out")
    for at, link in enumerate(groups.get("links", ())):
        if link["rel"] == "parent-call" and "leaf" not in link:
            raise _malformed(
                f"/links/{at}/leaf", "required", "a parent call is linked by id and leaf"
            )


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


def json_schema(event: EventClass) -> JSON:
    """Return the JSON Schema (2020-12) of an event's body, under its stable id."""
    schema = event.model.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:sealtrail:schema:{event.type.lower()}:{event.schema}",
        **schema,
    }


def _check_sealed(event: EventClass, sealed: JSON) -> list[FieldError]:
    if len(sealed) > SEALED_COUNT:
        return [FieldError("/sealed", "too-many", f"at most {SEALED_COUNT} values are committed")]
    errors = []
    for name, value in sealed.items():
        pointer = f"/sealed/{name}" if is_name(name) else "/sealed"
        if name == PERSON:
            errors.append(
                FieldError(pointer, "person", "the person is sent as on_behalf_of, or by the token")
            )
        elif not is_name(name) or not any(
            _pattern(known).fullmatch(name) for known in event.sealed
        ):
            errors.append(
                FieldError(pointer, "unknown-name", f"{event.type} commits no value of this name")
            )
        elif value is None or _too_large(value):
            errors.append(
                FieldError(
                    pointer, "committed-value", "a committed value is JSON of at most 64 KiB, not null"
                )
            )
    return errors


def _too_large(value: object) -> bool:
    try:
        return len(canonical.encode(value)) > SEALED_MAX  # type: ignore[arg-type]
    except VerifyError:
        return True


def _pattern(name: str) -> re.Pattern[str]:
    found = _PATTERNS.get(name)
    if found is None:
        text = re.escape(name).replace(r"\[\*\]", r"\[(0|[1-9][0-9]{0,2})\]")
        found = _PATTERNS[name] = re.compile(text)
    return found


_PATTERNS: Final[dict[str, re.Pattern[str]]] = {}


def _nulls(value: object, pointer: str) -> Iterator[FieldError]:
    """Find nulls: absent means absent."""
    if value is None:
        yield FieldError(pointer, "null", "leave an absent member out instead of null")
    elif isinstance(value, dict):
        for name, item in value.items():
            if item is None or isinstance(item, (dict, list)):
                yield from _nulls(item, f"{pointer}/{name}")
    elif isinstance(value, list):
        for at, item in enumerate(value):
            if item is None or isinstance(item, (dict, list)):
                yield from _nulls(item, f"{pointer}/{at}")


def _check_needs(event: EventClass, body: JSON, sealed: JSON) -> list[FieldError]:
    """Find members that are neither clear nor sealed but must be one of both."""
    errors = []
    for name in event.model.needs:
        for concrete, value in _concrete(name, body):
            if value is None and concrete not in sealed:
                pointer = "/body/" + re.sub(r"\[(\d+)\]", r"/\1", concrete).replace(".", "/")
                errors.append(
                    FieldError(pointer, "required", f"send {concrete} clear or in sealed")
                )
            elif value is not None and concrete in sealed:
                errors.append(FieldError(f"/sealed/{concrete}", "twice", "clear and sealed at once"))
    return errors


def _concrete(name: str, body: JSON) -> Iterator[tuple[str, Any]]:
    """Yield (concrete name, value or None) for `a.b` or `list[*].b` in a body."""
    group, _, member = name.partition(".")
    if group.endswith("[*]"):
        items = body.get(group[:-3])
        for at, item in enumerate(items if isinstance(items, list) else []):
            if isinstance(item, dict):
                yield f"{group[:-3]}[{at}].{member}", item.get(member)
    elif isinstance(body.get(group), dict):
        yield name, body[group].get(member)


def _check_distinct(type_: str, body: JSON) -> list[FieldError]:
    if type_ != "GEN" or not isinstance(body.get("outputs"), list):
        return []
    ids = [one.get("asset_id") for one in body["outputs"] if isinstance(one, dict)]
    texts = [one for one in ids if isinstance(one, str)]
    if len(set(texts)) == len(texts):
        return []
    return [FieldError("/body/outputs", "distinct", "two outputs have one asset_id")]


def _fields(
    error: ValidationError, prefix: str, sealed: tuple[str, ...]
) -> Iterator[FieldError]:
    """Translate pydantic's complaints: where and which rule, never the value."""
    seen = set()
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        location = [part for part in item["loc"] if not _is_union_tag(part)]
        rule, detail = _RULES.get(item["type"], (item["type"].replace("_", "-"), item["msg"]))
        dotted = _dotted(location)
        if rule == "unknown-field":
            if any(_pattern(name).fullmatch(dotted) for name in sealed):
                rule, detail = "must-be-sealed", f"send {dotted} in sealed; it is never clear"
            else:  # The name is the client's, so it is not repeated.
                location = location[:-1]
        pointer = prefix + "".join(f"/{part}" for part in location)
        if (pointer, rule) not in seen:
            seen.add((pointer, rule))
            yield FieldError(pointer, rule, detail)


def _is_union_tag(part: object) -> bool:
    """Say if a step of pydantic's location is a branch of a union and no member of the JSON."""
    return isinstance(part, str) and (
        part in ("str", "int", "bool", "[key]") or part.startswith(("constrained-", "function-"))
    )


def _dotted(location: list[Any]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


_RULES: Final = {
    "extra_forbidden": ("unknown-field", "has a member that this event does not know"),
    "missing": ("required", "is missing"),
    "string_pattern_mismatch": ("format", "is not of the form that this field has"),
    "literal_error": ("choice", "is not one of the words that this field knows"),
    "string_too_long": ("too-long", "is too long"),
    "string_too_short": ("too-short", "is too short"),
    "too_long": ("too-many", "has too many items"),
    "too_short": ("too-few", "has too few items"),
    "value_error": ("format", "is not of the form that this field has"),
    "string_type": ("type", "is a string"),
    "int_type": ("type", "is a whole number"),
    "bool_type": ("type", "is true or false"),
    "list_type": ("type", "is a list"),
    "dict_type": ("type", "is an object"),
    "model_type": ("type", "is an object"),
    "model_attributes_type": ("type", "is an object"),
    "none_required": ("type", "is absent instead of null"),
    "greater_than_equal": ("range", "is too small"),
    "less_than_equal": ("range", "is too large"),
}


def _malformed(pointer: str, rule: str, detail: str) -> MalformedEvent:
    return MalformedEvent(detail, errors=[FieldError(pointer, rule, detail)])


def describe() -> str:
    """Return docs/events.md."""
    lines = [
        "# Events",
        "",
        "Made from the classes in `ledger/events` (`python -m ledger.catalog`); do not edit.",
        "",
        "A field in *clear* is part of the entry's bytes. A *committed* name is sent in `sealed` and",
        "only a salted digest of it is in the entry. `on_behalf_of` is committed as `actor.subject_id`.",
        "Every event may also commit " + ", ".join(f"`{name}`" for name in envelope.SEALED) + ".",
    ]
    for event in CATALOG.values():
        by = "the ledger" if event.ledger_made else "a client"
        lines += ["", f"## {event.type}", "", (event.model.__doc__ or "").strip(), ""]
        lines += [f"Schema {event.schema}; aggregate {event.aggregate}; made by {by}.", ""]
        lines += ["| field | placement | required | form |", "| --- | --- | --- | --- |"]
        schema = event.model.model_json_schema(by_alias=True)
        lines += list(_rows(schema, schema.get("$defs", {}), ""))
        lines += [f"| `{name}` | committed | no | JSON, at most 64 KiB |" for name in event.model.sealed]
    lines += ["", "## Envelope", "", "Optional groups of every event.", ""]
    lines += ["| field | placement | required | form |", "| --- | --- | --- | --- |"]
    schema = envelope.Envelope.model_json_schema(by_alias=True)
    lines += list(_rows(schema, schema.get("$defs", {}), ""))
    return "\n".join(lines) + "\n"


def _rows(schema: JSON, defs: JSON, prefix: str) -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        required = "yes" if name in schema.get("required", ()) else "no"
        kind = next(
            (one for one in field.get("anyOf", ()) if one.get("type") != "null"), field
        )
        path = f"{prefix}{name}"
        item = kind.get("items", {})
        if "$ref" in kind:
            yield from _rows(defs[kind["$ref"].rsplit("/", 1)[1]], defs, f"{path}.")
        elif "$ref" in item:
            yield from _rows(defs[item["$ref"].rsplit("/", 1)[1]], defs, f"{path}[].")
        else:
            yield f"| `{path}` | clear | {required} | {_form(kind)} |"


def _form(kind: JSON) -> str:
    if "enum" in kind:
        return ", ".join(kind["enum"])
    if "const" in kind:
        return str(kind["const"])
    if "pattern" in kind:
        return "`" + kind["pattern"].replace("|", "\\|") + "`"
    text = str(kind.get("type", "any"))
    if "items" in kind:
        return f"list of at most {kind.get('maxItems', '?')}: {_form(kind['items'])}"
    if "maxLength" in kind:
        return f"{text}, at most {kind['maxLength']} characters"
    if "maximum" in kind:
        return f"{text}, {kind.get('minimum', 0)} to {kind['maximum']}"
    return text


def models() -> Iterator[type[BaseModel]]:
    for event in CATALOG.values():
        yield event.model


if __name__ == "__main__":
    sys.stdout.write(describe())
