# SPDX-License-Identifier: GPL-3.0-or-later
"""The published schema of a request, over the bodies of every type, as a validator."""

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from ledger.catalog import CATALOG, json_schema
from ledger.request_schema import request_schema

BODIES = Registry().with_resources(
    (schema["$id"], Resource.from_contents(schema))
    for schema in (json_schema(*key) for key in CATALOG)
)
REQUEST = Draft202012Validator(request_schema(), registry=BODIES)
CLIENTS = sorted(type_ for (type_, _), event in CATALOG.items() if not event.ledger_made)
