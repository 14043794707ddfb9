# SPDX-License-Identifier: GPL-3.0-or-later
"""Acceptance: whatever is wrong with a request gets its status, field and rule, and no entry.

Neither does any answer repeat what was sent: a value may be somebody's prompt or name.
"""

import copy
import json

import pytest
from house import attempt, event_id, export, gen, ingest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.catalog import CATALOG

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

#: Stands wherever a request holds a value that nobody must read in an answer.
SECRET = "nobody-may-read-this"

ZEROES = "sha256:" + "0" * 64
LEDGER_MADE = sorted(type_ for (type_, _), event in CATALOG.items() if event.ledger_made)


def edited(path, value, request=None):
    """A good request with one member replaced; `...` takes it out."""
    request = copy.deepcopy(request or attempt())
    *parents, last = path.split(".")
    node = request
    for step in parents:
        node = node.setdefault(step, {})
    if value is ...:
        node.pop(last, None)
    else:
        node[last] = value
    return json.dumps(request).encode()


def raw(before, after):
    """A good request with a piece of its text replaced."""
    text = json.dumps(attempt()).encode()
    assert before in text
    return text.replace(before, after, 1)


ROWS = {
    # not strict JSON
    "no body": (b"", 400, "not-json", "", "not-json"),
    "not JSON": (b"{", 400, "not-json", "", "not-json"),
    "bad UTF-8": (raw(b"lighthouse", b"\xff\xfe"), 400, "not-json", "", "utf-8"),
    "a byte order mark": (b"\xef\xbb\xbf" + edited("schema", 1), 400, "not-json", "",
                          "byte-order-mark"),
    "duplicate key": (raw(b'"schema": 1', b'"schema": 1, "schema": 1'), 400, "not-json", "",
                      "duplicate-key"),
    "duplicate key below": (raw(b'"steps": 4', b'"steps": 4, "steps": 4'), 400, "not-json", "",
                            "duplicate-key"),
    "a float": (edited("body.params.steps", 4.0), 400, "not-json", "", "float"),
    "an exponent": (raw(b'"steps": 4', b'"steps": 4e0'), 400, "not-json", "", "float"),
    "NaN": (raw(b'"steps": 4', b'"steps": NaN'), 400, "not-json", "", "not-json"),
    "minus zero": (raw(b'"steps": 4', b'"steps": -0'), 400, "not-json", "", "integer-spelling"),
    "a number too large": (edited("body.params.steps", 2**53), 400, "not-json", "",
                           "integer-range"),
    "a lone surrogate": (raw(b"lighthouse", rb"\ud800"), 400, "not-json", "", "surrogate"),
    "too deep": (b"[" * 1000 + b"]" * 1000, 400, "not-json", "", "depth"),
    "two documents": (edited("schema", 1) * 2, 400, "not-json", "", "not-json"),
    # no event
    "an array": (b"[]", 422, "malformed-event", "", "type"),
    "a string": (b'"GEN"', 422, "malformed-event", "", "type"),
    "null": (b"null", 422, "malformed-event", "", "type"),
    "nothing in it": (b"{}", 422, "malformed-event", "/event_id", "required"),
    "unknown member": (edited(SECRET, 1), 422, "malformed-event", "", "unknown-field"),
    # ids, type and schema
    "no event_id": (edited("event_id", ...), 422, "malformed-event", "/event_id", "required"),
    "event_id of version 4": (edited("event_id", "0199f3a2-7c1e-4b42-9d60-5a1f0c2e4b77"), 422,
                              "malformed-event", "/event_id", "uuid7"),
    "event_id in capitals": (edited("event_id", event_id().upper()), 422, "malformed-event",
                             "/event_id", "uuid7"),
    "event_id a number": (edited("event_id", 7), 422, "malformed-event", "/event_id", "uuid7"),
    "aggregate_id with a space": (edited("aggregate_id", SECRET + " "), 422, "malformed-event",
                                  "/aggregate_id", "identifier"),
    "aggregate_id empty": (edited("aggregate_id", ""), 422, "malformed-event", "/aggregate_id",
                           "identifier"),
    "unknown event type": (edited("type", SECRET), 422, "malformed-event", "/type",
                           "unknown-type"),
    "type in lower case": (edited("type", "gen_attempt"), 422, "malformed-event", "/type",
                           "unknown-type"),
    "type no string": (edited("type", ["GEN"]), 422, "malformed-event", "/type", "unknown-type"),
    "unknown schema": (edited("schema", 2), 422, "malformed-event", "/schema", "unknown-schema"),
    "schema true": (edited("schema", True), 422, "malformed-event", "/schema", "unknown-schema"),
    # body
    "wrong type": (edited("body.params.steps", SECRET), 422, "malformed-event",
                   "/body/params/steps", "type"),
    "unknown field": (edited(f"body.params.{SECRET}", 1), 422, "malformed-event", "/body/params",
                      "unknown-field"),
    "field missing": (edited("body.model", ...), 422, "malformed-event", "/body/model", "required"),
    "a null": (edited("body.model.digest", None), 422, "malformed-event", "/body/model/digest",
               "null"),
    "body a list": (edited("body", []), 422, "malformed-event", "/body", "type"),
    "a prompt in clear": (edited("body.prompt", {"user": SECRET}), 422, "malformed-event",
                          "/body/prompt/user", "must-be-sealed"),
    # the person
    "missing person": (edited("on_behalf_of", ...), 422, "malformed-event", "/on_behalf_of",
                       "person-missing"),
    "person empty": (edited("on_behalf_of", ""), 422, "malformed-event", "/on_behalf_of", "person"),
    "person a number": (edited("on_behalf_of", 7), 422, "malformed-event", "/on_behalf_of",
                        "person"),
    "person a pipeline": (edited("on_behalf_of", "renderer"), 422, "malformed-event",
                          "/on_behalf_of", "person-is-pipeline"),
    "person in clear": (edited("actor.subject_id", SECRET), 422, "malformed-event",
                        "/actor/subject_id", "must-be-sealed"),
    # commitments
    "no record_key": (edited("record_key", ...), 422, "malformed-event", "/record_key", "required"),
    "record_key short": (edited("record_key", "AAAA"), 422, "malformed-event", "/record_key",
                         "record-key"),
    "record_key padded": (edited("record_key", "A" * 43 + "="), 422, "malformed-event",
                          "/record_key", "record-key"),
    "sealed a list": (edited("sealed", [SECRET]), 422, "malformed-event", "/sealed", "type"),
    "sealed name unknown": (edited("sealed", {"weather": SECRET}), 422, "malformed-event",
                            "/sealed", "unknown-name"),
    "sealed name odd": (edited("sealed", {SECRET: "x"}), 422, "malformed-event", "/sealed",
                        "unknown-name"),
    "sealed person": (edited("sealed", {"actor.subject_id": SECRET}), 422, "malformed-event",
                      "/sealed/actor.subject_id", "person"),
    "sealed too long": (edited("sealed", {"prompt.user": "x" * 70_000}), 422, "malformed-event",
                        "/sealed/prompt.user", "too-long"),
    "custody and a key": (edited("_sd", ["A" * 43]), 422, "malformed-event", "/sealed", "custody"),
    # sizes
    "an entry over 16 KiB": (
        edited("links", [{"rel": "derived-from", "id": "x" * 128, "leaf": ZEROES}] * 64),
        413, "too-large", None, None,
    ),
    # lifecycle
    "an outcome without its attempt": (json.dumps(gen(event_id())).encode(), 409, None, None, None),
    "an export of nothing": (json.dumps(export(event_id())).encode(), 409, "asset-unknown", None,
                             None),
    **{
        f"{type_} is the ledger's": (edited("type", type_), 422, "malformed-event", "/type",
                                     "ledger-made")
        for type_ in LEDGER_MADE
    },
    "the ledger's timeout": (
        json.dumps({**gen(event_id()), "type": "GEN_ERROR", "body": {"timeout": True}}).encode(),
        422, "malformed-event", "/body/timeout", "ledger-made",
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_what_is_malformed_is_refused_with_field_and_rule(service, row):
    content, status, code, pointer, rule = ROWS[row]
    size = service.size

    answer = service.ask("POST", "/v1/events", token=service.pipeline, content=content)

    assert answer.status_code == status, answer.text[:300]
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    if code is not None:
        assert problem["code"] == code
        assert problem["type"] == f"urn:sealtrail:problem:{code}"
    if pointer is not None:
        assert (pointer, rule) in {(one["pointer"], one["rule"]) for one in problem["errors"]}
    assert SECRET not in answer.text
    assert service.size == size


@pytest.mark.parametrize("row", [row for row in ROWS if ROWS[row][0]])
def test_and_in_a_batch_it_is_refused_alone(service, row):
    """The same status, code and field as alone, between two events that are recorded."""
    content, status, *_ = ROWS[row]
    alone = service.ask("POST", "/v1/events", token=service.pipeline, content=content)
    lines = [json.dumps(attempt()).encode(), content, json.dumps(attempt()).encode()]
    size = service.size

    answer = service.ask(
        "POST", "/v1/events:batch", token=service.pipeline, content=b"\n".join(lines),
        headers={"content-type": "application/x-ndjson"},
    )  # fmt: skip

    found = [json.loads(line) for line in answer.text.splitlines()]
    assert [one["status"] for one in found] == [201, status, 201]
    assert found[1]["problem"] == alone.json()
    assert service.size == size + 2


def test_ten_megabytes_are_refused_announced_or_not(service):
    """Announced, it is refused before it is read; in chunks, as soon as it is too much."""
    size = service.size
    big = json.dumps(attempt(sealed={"prompt.user": "x" * 10_000_000})).encode()

    announced = service.ask("POST", "/v1/events", token=service.pipeline, content=big)
    pieces = (big[at : at + 65_536] for at in range(0, len(big), 65_536))
    chunked = service.ask("POST", "/v1/events", token=service.pipeline, content=pieces)
    packets = service.ask("POST", "/v1/packets", token=service.auditor, content=big)

    for answer in (announced, chunked, packets):
        assert answer.status_code == 413
        assert answer.json()["code"] == "too-large"
    assert service.size == size
    assert service.post(attempt()).status_code == 201


def test_a_second_outcome_is_refused(service):
    image = event_id()
    service.post(attempt(image))
    service.post(gen(image))
    size = service.size

    answer = service.post({**gen(image), "type": "GEN_ERROR", "body": {"reason": "x"}})

    assert answer.status_code in (409, 422)
    assert service.post(gen(image)).status_code == 409
    assert service.size == size


def test_a_source_number_is_used_once(service):
    """A gap-free counter of the client's: a second event under one number is a conflict."""
    source = {"id": f"renderer-{event_id()}", "n": 1}
    first = attempt(source=source)
    service.post(first)
    size = service.size

    answer = service.post(attempt(source=source))

    assert (answer.status_code, answer.json()["code"]) == (409, "source-conflict")
    assert service.post(first).status_code == 200
    assert service.size == size


def test_an_asset_is_ingested_once(service):
    asset = event_id()
    service.post(ingest(asset))
    size = service.size

    answer = service.post(ingest(asset))

    assert answer.status_code == 409
    assert service.size == size


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/json5"]
)
def test_one_event_is_json_whatever_it_calls_itself(service, content_type):
    """No other reading of a body exists, so none can be chosen by a header."""
    headers = {} if content_type is None else {"content-type": content_type}

    answer = service.ask(
        "POST", "/v1/events", token=service.pipeline, headers=headers,
        content=json.dumps(attempt()).encode(),
    )  # fmt: skip

    assert answer.status_code == 201


ORDERS = {
    "not JSON": (b"{", 400, "", "not-json"),
    "duplicate key": (b'{"event_ids": [], "event_ids": []}', 400, "", "duplicate-key"),
    "a float": (b'{"event_ids": [1.5]}', 400, "", "float"),
    "nothing": (b"{}", 422, "/event_ids", "required"),
    "none": (b'{"event_ids": []}', 422, "/event_ids", "too-few"),
    "no ids": (b'{"event_ids": ["%s"]}' % SECRET.encode(), 422, "/event_ids/0", None),
    "no strings": (b'{"event_ids": [7]}', 422, "/event_ids/0", "type"),
    "unknown member": (b'{"event_ids": ["x"], "%s": 1}' % SECRET.encode(), 422, "",
                       "unknown-field"),
    "odd disclosures": (
        json.dumps({"event_ids": [event_id()], "disclosures": {SECRET: {}}}).encode(), 422,
        "/disclosures", None,
    ),
    "a list": (b"[]", 422, "", "type"),
}  # fmt: skip


@pytest.mark.parametrize("row", ORDERS)
def test_an_order_for_a_packet_is_refused_the_same_way(service, row):
    content, status, pointer, rule = ORDERS[row]
    looks = len(service.looks)

    answer = service.ask("POST", "/v1/packets", token=service.auditor, content=content)

    assert answer.status_code == status, answer.text[:300]
    errors = answer.json()["errors"]
    assert any(one["pointer"] == pointer and rule in (None, one["rule"]) for one in errors)
    assert SECRET not in answer.text
    assert len(service.looks) == looks


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False),
    st.text(max_size=40), st.sampled_from(["\x00", SECRET, "a\x00b", "\u202e", "'; --", "%s"]),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(node, path=()):
    """Every place in a request where another value may stand."""
    yield path
    steps = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for step in steps:
        yield from places(node[step], (*path, step))


