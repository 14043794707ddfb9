# SPDX-License-Identifier: GPL-3.0-or-later
"""The OpenAPI document: the framework's routes, and the two that stand in front of it."""

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api import shapes
from sealtrail.verify.cose_receipt import MEDIA_TYPE

_PROBLEM: dict[str, Any] = {
    "description": "RFC 9457 problem details; `code` names the problem, `errors` the fields.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_REFUSALS = ("400", "401", "403", "404", "405", "409", "413", "422", "500", "503")

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
_SCHEMAS: dict[str, Any] = {
    "Event": _EVENT,
    "Receipt": shapes.RECEIPT,
    "Result": shapes.result("#/components/schemas/Receipt", "#/components/schemas/Problem"),
    "Problem": shapes.PROBLEM,
}


_BINARY: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string"}}}
_TEXT: dict[str, Any] = {"text/plain": {"schema": {"type": "string"}}}
_ANY: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}

_SHEET: dict[str, Any] = {**_ANY, "text/csv": {"schema": {"type": "string"}}}
_DRAWN: dict[str, Any] = {
    **_ANY,
    **_TEXT,
    "text/vnd.graphviz": {"schema": {"type": "string"}},
    "text/vnd.mermaid": {"schema": {"type": "string"}},
}

#: What the answers of routes are that give bytes and not a model, by the end of their path.
_CONTENT: dict[str, dict[str, Any]] = {
    "/checkpoint": _TEXT,
    "/tile/{path}": _BINARY,
    "/events/{event_id}": _ANY,
    "/events/{event_id}/proof": {**_ANY, **_TEXT},
    "/traces/{trace_id}/tree": {**_ANY, **_TEXT},
    "/assets": _DRAWN,
    "/assets/{digest}": _DRAWN,
    "/assets:lineage": _DRAWN,
    "/usage": _SHEET,
    "/usage:reconcile": _SHEET,
    "/receipt": {MEDIA_TYPE: {"schema": {"type": "string"}}},
    "/packets/{packet_id}": {"application/zip": {"schema": {"type": "string"}}},
    "/artifacts/{artifact_id}/preview": {"image/jpeg": {"schema": {"type": "string"}}},
    "/artifacts/{artifact_id}/content": _BINARY,
    "/metrics": _TEXT,
    "/schemas/": _ANY,
    "/schemas/{name}/{version}.json": {"application/schema+json": {"schema": {"type": "object"}}},
    "/readyz": _ANY,
    "/.well-known/sealtrail/trust.json": _ANY,
}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the whole interface; made once, then remembered."""
    if app.openapi_schema is None:
        app.openapi_schema = _describe(app)
    return app.openapi_schema


def _describe(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for of_framework in ("HTTPValidationError", "ValidationError"):
        schemas.pop(of_framework, None)
    schemas.update(_SCHEMAS)
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}, {}]
    for prefix, suffix in (("/v1", ""), ("/v1/books/{book}", "_of_book")):
        for path, operation in (("/events", _single()), ("/events:batch", _batch())):
            operation["operationId"] += suffix
            item = document["paths"].setdefault(f"{prefix}{path}", {})
            item["post"] = {"security": [{"token": []}], **operation}
    for path, item in document["paths"].items():
        for operation in item.values():
            _name_book(path, operation)
            _name_content(path, operation)
            _name_refusals(operation)
    return document


def _name_book(path: str, operation: dict[str, Any]) -> None:
    """The framework does not see this parameter: the routes take it from the path themselves."""
    parameters = operation.setdefault("parameters", [])
    for name in re.findall(r"{(book|path)}", path):
        if all(parameter["name"] != name for parameter in parameters):
            schema = {"type": "string"}
            parameters.append({"name": name, "in": "path", "required": True, "schema": schema})


def _name_content(path: str, operation: dict[str, Any]) -> None:
    for end, content in _CONTENT.items():
        if path.endswith(end):
            operation["responses"]["200"]["content"] = content


def _name_refusals(operation: dict[str, Any]) -> None:
    """Give an operation the answers that every path can have instead of the framework's own."""
    operation["responses"].pop("422", None)
    for status in _REFUSALS:
        operation["responses"].setdefault(status, _PROBLEM)


def _single() -> dict[str, Any]:
    receipt = {"application/json": {"schema": {"$ref": "#/components/schemas/Receipt"}}}
    return {
        "tags": ["ingest"],
        "operationId": "record_event",
        "summary": "Record one event",
        "description": "Answered when it is durable, in the tree and under a signed checkpoint.",
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
    results = {"type": "array", "items": {"$ref": "#/components/schemas/Result"}}
    answer = {"type": "object", "required": ["results"], "properties": {"results": results}}
    return {
        "tags": ["ingest"],
        "operationId": "record_batch",
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
                    "application/json": {"schema": answer},
                    "application/x-ndjson": {"schema": {"type": "string"}},
                },
            }
        },
    }
