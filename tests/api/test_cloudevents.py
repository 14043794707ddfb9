# SPDX-License-Identifier: GPL-3.0-or-later
"""CloudEvents in three modes: one event, one entry, and nothing said that is not recorded."""

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest
from house import attempt
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from api.cloudevents import decoded, translate
from api.translated import derived_id, our_time
from ledger.errors import MalformedEvent
from ledger.request import UUID7

pytestmark = pytest.mark.once

SCHEMA = (
    Path(__file__).resolve().parents[2]
    / ".." / "shared" / "vectors" / "cloudevents" / "cloudevents" / "formats" / "cloudevents.json"
)  # fmt: skip
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b9c7c989f97918e1-01"


def cloud(**changes):
    """A GEN_ATTEMPT as a CloudEvent; a change to None leaves a member out."""
    native = attempt()
    event = {
        "specversion": "1.0",
        "id": native["event_id"],
        "source": "urn:studio:renderer-3",
        "type": "org.sealtrail.GEN_ATTEMPT",
        "subject": native["aggregate_id"],
        "time": "2026-11-21T10:20:30.5+01:00",
        "datacontenttype": "application/json",
        "dataschema": "urn:sealtrail:schema:gen_attempt:1",
        "traceparent": TRACE,
        "data": {
            name: native[name] for name in ("body", "sealed", "on_behalf_of", "record_key")
        },
    }  # fmt: skip
    return {name: value for name, value in (event | changes).items() if value is not None}


def send(
    service, event, *, media="application/cloudevents+json", path="/v1/cloudevents", **headers
):
    return service.ask(
        "POST",
        path,
        token=service.pipeline,
        content=event if isinstance(event, bytes | str) else json.dumps(event),
        headers={"content-type": media, **headers},
    )


def binary(event):
    """The same event in binary mode: headers and body."""
    headers = {
        f"ce-{name}": quote(value, safe="!#$&'()*+,/:;=?@[]~-._")
        for name, value in event.items()
        if name not in ("data", "datacontenttype")
    }
    return headers, json.dumps(event["data"])


def send_binary(service, event, **more):
    headers, data = binary(event)
    return send(service, data, media="application/json", **(headers | more))


def entry_of(answer):
    return json.loads(base64.b64decode(answer.json()["entry"]))


def complaints(answer):
    return {(one["pointer"], one["rule"]) for one in answer.json()["errors"]}


@pytest.mark.skipif(not SCHEMA.is_file(), reason="the public schema (shared/vectors) is not here")
def test_our_examples_are_cloudevents():
    """The specification's own schema takes what we tell people to send."""
    schema = Draft7Validator(json.loads(SCHEMA.read_text("utf-8")))

    assert list(schema.iter_errors(cloud())) == []
    assert list(schema.iter_errors(cloud(source=None)))


@pytest.mark.parametrize("how", [send, send_binary], ids=["structured", "binary"])
def test_an_event_becomes_an_entry_with_the_receipt_of_any_other(service, how):
    event = cloud()

    answer = how(service, event)

    assert answer.status_code == 201, answer.text
    assert "sealtrail-ignored" not in answer.headers
    assert set(answer.json()) == set(service.post(attempt()).json())
    entry = entry_of(answer)
    assert entry["event_id"] == event["id"]
    assert (entry["type"], entry["schema"]) == ("GEN_ATTEMPT", 1)
    assert entry["aggregate"]["id"] == event["subject"]
    assert entry["producer"] == {"id": event["source"], "event_id": event["id"]}
    assert entry["time"]["producer"] == "2026-11-21T09:20:30.500Z"
    assert entry["trace"] == {
        "trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b9c7c989f97918e1",
    }  # fmt: skip
    assert entry["body"] == event["data"]["body"]
    assert set(answer.json()["disclosures"]) == {"prompt.user", "actor.subject_id"}


