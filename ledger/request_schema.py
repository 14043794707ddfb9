# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON Schemas (2020-12) of what surrounds a body: the request as it is sent, the entry as it is.

Both refer to the schema of each type's body by its stable id. They say what a validator can know;
lifecycles, digests that have to agree and who may record what, the ledger alone judges.
"""

from collections.abc import Iterable
from typing import Any, Final

from ledger.catalog import CATALOG, SEALED_COUNT, ClosedSchema
from ledger.events.envelope import Envelope, Times
from ledger.events.kind import EventClass
from ledger.events.values import Part
from ledger.vault.owners import NAMED
from sealtrail.verify.disclosure import RECORD_KEY_BYTES

JSON = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_UUID7: Final = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
_AGGREGATE_ID: Final = "^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$"
_HASH: Final = {"type": "string", "pattern": "^[A-Za-z0-9_-]{43}$"}
_PERSON: Final = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": r"\S"}
_TIME: Final = {
    "type": "string",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
}
_DIGESTS: Final = {
    "type": "array",
    "items": _HASH,
    "minItems": 1,
    "maxItems": SEALED_COUNT + 1,
    "uniqueItems": True,
}


def schema_id(name: str, version: int) -> str:
    """Return the stable id of a schema, such as `urn:sealtrail:schema:gen:1`."""
    return f"urn:sealtrail:schema:{name}:{version}"


def headed(name: str, version: int, title: str, schema: JSON) -> JSON:
    """Return a schema under its stable id."""
    return {"$schema": DIALECT, "$id": schema_id(name, version), "title": title, **schema}


def without_defaults(model: type[Part]) -> JSON:
    """Return a model's schema: absent means absent, so no member has a default."""
    found: JSON = _bare(model.model_json_schema(schema_generator=ClosedSchema))
    return found


def request_schema() -> JSON:
    """Return the schema of a request to `POST /v1/events`."""
    envelope = without_defaults(Envelope)
    types = [event for event in CATALOG.values() if not event.ledger_made]
    by_role = dict.fromkeys(NAMED, _PERSON)
    members = {
        "event_id": _text("UUIDv7, made by the client; a retry sends the same.", _UUID7),
        "type": {"enum": sorted({event.type for event in types})},
        "schema": {"enum": sorted({event.schema for event in types})},
        "aggregate_id": _text("The stream: the one thing that this event is about.", _AGGREGATE_ID),
        **{
            name: {**one, "minProperties": 1} if "$ref" in one else one
            for name, one in envelope["properties"].items()
        },
        "on_behalf_of": {**_PERSON, "description": "The natural person; committed, never clear."},
        "subjects": {
            "type": "object",
            "description": "Further persons by their part; committed.",
            "properties": by_role,
            "additionalProperties": False,
            "minProperties": 1,
        },
        "body": {"type": "object"},
        "sealed": {
            "type": "object",
            "description": "Committed values by dotted name; x-sealed of the body's schema.",
            "maxProperties": SEALED_COUNT,
        },
        "record_key": {
            **_HASH,
            "description": f"{RECORD_KEY_BYTES} random bytes for this event, in base64url.",
        },
        "_sd": {**_DIGESTS, "description": "Producer custody: the client's own digests, sorted."},
        "person_digest": {**_HASH, "description": "Which of `_sd` commits the person."},
    }
    schema = {
        "type": "object",
        "required": ["event_id", "type", "schema", "aggregate_id", "body"],
        "properties": members,
        "additionalProperties": False,
        "oneOf": [{"required": ["record_key"]}, {"required": ["_sd", "person_digest"]}],
        "allOf": list(_bodies(types)),
        "$defs": envelope["$defs"],
    }
    return headed("request", 1, "A request to record one event", schema)


def entry_schema() -> JSON:
    """Return the schema of an entry: the canonical JSON whose bytes are hashed."""
    envelope = without_defaults(Envelope)
    groups = {name: part for name, part in envelope["properties"].items() if name != "actor"}
    claimed = dict.fromkeys(Times.model_fields, _TIME)
    members = {
        "v": {"const": 1},
        "type": {"enum": sorted({event.type for event in CATALOG.values()})},
        "schema": {"type": "integer", "minimum": 1},
        "event_id": {"type": "string", "pattern": _UUID7},
        "tenant": {"type": "string", "minLength": 1, "maxLength": 256},
        "aggregate": {
            "type": "object",
            "required": ["type", "id", "version"],
            "properties": {
                "type": {"type": "string"},
                "id": {"type": "string", "pattern": _AGGREGATE_ID},
                "version": {"type": "integer", "minimum": 1},
            },
            "additionalProperties": False,
        },
        **groups,
        "time": {
            "type": "object",
            "required": ["recorded"],
            "properties": {"recorded": _TIME, "request_received": _TIME, **claimed},
            "additionalProperties": False,
        },
        "actor": {
            "type": "object",
            "required": ["kind"],
            "properties": {"kind": {"enum": ["human", "service", "agent", "system"]}},
        },
        "body": {"type": "object"},
        "_sd": _DIGESTS,
        "_sd_alg": {"const": "sha-256"},
    }
    schema = {
        "type": "object",
        "required": [
            "v", "type", "schema", "event_id", "tenant", "aggregate", "time", "actor", "body",
        ],
        "properties": members,
        "additionalProperties": False,
        "dependentRequired": {"_sd": ["_sd_alg"], "_sd_alg": ["_sd"]},
        "allOf": list(_bodies(CATALOG.values())),
        "$defs": envelope["$defs"],
    }  # fmt: skip
    return headed("entry", 1, "An entry of the log", schema)


def _bodies(types: Iterable[EventClass]) -> Iterable[JSON]:
    """Say of each type which schema its body has."""
    for event in types:
        named = {"type": {"const": event.type}, "schema": {"const": event.schema}}
        body = {"$ref": schema_id(event.type.lower(), event.schema)}
        yield {"if": {"properties": named}, "then": {"properties": {"body": body}}}


def _text(description: str, pattern: str) -> JSON:
    return {"type": "string", "pattern": pattern, "description": description}


def _bare(node: Any) -> Any:
    """Return a schema without its defaults; a member of that name stays."""
    if isinstance(node, list):
        return [_bare(one) for one in node]
    if not isinstance(node, dict):
        return node
    return {
        name: {key: _bare(one) for key, one in value.items()}
        if name in ("properties", "$defs")
        else _bare(value)
        for name, value in node.items()
        if name != "default"
    }