@st.composite
def spoiled(draw):
    """A request of any kind with one to three of its values replaced, or members added."""
    make = draw(st.sampled_from([attempt, ingest, lambda: gen(event_id()), custody]))
    request = {"request": make()}
    request["request"] |= copy.deepcopy(draw(st.sampled_from([{}, *EXTRAS])))
    for _ in range(draw(st.integers(1, 3))):
        every = [path for path in places(request) if path]
        *parents, last = draw(st.sampled_from(every))
        node = request
        for step in parents:
            node = node[step]
        if isinstance(node, dict) and draw(st.booleans()):
            last = draw(st.one_of(st.just(last), st.text(max_size=8)))
        node[last] = draw(values)
    return request["request"]


EXTRAS = [
    {"source": {"id": "renderer", "n": 1}},
    {"links": [{"rel": "parent-call", "id": event_id(), "leaf": "sha256:" + "0" * 64}]},
    {"time": {"processing_started": "2026-01-14T18:23:45.123Z"}},
    {"trace": {"trace_id": "0" * 32}},
    {"actor": {"kind": "human", "role": "artist"}},
    {"retention": {"class": "standard"}},
]


def custody():
    request = attempt()
    for name in ("sealed", "record_key", "on_behalf_of"):
        del request[name]
    return {**request, "_sd": ["A" * 43], "person_digest": "A" * 43}


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(request=spoiled())
def test_no_request_whatever_is_answered_with_a_5xx(service, request):
    """Not even one with NUL, a huge number or half a surrogate where a name is wanted."""
    text = json.dumps(request).encode()

    answer = service.ask("POST", "/v1/events", token=service.pipeline, content=text)

    assert answer.status_code in (200, 201, 400, 409, 413, 422), answer.text[:300]
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert SECRET not in answer.text


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=st.one_of(st.binary(max_size=60), values.map(lambda value: repr(value).encode())))
def test_no_bytes_whatever_are_answered_with_a_5xx(service, content):
    for path in ("/v1/events", "/v1/events:batch"):
        answer = service.ask("POST", path, token=service.pipeline, content=content)

        assert answer.status_code in (200, 400, 422), answer.text[:300]
