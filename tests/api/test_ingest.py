# SPDX-License-Identifier: GPL-3.0-or-later
"""POST /v1/events: what a pipeline sends, and the receipt that it can check without us."""

import base64
import threading

import pytest
from house import attempt, event_id, export, gen, ingest

from sealtrail.verify import canonical
from sealtrail.verify.disclosure import check_disclosure
from sealtrail.verify.merkle import check_inclusion, leaf_hash
from sealtrail.verify.note import open_checkpoint
from sealtrail.verify.tlog_proof import TlogProof


def digest(text: str) -> bytes:
    assert text.startswith("sha256:")
    return bytes.fromhex(text[7:])


def checked(service, receipt):
    """Return the entry of a receipt after recomputing everything that it claims."""
    entry = base64.b64decode(receipt["entry"], validate=True)
    leaf = leaf_hash(entry)
    assert digest(receipt["leaf"]) == leaf
    keys = service.house.trust().origins[receipt["origin"]]
    note = receipt["checkpoint"].encode()
    _, checkpoint = open_checkpoint(note, origin=service.house.origin, keys=keys)
    assert checkpoint.size == receipt["size"]
    path = [digest(node) for node in receipt["path"]]
    check_inclusion(
        leaf=leaf, index=receipt["position"], size=receipt["size"], path=path, root=checkpoint.root
    )
    proof = TlogProof.parse(receipt["proof"].encode())
    assert (proof.index, list(proof.path)) == (receipt["position"], path)
    assert proof.checkpoint == note
    return canonical.decode(entry)


def test_a_receipt_proves_the_entry_offline(service):
    """Leaf, path, checkpoint, proof and size lead to one root, signed by the published key."""
    request = attempt()

    answer = service.post(request)

    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert "sealtrail-repeat" not in answer.headers
    receipt = answer.json()
    assert list(receipt) == [
        "event_id", "origin", "recorded_at", "entry", "position", "leaf", "size", "path",
        "checkpoint", "proof", "disclosures",
    ]  # fmt: skip
    entry = checked(service, receipt)
    assert entry["event_id"] == request["event_id"] == receipt["event_id"]
    assert entry["time"]["recorded"] == receipt["recorded_at"]
    assert entry["body"] == request["body"]
    assert entry["tenant"] == service.house.tenant


def test_clear_values_come_back_as_disclosures_and_are_nowhere_in_the_entry(service):
    receipt = service.post(attempt()).json()

    entry = checked(service, receipt)
    opened = dict(check_disclosure(d, entry["_sd"]) for d in receipt["disclosures"].values())
    assert opened == {"prompt.user": "a lighthouse at dusk", "actor.subject_id": "employee-7"}
    assert b"lighthouse" not in base64.b64decode(receipt["entry"])
    assert b"employee-7" not in base64.b64decode(receipt["entry"])


def test_a_repeated_post_is_recorded_once(service):
    """A pipeline that timed out and retries gets an equivalent receipt, marked as a repeat."""
    request = attempt()
    first = service.post(request).json()
    service.post(attempt())
    size = service.size

    answer = service.post(request)

    assert answer.status_code == 200
    assert answer.headers["sealtrail-repeat"] == "true"
    again = answer.json()
    checked(service, again)
    same = ("event_id", "origin", "position", "leaf", "entry", "recorded_at", "disclosures")
    assert {name: again[name] for name in same} == {name: first[name] for name in same}
    assert service.size == size


def test_the_same_id_for_another_request_is_a_conflict(service):
    request = attempt()
    service.post(request)
    size = service.size

    answer = service.post({**request, "sealed": {"prompt.user": "a lighthouse at dawn"}})

    assert answer.status_code == 409
    assert answer.json()["code"] == "event-conflict"
    assert service.size == size


def test_a_whole_life_is_recorded_in_order(service):
    image, picture = event_id(), event_id()

    answers = [
        service.post(one)
        for one in (ingest(), attempt(image), gen(image, picture), export(picture))
    ]

    assert [answer.status_code for answer in answers] == [201] * 4
    positions = [answer.json()["position"] for answer in answers]
    assert positions == sorted(positions)


def test_the_book_may_be_named_and_must_be_the_tokens_own(service):
    tenant = service.house.tenant

    assert service.post(attempt(), f"/v1/books/{tenant}/events").status_code == 201
    other = service.post(attempt(), "/v1/books/somebody-else/events")
    assert (other.status_code, other.json()["code"]) == (404, "not-found")
    looks = service.post(attempt(), f"/v1/books/{tenant}-access/events")
    assert (looks.status_code, looks.json()["code"]) == (403, "forbidden")


def test_a_persons_token_commits_that_person(service):
    """A token bound to a person names them; the request must not."""
    token = service.house.token("pipeline", "person", "employee-31")
    request = attempt()
    del request["on_behalf_of"]

    answer = service.ask("POST", "/v1/events", token=token, json=request)
    named = service.ask("POST", "/v1/events", token=token, json=attempt())

    assert answer.status_code == 201
    entry = checked(service, answer.json())
    disclosure = answer.json()["disclosures"]["actor.subject_id"]
    assert check_disclosure(disclosure, entry["_sd"]) == ("actor.subject_id", "employee-31")
    assert named.status_code == 422
    assert named.json()["errors"][0]["rule"] == "person-from-token"


def test_many_clients_at_once_all_get_their_own_receipt(service):
    """Requests that are committed together get paths to one root; nobody gets another's."""
    requests = [attempt() for _ in range(24)]
    answers = {}

    def send(request):
        answers[request["event_id"]] = service.post(request)

    threads = [threading.Thread(target=send, args=(one,)) for one in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {answer.status_code for answer in answers.values()} == {201}
    for request in requests:
        assert checked(service, answers[request["event_id"]].json())["body"] == request["body"]
    positions = [answer.json()["position"] for answer in answers.values()]
    assert len(set(positions)) == len(requests)


def test_many_repeats_at_once_are_one_entry(service):
    """The impatient pipeline: eight threads send one request at the same moment."""
    request, statuses = attempt(), []

    def send():
        answer = service.post(request)
        statuses.append((answer.status_code, answer.json()["position"]))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({position for _, position in statuses}) == 1
    assert sorted(status for status, _ in statuses) == [200] * 7 + [201]


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Bearer st_pipeline_" + "A" * 43,
        "Basic dXNlcjpwYXNz",
        "Bearer",
        "Bearer a b",
        "Bearer é",
    ],
)
def test_without_a_good_credential_nothing_is_recorded(service, authorization):
    headers = {} if authorization is None else {"authorization": authorization.encode("latin-1")}
    size = service.size

    answer = service.ask("POST", "/v1/events", json=attempt(), headers=headers)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["code"] == "unauthenticated"
    assert service.size == size


def test_an_auditor_cannot_record(service):
    size = service.size

    for path, body in (("/v1/events", attempt()), ("/v1/events:batch", [attempt()])):
        answer = service.ask("POST", path, token=service.auditor, json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")

    assert service.size == size


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events:batch"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_events_are_only_ever_posted(service, path, method):
    answer = service.ask(method, path, token=service.pipeline)

    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.json()["code"] == "method-not-allowed"
