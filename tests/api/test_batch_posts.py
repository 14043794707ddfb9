# SPDX-License-Identifier: GPL-3.0-or-later
"""POST /v1/events:batch: each event on its own merit, answered in the order and form it came."""

import json

import pytest
from house import attempt, event_id, gen
from test_ingest import checked, digest

from sealtrail.verify.merkle import check_inclusion, leaf_hash
from sealtrail.verify.note import open_checkpoint

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

BATCH = "/v1/events:batch"
NDJSON = {"content-type": "application/x-ndjson"}


def results(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def statuses(found):
    return [one["status"] for one in found]


def test_each_event_gets_its_receipt_in_order(service):
    requests = [attempt() for _ in range(5)]

    found = results(service.post(requests, BATCH))

    assert statuses(found) == [201] * 5
    assert all(list(one) == ["status", "receipt"] for one in found)
    for request, one in zip(requests, found, strict=True):
        assert checked(service, one["receipt"])["event_id"] == request["event_id"]


def test_one_bad_event_does_not_touch_the_others(service):
    """There is no all-or-nothing: the good ones are recorded, each refusal says why."""
    image = event_id()
    float_ = attempt()
    float_["body"]["params"]["steps"] = "four"
    batch = [attempt(image), float_, gen(event_id()), gen(image), "no object", gen(image)]
    size = service.size

    found = results(service.post(batch, BATCH))

    assert statuses(found) == [201, 422, 409, 201, 422, 409]
    assert found[1]["problem"]["errors"][0]["pointer"] == "/body/params/steps"
    assert all(one["problem"]["status"] == one["status"] for one in found if "problem" in one)
    assert service.size == size + 2


def test_a_batch_sent_again_is_recorded_once(service):
    """After a lost answer the whole batch goes again; a second copy inside it is a repeat too."""
    batch = [attempt() for _ in range(20)]
    first = results(service.post([*batch, batch[3]], BATCH))
    size = service.size

    again = results(service.post(batch, BATCH))

    assert statuses(first) == [201] * 20 + [200]
    assert statuses(again) == [200] * 20
    for before, after in zip(first, again, strict=False):
        assert after["receipt"]["position"] == before["receipt"]["position"]
        assert after["receipt"]["leaf"] == before["receipt"]["leaf"]
        checked(service, after["receipt"])
    assert service.size == size


def test_one_id_for_two_requests_of_a_batch_is_a_conflict(service):
    request = attempt()
    other = {**attempt(), "event_id": request["event_id"]}

    found = results(service.post([request, other], BATCH))

    assert statuses(found) == [201, 409]
    assert found[1]["problem"]["code"] == "event-conflict"


def test_ndjson_is_answered_in_ndjson_and_a_bad_line_is_refused_alone(service):
    lines = [
        json.dumps(attempt()).encode(),
        b'{"event_id": 1.5}',
        b"{not json",
        b'{"a": 1, "a": 2}',
        b'{"text": "\xff"}',
        b"",
        json.dumps(attempt()).encode() + b"\r",
    ]

    answer = service.ask(
        "POST", BATCH, token=service.pipeline, content=b"\n".join(lines), headers=NDJSON
    )

    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.text.endswith("\n")
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert statuses(found) == [201, 400, 400, 400, 400, 201]
    rules = [one["problem"]["errors"][0]["rule"] for one in found[1:5]]
    assert rules == ["float", "not-json", "duplicate-key", "utf-8"]


def test_a_batch_of_one_thousand_is_taken_and_one_more_is_not(service):
    """The limit is told, and nothing of a batch over it is recorded."""
    batch = [attempt() for _ in range(1_000)]

    found = results(service.post(batch, BATCH))
    size = service.size
    answer = service.post([*batch, attempt()], BATCH)

    assert set(statuses(found)) == {201}
    keys = service.house.trust().origins[service.house.origin]
    for one in (found[0], found[500], found[999]):
        receipt = one["receipt"]
        note = receipt["checkpoint"].encode()
        _, checkpoint = open_checkpoint(note, origin=service.house.origin, keys=keys)
        check_inclusion(
            leaf=leaf_hash(service.house.book.reader.at(receipt["position"]).entry.data),
            index=receipt["position"],
            size=receipt["size"],
            path=[digest(node) for node in receipt["path"]],
            root=checkpoint.root,
        )
    assert answer.status_code == 413
    assert answer.json()["code"] == "too-large"
    assert service.size == size


def test_a_batch_over_eight_mebibytes_is_refused_unread(service):
    size = service.size
    content = b"[" + b" " * (8 * 1024 * 1024) + b"]"

    announced = service.ask("POST", BATCH, token=service.pipeline, content=content)
    chunks = iter([content[: 4 * 1024 * 1024], content[4 * 1024 * 1024 :]])
    chunked = service.ask("POST", BATCH, token=service.pipeline, content=chunks)

    assert [announced.status_code, chunked.status_code] == [413, 413]
    assert service.size == size


def test_what_is_no_array_is_no_batch(service):
    for content in (b"{}", b"null", b'"x"', b"", b"[", b"1"):
        answer = service.ask("POST", BATCH, token=service.pipeline, content=content)
        assert answer.status_code == 400, content
        assert answer.json()["code"] == "not-json"


def test_an_empty_batch_has_no_results(service):
    assert results(service.post([], BATCH)) == []
    answer = service.ask("POST", BATCH, token=service.pipeline, content=b"\n", headers=NDJSON)
    assert (answer.status_code, answer.text) == (200, "")
