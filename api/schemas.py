# SPDX-License-Identifier: GPL-3.0-or-later
"""Every JSON Schema (2020-12) of this ledger, under ids that stay: `/schemas/`, for anybody.

    urn:sealtrail:schema:gen:1      /schemas/gen/1.json         the body of an event type
    urn:sealtrail:schema:request:1  /schemas/request/1.json     and so are entry, receipt, batch,
                                                                results, problem and two facets

An id is a name and no address: the same schema has it on every ledger, and stored entries never
change with a host. So references between schemas are by id; `/schemas/` says which path has which,
and a validator is given all of them. docs/schemas and docs/wire-schemas hold the same text
(`python -m api.schemas docs/wire-schemas`).
"""

import json
import sys
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from fastapi import APIRouter, Request, Response

from api import shapes
from api.caching import tagged
from api.checking import BATCH_EVENTS
from ledger.catalog import CATALOG, json_schema
from ledger.errors import NotFound
from ledger.events.training import Input, Result
from ledger.events.values import Failure
from ledger.request_schema import (
    entry_schema,
    headed,
    request_schema,
    schema_id,
    without_defaults,
)

router = APIRouter(tags=["schemas"])

JSON = dict[str, Any]

#: A release may describe a version better, and never otherwise; an hour is soon enough.
_CACHE: Final = "public, max-age=3600"
_MEDIA_TYPE: Final = "application/schema+json"


class Published(NamedTuple):
    """One schema as it is served."""

    name: str
    version: int
    schema: JSON

    @property
    def path(self) -> str:
        return f"/schemas/{self.name}/{self.version}.json"

    @property
    def text(self) -> str:
        """The document, as it is served and as it is kept in the documents."""
        return json.dumps(self.schema, indent=2) + "\n"


@router.get("/schemas", response_class=Response, include_in_schema=False)
@router.get("/schemas/", response_class=Response)
def schemas(request: Request) -> Response:
    """List every schema: its id, and the path where it is."""
    listed = [
        {
            "id": schema_id(one.name, one.version),
            "path": one.path,
            "title": one.schema.get("title", one.name),
        }
        for one in published().values()
    ]
    return _answer(request, json.dumps({"schemas": listed}, indent=2) + "\n", "application/json")


@router.get("/schemas/{name}/{version}.json", response_class=Response)
def schema(request: Request, name: str, version: str) -> Response:
    """Return one schema, such as `/schemas/gen/1.json`."""
    found = published().get(f"/schemas/{name}/{version}.json")
    if found is None:
        raise NotFound("there is no such schema; /schemas/ lists them")
    return _answer(request, found.text, _MEDIA_TYPE)


@lru_cache(maxsize=1)
def published() -> dict[str, Published]:
    """Return every schema by its path, event types first; made once."""
    events = [Published(type_.lower(), n, json_schema(type_, n)) for type_, n in sorted(CATALOG)]
    return {one.path: one for one in (*events, *wire_schemas())}


def wire_schemas() -> list[Published]:
    """Return the schemas of what is no body: requests, entries, answers, facets of others."""
    return [
        Published("request", 1, request_schema()),
        Published("entry", 1, entry_schema()),
        _made("receipt", "What a recorded event is answered with", shapes.RECEIPT),
        _made("problem", "Why a request was refused (RFC 9457)", shapes.PROBLEM),
        _made("batch", "Requests to record up to 1,000 events", _batch()),
        _made("results", "What became of each request of a batch", _results()),
        _made("openlineage_sealtrail_train", "OpenLineage: our facet of a run", _train_facet()),
        _made("openlineage_sealtrail_dataset", "OpenLineage: our facet of an input", _set_facet()),
    ]


def _made(name: str, title: str, shape: JSON) -> Published:
    return Published(name, 1, headed(name, 1, title, shape))


def _batch() -> JSON:
    return {"type": "array", "items": {"$ref": schema_id("request", 1)}, "maxItems": BATCH_EVENTS}


def _results() -> JSON:
    one = shapes.result(schema_id("receipt", 1), schema_id("problem", 1))
    listed = {"type": "array", "items": one, "maxItems": BATCH_EVENTS}
    return {"type": "object", "required": ["results"], "properties": {"results": listed}}


def _train_facet() -> JSON:
    """Say what a run says of itself; inputs and times are said by the event."""
    run = without_defaults(Result)
    members = {
        name: one for name, one in run["properties"].items() if name not in ("inputs", "ended_at")
    }
    failure = {name: one for name, one in without_defaults(Failure).items() if name != "title"}
    parts = _facet(members | {"error": failure}, run["$defs"])
    return {**parts, "anyOf": [{"required": ["type", "code_digest"]}, {"required": ["error"]}]}


def _set_facet() -> JSON:
    found = without_defaults(Input)
    return _facet(found["properties"], found.get("$defs", {}))


def _facet(members: JSON, parts: JSON) -> JSON:
    """Return a facet: ours are its members, and every facet says who made it by which schema."""
    address = {"type": "string", "format": "uri"}
    return {
        "type": "object",
        "required": ["_producer", "_schemaURL"],
        "properties": {**members, "_producer": address, "_schemaURL": address},
        "additionalProperties": False,
        "$defs": {name: one for name, one in parts.items() if name != "Input"},
    }


def _answer(request: Request, text: str, media_type: str) -> Response:
    data = text.encode()
    tag = sha256(data).hexdigest()
    return tagged(request, data, tag=tag, media_type=media_type, cache=_CACHE)


def _main(arguments: list[str]) -> None:
    for one in wire_schemas():
        path = Path(arguments[0]) / f"{one.name}-{one.version}.json"
        path.write_text(one.text, encoding="utf-8")


if __name__ == "__main__":
    _main(sys.argv[1:])
