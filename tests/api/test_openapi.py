# SPDX-License-Identifier: GPL-3.0-or-later
"""/openapi.json says all that the interface does, the two routes before the framework included."""

import json
import re

import pytest
from house import attempt
from jsonschema import Draft202012Validator

from api.app import openapi_text

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

METHODS = {"get", "post", "put", "delete", "patch", "head", "options"}
DESIGN = {
    ("post", "/v1/events"), ("post", "/v1/events:batch"), ("get", "/v1/events/{event_id}"),
    ("get", "/v1/events/{event_id}/proof"), ("get", "/v1/checkpoint"), ("get", "/v1/consistency"),
    ("get", "/v1/tile/{path}"), ("get", "/v1/anchors/{day}"), ("get", "/v1/proofs/{position}"),
    ("post", "/v1/packets"), ("get", "/v1/packets/{packet_id}"),
}  # fmt: skip
#: What a payload and a person need beyond the design's own list.
CUSTODY = {
    ("post", "/v1/events:search"), ("post", "/v1/redacted:search"),
    ("get", "/v1/artifacts"), ("post", "/v1/artifacts"), ("get", "/v1/artifacts/{artifact_id}"),
    ("get", "/v1/artifacts/{artifact_id}/content"), ("get", "/v1/artifacts/{artifact_id}/preview"),
    ("get", "/v1/artifacts/{artifact_id}/upload"), ("patch", "/v1/artifacts/{artifact_id}/upload"),
    ("post", "/v1/artifacts/{artifact_id}/escalations"),
    ("get", "/v1/holds"), ("post", "/v1/holds"), ("get", "/v1/holds/{hold_id}"),
    ("post", "/v1/holds/{hold_id}/release"),
    ("get", "/v1/erasures"), ("post", "/v1/erasures"), ("post", "/v1/erasures/plan"),
    ("get", "/v1/erasures/{erasure_id}"), ("post", "/v1/erasures/{erasure_id}/approve"),
    ("post", "/v1/erasures/{erasure_id}/withdraw"),
    ("post", "/v1/retrievals"), ("get", "/v1/retrievals/{retrieval_id}"),
}  # fmt: skip
#: What comes in, and goes out, in other people's formats.
WIRE = {
    ("post", "/v1/cloudevents"), ("post", "/v1/openlineage"),
    ("get", "/v1/events/{event_id}/receipt"), ("get", "/v1/proofs/{position}/receipt"),
    ("get", "/v1/consistency/receipt"),
}  # fmt: skip
#: What is missing, and what is shown not to be.
COMPLETENESS = {("get", "/v1/completeness"), ("get", "/v1/sources")}
#: What the entries say, found and followed.
SEARCH = {
    ("get", "/v1/search"), ("post", "/v1/search"), ("get", "/v1/registers/{kind}"),
    ("get", "/v1/traces/{trace_id}/tree"), ("get", "/v1/assets"), ("get", "/v1/assets/{digest}"),
    ("post", "/v1/assets:lineage"), ("post", "/v1/assets:similar"), ("get", "/v1/upgrades"),
    ("get", "/v1/usage"), ("post", "/v1/usage"), ("post", "/v1/usage:reconcile"),
}  # fmt: skip
#: What waits for people.
DESK = {
    ("get", "/v1/alerts"), ("post", "/v1/alerts/{event_id}/acknowledge"), ("get", "/v1/reviews"),
    ("get", "/v1/takedowns"), ("get", "/v1/consents/{consent_id}"),
}  # fmt: skip
#: Sealed sets, what is in none of them, and packs for others.
PROOFS = {("post", "/v1/datasets"), ("post", "/v1/proofs/absence"), ("post", "/v1/cap-packs")}
ALONE = {
    ("get", "/checkpoint"), ("get", "/tile/{path}"), ("get", "/livez"), ("get", "/readyz"),
    ("get", "/metrics"), ("get", "/.well-known/sealtrail/trust.json"),
    ("get", "/schemas/"), ("get", "/schemas/{name}/{version}.json"), ("post", "/api/v1/lineage"),
}  # fmt: skip


@pytest.fixture(scope="module")
def document(service):
    return service.ask("GET", "/openapi.json").json()


def operations(document):
    for path, item in document["paths"].items():
        for method in METHODS & set(item):
            yield method, path, item[method]


def resolve(document, reference):
    node = document
    for step in reference.removeprefix("#/").split("/"):
        node = node[step]
    return node


def references(node):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def validator(document, name):
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return Draft202012Validator(schema)


def test_every_path_of_the_interface_is_there_and_no_other(document):
    found = {(method, path) for method, path, _ in operations(document)}

    ours = DESIGN | CUSTODY | WIRE | COMPLETENESS | SEARCH | DESK | PROOFS
    named = {(method, path.replace("/v1/", "/v1/books/{book}/", 1)) for method, path in ours}
    assert found == ours | named | ALONE
    assert document["openapi"].startswith("3.1")


def test_the_document_is_whole(document):
    """References lead somewhere, operations have a name each, paths name their parameters."""
    ids = [operation["operationId"] for _, _, operation in operations(document)]

    assert len(set(ids)) == len(ids)
    for reference in references(document):
        resolve(document, reference)
    for name in document["components"]["schemas"]:
        Draft202012Validator.check_schema(document["components"]["schemas"][name])
    for _, path, operation in operations(document):
        named = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path)), path


def test_every_refusal_is_a_problem_document(document):
    for _, path, operation in operations(document):
        for status in ("401", "403", "404", "405", "409", "413", "422", "503"):
            content = operation["responses"][status]["content"]
            assert list(content) == ["application/problem+json"], path
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_what_is_sent_and_answered_fits_the_schemas(document, service):
    request = attempt()
    validator(document, "Event").validate(request)
    receipt = service.post(request).json()
    validator(document, "Receipt").validate(receipt)
    problem = service.post({}).json()
    validator(document, "Problem").validate(problem)
    for result in service.post([request, {}], "/v1/events:batch").json()["results"]:
        validator(document, "Result").validate(result)


def test_the_document_can_be_made_without_a_ledger(document):
    """docs/openapi.json is this text, and a test of the docs compares the two."""
    assert json.loads(openapi_text()) == document
