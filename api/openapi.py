# SPDX-License-Identifier: GPL-3.0-or-later
"""The OpenAPI document: the framework's routes, and the two that stand in front of it."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_PROBLEM: dict[str, Any] = {
    "description": "RFC 9457 problem details; `code` names the problem, `errors` the fields.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_REFUSALS = ("400", "401", "403", "404", "409", "413", "422", "500", "503")

_EVENT: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["event_id", "type", "schema", "aggregate_id", "body"],
    "description": "docs/events.md has every type, field and group.",
    "properties": {
        "event_id": {"type": "string", "description": "UUIDv7, made by the client."},
        "type": {"type": "string"},
        "schema": {"type": "integer", "minimum": 1},
        "aggregate_id": {"type": "string", "maxLength": 128},
        "on_behalf_of": {"type": "string", "description": "The natural person; committed."},
        "source": {
            "type": "object",
            "properties": {"id": {"type": "string"}, "n": {"type": "integer", "minimum": 0}},
        },
        "time": {"type": "object"},
        "trace": {"type": "object"},
        "links": {"type": "array", "items": {"type": "object"}},
        "actor": {"type": "object"},
        "net": {"type": "object"},
        "clock": {"type": "object"},
        "retention": {"type": "object"},
        "classification": {"type": "string"},
        "policy_bundle": {"type": "object"},
        "red_team_suite": {"type": "string"},
        "origin_software": {"type": "object"},
        "producer": {"type": "object"},
        "body": {"type": "object"},
        "sealed": {"type": "object", "description": "Committed values by dotted name."},
        "record_key": {"type": "string", "description": "32 random bytes, base64url."},
        "_sd": {"type": "array", "items": {"type": "string"}},
        "person_digest": {"type": "string"},
    },
}
_RECEIPT: dict[str, Any] = {
    "type": "object",
    "required": [
        "event_id", "origin", "position", "leaf", "size", "recorded_at", "entry", "path",
        "checkpoint", "proof", "disclosures",
    ],
    "properties": {
        "event_id": {"type": "string"},
        "origin": {"type": "string"},
        "position": {"type": "integer", "minimum": 0},
        "leaf": {"type": "string", "description": "sha256:<hex> of 0x00 and the entry."},
        "size": {"type": "integer", "description": "Tree size of the checkpoint."},
        "recorded_at": {"type": "string", "format": "date-time"},
        "entry": {"type": "string", "description": "base64 of the exact entry bytes."},
        "path": {"type": "array", "items": {"type": "string"}},
        "checkpoint": {"type": "string", "description": "C2SP signed note."},
        "proof": {"type": "string", "description": "C2SP tlog-proof."},
        "disclosures": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}  # fmt: skip
_SCHEMAS: dict[str, Any] = {
    "Event": _EVENT,
    "Receipt": _RECEIPT,
    "Problem": {
        "type": "object",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string"},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "pointer": {"type": "string"},
                        "rule": {"type": "string"},
                        "detail": {"type": "string"},
                    },
                },
            },
            "facts": {"type": "object"},
        },
    },
}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the whole interface."""
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(_SCHEMAS)
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}, {}]
    for prefix in ("/v1", "/v1/books/{book}"):
        document["paths"][f"{prefix}/events"] = {"post": _operation(_single(), prefix)}
        document["paths"][f"{prefix}/events:batch"] = {"post": _operation(_batch(), prefix)}
    for path in document["paths"].values():
        for operation in path.values():
            _answers(operation)
    return document


def _operation(operation: dict[str, Any], prefix: str) -> dict[str, Any]:
    if "{book}" in prefix:
        book = {"name": "book", "in": "path", "required": True, "schema": {"type": "string"}}
        return {**operation, "parameters": [book]}
    return operation


def _answers(operation: dict[str, Any]) -> None:
    """Give an operation the answers that every path can have instead of the framework's own."""
    answers = operation.setdefault("responses", {})
    answers.pop("422", None)
    for status in _REFUSALS:
        answers.setdefault(status, _PROBLEM)


def _single() -> dict[str, Any]:
    receipt = {"application/json": {"schema": {"$ref": "#/components/schemas/Receipt"}}}
    return {
        "tags": ["ingest"],
        "summary": "Record one event",
        "description": "Answers when the entry is durable, in the tree and under a signed checkpoint.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Event"}}},
        },
        "responses": {
            "201": {"description": "Recorded.", "content": receipt},
            "200": {
                "description": "Recorded before by the same request.",
                "headers": {"Sealtrail-Repeat": {"schema": {"const": "true"}}},
                "content": receipt,
            },
        },
    }


def _batch() -> dict[str, Any]:
    events = {"type": "array", "maxItems": 1000, "items": {"$ref": "#/components/schemas/Event"}}
    return {
        "tags": ["ingest"],
        "summary": "Record up to 1,000 events, each on its own merit",
        "description": "A JSON array or NDJSON, answered in kind, in request order.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": events},
                "application/x-ndjson": {"schema": {"type": "string"}},
            },
        },
        "responses": {
            "200": {
                "description": "One result for each event: a receipt or a problem.",
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "properties": {
                                "results": {"type": "array", "items": {"type": "object"}}
                            },
                        }
                    }
                },
            }
        },
    }
