# SPDX-License-Identifier: GPL-3.0-or-later
"""What anybody may read without a credential, and how it is found."""

import json
import time

import pytest
from house import attempt, house_in
from test_ingest import digest

from sealtrail.verify.merkle import EMPTY_ROOT, check_consistency
from sealtrail.verify.note import open_checkpoint
from sealtrail.verify.tlog_proof import check_tlog_proof
from sealtrail.verify.trust import Trust

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def log(service):
    """The service with a few more entries, each under a checkpoint of its own."""
    for _ in range(5):
        service.post(attempt())
    return service


def test_without_a_token_the_only_tenants_documents_are_meant(dev):
    """On a ledger of one tenant the short paths need no name."""
    dev.post(attempt())

    for path in ("/checkpoint", "/v1/checkpoint", "/v1/books/dev/checkpoint"):
        answer = dev.ask("GET", path)
        assert answer.status_code == 200
        assert answer.text.startswith("localhost/dev\n")
    assert dev.ask("GET", "/v1/proofs/0").status_code == 200
    assert dev.ask("GET", "/tile/0/000.p/1").status_code == 200
    looks = dev.ask("GET", "/v1/books/dev-access/checkpoint")
    assert looks.text.startswith("localhost/dev/access\n")


def test_among_several_tenants_somebody_has_to_be_named(postgres, tmp_path, log):
    with house_in(postgres, tmp_path):
        paths = ("/checkpoint", "/v1/checkpoint", "/v1/proofs/0", "/tile/0/000.p/1",
                 "/v1/consistency?from=0&to=1", "/v1/anchors/2026-01-14")  # fmt: skip
        deadline = time.monotonic() + 30  # A process reads the registry every few seconds.
        while log.ask("GET", paths[0]).status_code != 404:
            assert time.monotonic() < deadline
            time.sleep(0.1)

        for path in paths:
            answer = log.ask("GET", path)
            assert (path, answer.status_code) == (path, 404)
            assert log.get(path).status_code == 200
        named = log.public("/checkpoint")
        assert named.status_code == 200


def test_a_wrong_token_is_refused_on_public_paths_too(log):
    """Who sends a credential wants its Book; another Book's documents would mislead them."""
    answer = log.ask("GET", "/v1/checkpoint", token="st_auditor_" + "A" * 43)

    assert answer.status_code == 401


def test_answers_that_depend_on_the_token_say_so_to_caches(log):
    """Or a cache on the way hands one tenant's checkpoint to another."""
    assert log.get("/v1/checkpoint").headers["vary"] == "authorization"
    assert log.get("/tile/0/000.p/1").headers["vary"] == "authorization"
    assert "vary" not in log.public("/checkpoint").headers


def test_any_web_page_may_read_public_documents_and_nothing_else(log):
    tenant = log.house.tenant
    public = [
        f"/v1/books/{tenant}/checkpoint", f"/v1/books/{tenant}/tile/0/000.p/1",
        f"/v1/books/{tenant}/tile/0/999", f"/v1/books/{tenant}/proofs/0",
        f"/v1/books/{tenant}/consistency?from=0&to=1", f"/v1/books/{tenant}/anchors/2026-01-14",
        "/.well-known/sealtrail/trust.json", "/openapi.json",
    ]  # fmt: skip
    private = ["/v1/tile/entries/000.p/1", "/v1/events/x", "/metrics", "/v1/packets/x"]

    for path in public:
        assert log.get(path).headers.get("access-control-allow-origin") == "*", path
    for path in private:
        assert "access-control-allow-origin" not in log.get(path).headers, path


def test_consistency_between_any_two_sizes(log):
    newest = log.size
    for first, last in ((0, newest), (1, newest), (2, 3), (newest - 1, newest), (newest, newest)):
        found = log.public(f"/consistency?from={first}&to={last}").json()

        assert (found["from"], found["to"]) == (first, last)
        if first == 0:
            assert (found["path"], found["from_root"]) == ([], f"sha256:{EMPTY_ROOT.hex()}")
            continue
        check_consistency(
            old_size=first,
            old_root=digest(found["from_root"]),
            new_size=last,
            new_root=digest(found["to_root"]),
            path=[digest(node) for node in found["path"]],
        )


