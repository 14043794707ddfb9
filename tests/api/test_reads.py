# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries and their proofs, for the tenant's auditors only."""

import base64

import pytest
from house import attempt, event_id, house_in
from served_house import serving
from test_ingest import digest

from sealtrail.verify import canonical
from sealtrail.verify.merkle import check_inclusion, leaf_hash
from sealtrail.verify.tlog_proof import TlogProof, check_tlog_proof

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def receipt(service):
    return service.post(attempt()).json()


@pytest.fixture(scope="module")
def neighbour(postgres, tmp_path_factory):
    """Another tenant of the same database, behind a server of its own."""
    with house_in(postgres, tmp_path_factory.mktemp("neighbour")) as house, serving(house) as made:
        yield made


def test_an_entry_is_read_with_its_exact_bytes(service, receipt):
    answer = service.get(f"/v1/events/{receipt['event_id']}")

    assert answer.status_code == 200
    found = answer.json()
    assert found["entry"] == receipt["entry"]
    assert found["content"] == canonical.decode(base64.b64decode(receipt["entry"]))
    assert digest(found["leaf"]) == leaf_hash(base64.b64decode(found["entry"]))
    for name in ("event_id", "origin", "position", "leaf", "recorded_at"):
        assert found[name] == receipt[name]


def test_an_entry_has_a_tag_and_is_in_no_cache_that_would_not_ask_again(service, receipt):
    """An entry never changes, but each look at it is one: a cache may save bytes, not the look."""
    path = f"/v1/events/{receipt['event_id']}"

    first = service.get(path)
    again = service.get(path, headers={"if-none-match": first.headers["etag"]})

    assert first.headers["etag"] == f'"{receipt["leaf"][7:]}"'
    assert first.headers["cache-control"] == "private, no-cache"
    assert (again.status_code, again.content) == (304, b"")


def test_a_proof_comes_as_json(service, receipt):
    answer = service.get(f"/v1/events/{receipt['event_id']}/proof")

    proof = answer.json()
    leaf = leaf_hash(base64.b64decode(receipt["entry"]))
    assert digest(proof["leaf"]) == leaf
    _, index = check_tlog_proof(
        proof["proof"].encode(),
        leaf=leaf,
        origin=service.house.origin,
        keys=service.house.trust().origins[service.house.origin],
    )
    assert index == proof["position"] == receipt["position"]
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("accept", ["text/plain", "application/xml;q=0.5, Text/Plain;q=0.9"])
def test_a_proof_comes_as_a_file_for_who_accepts_text(service, receipt, accept):
    answer = service.get(f"/v1/events/{receipt['event_id']}/proof", headers={"accept": accept})

    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert TlogProof.parse(answer.content).index == receipt["position"]
    assert ".tlog-proof" in answer.headers["content-disposition"]


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/plain;q=0, application/json"])
def test_everybody_else_gets_json(service, receipt, accept):
    answer = service.get(f"/v1/events/{receipt['event_id']}/proof", headers={"accept": accept})

    assert answer.headers["content-type"] == "application/json"


def test_what_was_never_recorded_is_not_found(service):
    for suffix in ("", "/proof"):
        answer = service.get(f"/v1/events/{event_id()}{suffix}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


@pytest.mark.parametrize(
    "name", ["x", "1", "%00", "01a1fd54-3a05-46fb-b37a-28b36ea72919", "%ff%fe"]
)
def test_what_is_no_event_id_is_refused(service, name):
    answer = service.get(f"/v1/events/{name}")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/path/id"


def test_a_pipelines_token_reads_nothing(service, receipt):
    """It may see what anybody may, and not a byte more."""
    id_ = receipt["event_id"]
    paths = [f"/v1/events/{id_}", f"/v1/events/{id_}/proof", "/v1/tile/entries/000.p/1"]
    paths += [f"/v1/packets/{'0' * 32}", f"/v1/books/{service.house.tenant}/events/{id_}"]

    for path in paths:
        answer = service.ask("GET", path, token=service.pipeline)
        assert (path, answer.status_code) == (path, 403)
        assert answer.json()["code"] == "forbidden"
    assert service.ask("GET", "/v1/checkpoint", token=service.pipeline).status_code == 200


def test_without_a_token_there_is_nothing_to_read(service, receipt):
    for path in (f"/v1/events/{receipt['event_id']}", "/v1/tile/entries/000.p/1"):
        for options in ({}, {"token": "st_auditor_" + "A" * 43}):
            answer = service.ask("GET", path, **options)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_a_neighbours_auditor_finds_nothing(service, neighbour, receipt):
    """Neither by the id, which is not in their Book, nor by naming ours."""
    id_, tenant = receipt["event_id"], service.house.tenant

    for path in (f"/v1/events/{id_}", f"/v1/books/{tenant}/events/{id_}",
                 f"/v1/books/{tenant}-access/tile/entries/000.p/1"):  # fmt: skip
        assert neighbour.get(path).status_code == 404
    ours = service.get(f"/v1/books/{tenant}/events/{id_}")
    assert ours.status_code == 200


def test_head_is_get_without_the_body(service, receipt):
    for path in (f"/v1/events/{receipt['event_id']}", "/v1/checkpoint", "/livez"):
        get, head = service.get(path), service.ask("HEAD", path, token=service.auditor)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == get.headers["content-length"]
        assert head.headers["content-type"] == get.headers["content-type"]


def test_any_position_can_be_proved_under_any_size(service, receipt):
    size = receipt["size"]
    root = service.house.book.tree.root(size)

    for position in {0, size // 2, receipt["position"]}:
        proof = service.public(f"/proofs/{position}?size={size}").json()
        check_inclusion(
            leaf=digest(proof["leaf"]),
            index=position,
            size=size,
            path=[digest(node) for node in proof["path"]],
            root=root,
        )
        assert proof["root"] == f"sha256:{root.hex()}"
