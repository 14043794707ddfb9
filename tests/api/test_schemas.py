# SPDX-License-Identifier: GPL-3.0-or-later
"""The published schemas: found by anybody, and true of what is really sent, recorded, answered."""

import base64
from pathlib import Path

import pytest
from house import attempt, deny, error, export, gen, ingest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from test_openlineage import TRAIN

from ledger.catalog import CATALOG
from ledger.request import MEMBERS
from ledger.request_schema import schema_id
from sealtrail.verify import canonical

pytestmark = pytest.mark.once

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def index(service):
    answer = service.ask("GET", "/schemas/")
    assert answer.status_code == 200
    return {one["id"]: one["path"] for one in answer.json()["schemas"]}


@pytest.fixture(scope="module")
def check(service, index):
    """A stranger's validator, which has read everything that the index lists."""
    read = {id_: service.ask("GET", path).json() for id_, path in index.items()}
    registry = Registry().with_resources(
        (id_, Resource.from_contents(schema)) for id_, schema in read.items()
    )

    def faults(name, value, version=1):
        validator = Draft202012Validator(read[schema_id(name, version)], registry=registry)
        return [f"{one.json_path}: {one.message}" for one in validator.iter_errors(value)]

    return faults


def entry_of(receipt):
    return canonical.decode(base64.b64decode(receipt["entry"]))


def test_every_event_type_and_every_shape_has_an_id_and_a_path(service, index):
    for type_, version in CATALOG:
        name = type_.lower()
        assert index[schema_id(name, version)] == f"/schemas/{name}/{version}.json"
    for name in ("request", "entry", "receipt", "problem", "batch", "results"):
        assert index[f"urn:sealtrail:schema:{name}:1"] == f"/schemas/{name}/1.json"
    for id_, path in index.items():
        answer = service.ask("GET", path)
        Draft202012Validator.check_schema(answer.json())
        assert (answer.json()["$id"], answer.json()["$schema"][-7:]) == (id_, "/schema")


def test_anybody_may_read_them_and_a_cache_may_keep_them(service):
    answer = service.ask("GET", "/schemas/gen/1.json")

    assert answer.headers["content-type"] == "application/schema+json"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert "vary" not in answer.headers
    known = {"if-none-match": answer.headers["etag"]}
    assert service.ask("GET", "/schemas/gen/1.json", headers=known).status_code == 304
    assert service.ask("HEAD", "/schemas/gen/1.json").status_code == 200
    assert service.ask("GET", "/schemas").json() == service.ask("GET", "/schemas/").json()


@pytest.mark.parametrize(
    "path",
    ["/schemas/gen/9.json", "/schemas/gen/01.json", "/schemas/GEN/1.json", "/schemas/gen/1",
     "/schemas/..%2f..%2fetc/1.json", "/schemas/nothing/1.json"],
)  # fmt: skip
def test_what_is_no_schema_is_not_found(service, path):
    assert service.ask("GET", path).status_code == 404


def test_what_is_served_is_what_is_kept_in_the_documents(service, index):
    """`python -m ledger.catalog docs/schemas; python -m api.schemas docs/wire-schemas` was run."""
    kept = {
        one.name: one.read_text("utf-8")
        for folder in ("schemas", "wire-schemas")
        for one in (DOCS / folder).glob("*.json")
    }

    served = {
        path.removeprefix("/schemas/").replace("/", "-"): service.ask("GET", path).text
        for path in index.values()
    }

    assert served == kept


def test_requests_entries_and_receipts_are_what_their_schemas_say(service, check):
    """Real ones, of each kind of life."""
    asset = ingest()
    made = [attempt() for _ in range(3)]
    ends = [gen(made[0]["aggregate_id"]), deny(made[1]["aggregate_id"])]
    ends.append(error(made[2]["aggregate_id"]))
    sent = [asset, *made, *ends, export(asset["aggregate_id"])]

    for request in sent:
        answer = service.post(request)
        assert answer.status_code == 201, answer.text
        assert check("request", request) == []
        assert check("receipt", answer.json()) == []
        entry = entry_of(answer.json())
        assert check("entry", entry) == []
        assert check(entry["type"].lower(), entry["body"]) == []
    repeat = service.post(sent[0])
    assert (repeat.status_code, check("receipt", repeat.json())) == (200, [])


def test_entries_of_the_ledgers_own_are_what_their_schemas_say(service, check):
    """The whole log and the whole access Book."""
    service.get(f"/v1/events/{service.post(attempt()).json()['event_id']}")

    for book in (service.house.book, service.house.access_book):
        for one in book.reader.between(0, book.reader.head().size):
            assert check("entry", one.entry.value) == [], one.entry.value["type"]


def test_a_batch_and_its_results_are_what_their_schemas_say(service, check):
    batch = [attempt(), attempt(type="NOTHING"), attempt(record_key="short")]

    answer = service.post(batch, "/v1/events:batch").json()

    assert check("results", answer) == []
    assert [one["status"] for one in answer["results"]] == [201, 422, 422]
    assert check("batch", batch[:1]) == []
    assert len(check("batch", batch)) >= 2
    for one in answer["results"][1:]:
        assert check("problem", one["problem"]) == []


def test_absent_means_absent(check):
    """No member is null, and none that we do not know is there."""
    request = attempt()

    for name in set(MEMBERS) - {"body"}:
        assert check("request", request | {name: None})
    assert check("request", request | {"more": 1})
    assert check("request", {**request, "trace": {"trace_id": "1" * 32, "span_id": None}})
    assert check("request", {name: one for name, one in request.items() if name != "record_key"})
    custody = {name: one for name, one in request.items() if name not in ("record_key", "sealed")}
    digest = "A" * 43
    assert check("request", custody | {"_sd": [digest], "person_digest": digest}) == []


def test_a_schema_says_what_is_committed_and_never_clear(service):
    schema = service.ask("GET", "/schemas/gen_attempt/1.json").json()

    assert {"prompt.user", "prompt.negative", "net.ip"} <= set(schema["x-sealed"])
    assert "prompt" not in schema["properties"] or "user" not in str(schema["properties"]["prompt"])


def test_our_openlineage_facets_have_schemas(check):
    """So that a `_schemaURL` has something to lead to."""
    says = {"_producer": "https://studio.example", "_schemaURL": "https://ledger.example/x.json"}
    dataset = {"dataset_id": "lake/portraits", "count": 9}

    assert check("openlineage_sealtrail_train", TRAIN | says) == []
    assert check("openlineage_sealtrail_dataset", dataset | says) == []
    assert check("openlineage_sealtrail_dataset", dataset | says | {"count": 1.5})
    assert check("openlineage_sealtrail_train", TRAIN | says | {"inputs": []})
    assert check("openlineage_sealtrail_train", says)