def test_all_three_modes_are_one_event(service):
    """A broker may change the mode on the way; the retry is a repeat all the same."""
    event = cloud(id="run-7/attempt 1".replace(" ", "-"))

    first = send(service, event)
    second = send_binary(service, event)
    third = send(service, [event], media="application/cloudevents-batch+json; charset=UTF-8")

    assert (first.status_code, second.status_code) == (201, 200)
    assert second.headers["sealtrail-repeat"] == "true"
    ((result),) = third.json()["results"]
    assert result["status"] == 200
    positions = {one["position"] for one in (first.json(), second.json(), result["receipt"])}
    assert len(positions) == 1


def test_source_and_id_name_one_event_whatever_else_is_sent(service):
    """A second event under the pair is a conflict, also with another time: none is lost unseen."""
    event = cloud(id="42")

    first = send(service, event)
    later = send(service, event | {"time": "2026-11-21T10:20:31Z"})
    elsewhere = send(service, cloud(id="42", source="urn:studio:renderer-4"))

    assert (first.status_code, later.status_code, elsewhere.status_code) == (201, 409, 201)
    made = first.json()["event_id"]
    assert made == derived_id("sealtrail.cloudevents.id.v1", event["source"], "42")
    assert elsewhere.json()["event_id"] != made


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_derived_id_has_the_shape_of_every_event_id(source, number):
    source, number = source.replace("\0", ""), number.replace("\0", "")
    encodable = (source + number).encode("utf-8", "ignore").decode() == source + number
    if encodable:
        made = derived_id("sealtrail.cloudevents.id.v1", source, number)
        assert UUID7.fullmatch(made)
        assert made == derived_id("sealtrail.cloudevents.id.v1", source, number)


def test_a_plain_type_and_an_address_of_the_schema_will_do(service):
    event = cloud(
        type="GEN_ATTEMPT",
        dataschema="https://ledger.example/schemas/gen_attempt/1.json",
        time=None,
        traceparent=None,
        datacontenttype=None,
    )

    answer = send(service, event)

    assert answer.status_code == 201, answer.text
    assert "producer" not in entry_of(answer)["time"]


def test_an_attribute_that_is_null_is_not_there(service):
    """So says the JSON format."""
    event = cloud() | {"time": None, "traceparent": None, "other": None}

    answer = send(service, event)

    assert answer.status_code == 201
    assert "sealtrail-ignored" not in answer.headers


def test_what_has_no_place_in_an_entry_is_counted(service):
    """Extensions of brokers on the way: not recorded, and not passed over in silence."""
    event = cloud(partitionkey="7", sequence="12")

    one = send_binary(service, event)
    many = send(service, [event, cloud(), event], media="application/cloudevents-batch+json")

    assert (one.status_code, one.headers["sealtrail-ignored"]) == (201, "2")
    assert [found.get("ignored") for found in many.json()["results"]] == [2, None, 2]
    assert many.headers["sealtrail-ignored"] == "4"


def test_each_event_of_a_batch_has_its_own_answer(service):
    before = service.size
    events = [cloud(), cloud(subject=None), 7, cloud(data={"body": {}}), cloud()]

    answer = send(service, events, media="application/cloudevents-batch+json")

    found = answer.json()["results"]
    assert [one["status"] for one in found] == [201, 422, 422, 422, 201]
    assert found[1]["problem"]["errors"][0]["pointer"] == "/subject"
    assert found[2]["problem"]["errors"][0]["pointer"] == ""
    assert {one["pointer"] for one in found[3]["problem"]["errors"]} > {"/data/on_behalf_of"}
    assert service.size == before + 2
    empty = send(service, [], media="application/cloudevents-batch+json")
    assert (empty.status_code, empty.json()) == (200, {"results": []})