def test_consistency_is_refused_for_what_is_not_signed_yet(log):
    beyond = log.public(f"/consistency?from=1&to={log.size + 1}")
    backwards = log.public("/consistency?from=3&to=2")

    assert (beyond.status_code, beyond.json()["code"]) == (404, "not-found")
    assert backwards.status_code == 422
    assert backwards.json()["errors"][0]["pointer"] == "/query/from"


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("", "/query/from"),
        ("from=1", "/query/to"),
        ("from=x&to=1", "/query/from"),
        ("from=1&to=-1", "/query/to"),
        ("from=1&to=1_0", "/query/to"),
        ("from=01&to=1", "/query/from"),
        ("from=%D9%A1&to=1", "/query/from"),
        ("from=1.0&to=1", "/query/from"),
        ("from=1&to=99999999999999999999", "/query/to"),
        ("from=%201&to=1", "/query/from"),
        ("from=1%0A&to=1", "/query/from"),
    ],
)
def test_a_number_has_one_spelling(log, query, pointer):
    answer = log.public(f"/consistency?{query}")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_a_proof_by_position_needs_no_credential_and_shows_no_content(log):
    position = log.size - 2

    answer = log.public(f"/proofs/{position}")

    found = answer.json()
    leaf = log.house.book.reader.at(position).leaf
    assert digest(found["leaf"]) == leaf
    check_tlog_proof(
        found["proof"].encode(),
        leaf=leaf,
        origin=log.house.origin,
        keys=log.house.trust().origins[log.house.origin],
    )
    assert set(found) == {"origin", "position", "leaf", "size", "path", "checkpoint", "proof"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/proofs/999999999", 404),
        ("/proofs/9999999999999999999", 404),
        ("/proofs/0?size=0", 404),
        ("/proofs/0?size=999999999", 404),
        ("/proofs/-1", 422),
        ("/proofs/1_0", 422),
        ("/proofs/00", 422),
        ("/proofs/x", 422),
        ("/proofs/0?size=x", 422),
        ("/proofs/", 404),
        ("/proofs/0/", 404),
        ("/anchors/2026-02-30", 422),
        ("/anchors/2026-1-1", 422),
        ("/anchors/today", 422),
        ("/anchors/%00", 422),
        ("/nothing", 404),
        ("", 404),
    ],
)
def test_what_is_not_there_or_is_no_question_is_a_problem_document(log, path, status):
    answer = log.public(path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v2/events", "/v1/events/", "/v1/checkpoint/", "//v1/checkpoint",
             "/V1/checkpoint", "/docs", "/redoc", "/v1/books", "/v1/books/nobody/checkpoint",
             "/v1/books/%00/checkpoint", "/.env", "/%2e%2e/%2e%2e/etc/passwd"]
)  # fmt: skip
def test_an_unknown_path_is_not_found_and_never_redirected(service, path):
    answer = service.ask("GET", path)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "not-found"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/v1/checkpoint", "/livez", "/v1/events/x", "/tile/0/000"])
def test_a_wrong_method_is_a_problem_document(service, method, path):
    answer = service.ask(method, path, token=service.auditor, content=b"x")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET"
    assert answer.json()["code"] == "method-not-allowed"


def test_the_trust_file_is_the_one_that_strangers_pin(log):
    answer = log.ask("GET", "/.well-known/sealtrail/trust.json")

    assert answer.headers["content-type"] == "application/json"
    trust = Trust.parse(answer.content)
    open_checkpoint(
        log.public("/checkpoint").content,
        origin=log.house.origin,
        keys=trust.origins[log.house.origin],
    )
    assert json.loads(answer.content)["v"] == 1


def test_a_day_without_anchors_has_an_empty_list(log):
    found = log.public("/anchors/2026-01-14").json()

    assert found == {"origin": log.house.origin, "day": "2026-01-14", "anchors": []}