@pytest.mark.parametrize(
    ("changes", "pointer", "rule"),
    [
        ({"specversion": "0.3"}, "specversion", "specversion"),
        ({"specversion": None}, "specversion", "required"),
        ({"id": None}, "id", "required"),
        ({"id": 7}, "id", "type"),
        ({"id": "with space"}, "id", "token"),
        ({"source": "a b"}, "source", "token"),
        ({"type": "org.sealtrail.NOTHING", "dataschema": None}, "type", "unknown-type"),
        ({"type": "org.sealtrail.ANCHOR", "dataschema": None}, "type", "ledger-made"),
        ({"dataschema": "urn:sealtrail:schema:gen:1"}, "dataschema", "dataschema"),
        ({"dataschema": "urn:sealtrail:schema:gen_attempt:9"}, "dataschema", "unknown-schema"),
        ({"dataschema": "https://elsewhere.example/x.json"}, "dataschema", "dataschema"),
        ({"subject": "two words"}, "subject", "identifier"),
        ({"time": "2026-11-21"}, "time", "time"),
        ({"time": "2026-11-21T10:20:30"}, "time", "time"),
        ({"time": "2026-02-30T10:20:30Z"}, "time", "time"),
        ({"traceparent": "00-" + "0" * 32 + "-b9c7c989f97918e1-01"}, "traceparent", "traceparent"),
        ({"traceparent": TRACE.upper()}, "traceparent", "traceparent"),
        ({"datacontenttype": "text/xml"}, "datacontenttype", "media-type"),
    ],
)
def test_what_is_wrong_is_named_where_it_was_sent(service, changes, pointer, rule):
    """In the event, or in the headers that said it."""
    event = cloud(**changes)

    answer = send(service, event)

    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert complaints(answer) == {(f"/{pointer}", rule)}
    if isinstance(event.get("id", ""), str) and pointer != "datacontenttype":
        answer = send_binary(service, event)
        assert complaints(answer) == {(f"/headers/ce-{pointer}", rule)}


def test_what_is_wrong_with_the_data_is_named_in_the_data(service):
    event = cloud()
    event["data"]["body"]["params"] = {"steps": "many"}
    event["data"]["record_key"] = "short"

    structured, parts = send(service, event), send_binary(service, event)

    rules = complaints(structured)
    assert ("/data/record_key", "record-key") in rules
    assert any(pointer == "/data/body/params/steps" for pointer, _ in rules)
    assert complaints(parts) == {(pointer.removeprefix("/data"), rule) for pointer, rule in rules}
    assert "many" not in structured.text


@pytest.mark.parametrize(
    ("member", "value"),
    [("event_id", "01a1fd98-600c-7a8f-9b67-8c238f99b304"), ("type", "GEN"), ("schema", 1),
     ("aggregate_id", "x"), ("producer", {"id": "urn:other"})],
)  # fmt: skip
def test_what_an_attribute_says_the_data_does_not_say_again(service, member, value):
    """Two ids in one request, and some reader would believe the other one."""
    event = cloud()
    event["data"][member] = value

    answer = send(service, event)

    assert complaints(answer) == {(f"/data/{member}", "attribute")}


@pytest.mark.parametrize(
    ("group", "pointer"),
    [({"time": {"producer": "2026-01-01T00:00:00.000Z"}}, "/time"),
     ({"trace": {"trace_id": "1" * 32}}, "/traceparent")],
    ids=["time", "trace"],
)  # fmt: skip
def test_the_data_may_add_to_a_group_and_not_contradict_it(service, group, pointer):
    event = cloud()
    event["data"] |= group
    more = cloud()
    more["data"] |= {"time": {"processing_started": "2026-11-21T09:20:30.100Z"}}

    assert complaints(send(service, event)) == {(pointer, "contradiction")}
    entry = entry_of(send(service, more))
    assert entry["time"]["processing_started"] == "2026-11-21T09:20:30.100Z"
    assert entry["time"]["producer"] == "2026-11-21T09:20:30.500Z"


@pytest.mark.parametrize(
    "media",
    ["application/cloudevents+avro", "application/cloudevents", "text/plain", "",
     "application/cloudevents+json; charset=latin-1", "application/json; boundary=x"],
)  # fmt: skip
def test_another_media_type_is_refused_by_name(service, media):
    answer = send(service, cloud(), media=media)

    assert answer.status_code == 422
    assert complaints(answer) == {("/headers/content-type", "media-type")}


def test_who_may_record_is_asked_before_the_body_is_read(service):
    data = json.dumps(cloud())
    headers = {"content-type": "application/cloudevents+json"}
    book = service.house.tenant

    def status(path="/v1/cloudevents", token=None):
        return service.ask("POST", path, token=token, content=data, headers=headers).status_code

    assert status() == 401
    assert status(token=service.auditor) == 403
    assert status(f"/v1/books/{book}-access/cloudevents", service.pipeline) == 403
    assert status("/v1/books/nobody/cloudevents", service.pipeline) == 404
    assert status(f"/v1/books/{book}/cloudevents", service.pipeline) == 201
    assert service.ask("GET", "/v1/cloudevents").status_code == 405


def test_what_is_no_strict_json_or_too_large_is_refused(service):
    twice = b'{"specversion":"1.0","id":"1","id":"2"}'

    assert send(service, twice).status_code == 400
    assert send(service, b"[1.5]", media="application/cloudevents-batch+json").status_code == 400
    assert send(service, b'{"a":1', media="application/json").status_code == 400
    assert send(service, b" " * (1024 * 1024 + 1)).status_code == 413
    many = [1] * 1_001
    assert send(service, many, media="application/cloudevents-batch+json").status_code == 413
    packed = send(service, cloud(), **{"content-encoding": "gzip"})
    assert complaints(packed) == {("/headers/content-encoding", "encoding")}


# Headers of binary mode


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro \u20ac \U0001f600"),
        ("%e2%82%ac", "\u20ac"),
        ("%41%42", "AB"),
        ('"with space"', "with space"),
        (r'"a \"quoted\" \\ one"', 'a "quoted" \\ one'),
        ('"%41"', "A"),
        ("%2541", "%41"),
        ("  padded\t", "padded"),
        ("%C0%A0", None),
        ("%ED%A0%80", None),
        ("%zz", None),
        ("%4", None),
        ("100%", None),
        ("%00", None),
        ("a%0d%0aevil:%201", None),
        ("%C2%85", None),
        ("%EF%BF%BE", None),
        ('a"b"', None),
        ('"open', None),
        ('"a"b"', None),
        ('"a\\"', None),
        ("caf\u00e9", None),
        ("a\x00b", None),
    ],
)
def test_a_header_is_decoded_once_and_strictly(header, text):
    """HTTP binding §3.1.3.2: quotes off, one round of percent-decoding, invalid UTF-8 refused."""
    assert decoded(header) == text


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), min_size=1))
def test_what_the_binding_encodes_is_read_as_it_was(text):
    assert decoded(quote(text, safe="")) == text


@pytest.mark.parametrize(
    ("given_time", "ours"),
    [
        ("2026-11-21T10:20:30Z", "2026-11-21T10:20:30.000Z"),
        ("2026-11-21t10:20:30.1239z", "2026-11-21T10:20:30.123Z"),
        ("2026-11-21T10:20:30.999999999+05:30", "2026-11-21T04:50:30.999Z"),
        ("2026-01-01T00:30:00-01:00", "2026-01-01T01:30:00.000Z"),
        ("2026-11-21T10:20:60Z", None),
        ("2026-11-21T24:00:00Z", None),
        ("2026-11-21 10:20:30Z", None),
        ("0001-01-01T00:00:00+01:00", None),
        ("\u0662026-11-21T10:20:30Z", None),
        (7, None),
    ],
)
def test_a_time_is_cut_to_milliseconds_of_utc(given_time, ours):
    assert our_time(given_time) == ours


def test_nothing_that_is_sent_is_repeated_in_a_refusal():
    """An id, a source or a subject may name a person."""
    event = cloud(id="max muster", source="max muster", subject="max muster", time="max muster")

    with pytest.raises(MalformedEvent) as refusal:
        translate(event, lambda name: f"/{name}")

    assert "muster" not in str(refusal.value.errors) + str(refusal.value)
