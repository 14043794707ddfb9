# SPDX-License-Identifier: GPL-3.0-or-later
"""The impatient pipeline, through the doors for other people's formats.

CloudEvents and lineage events pass brokers and proxies, which route them by their headers and send
them again when they please. Whoever can make the two ends read two different events has a record
that says another thing than what was done.
"""

import json

import pytest
from house import attempt, house_in
from served_house import serving

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

STRUCTURED = "application/cloudevents+json"
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


@pytest.fixture(scope="module")
def service(pattern, tmp_path_factory):
    with house_in(pattern, tmp_path_factory.mktemp("formats")) as house, serving(house) as made:
        yield made


def cloud(**changes):
    native = attempt()
    data = {name: native[name] for name in ("body", "on_behalf_of", "record_key")}
    return {
        "specversion": "1.0", "id": native["event_id"], "source": "urn:studio:renderer",
        "type": "GEN_ATTEMPT", "subject": native["aggregate_id"], "data": data, **changes,
    }  # fmt: skip


def send(service, content, headers, path="/v1/cloudevents"):
    """Send headers as they are, also two of one name."""
    return service.client.request(
        "POST",
        service.url + path,
        content=content if isinstance(content, bytes) else json.dumps(content),
        headers=[("authorization", f"Bearer {service.pipeline}"), *headers],
    )


def binary(event, *more):
    headers = [(f"ce-{name}", value) for name, value in event.items() if name != "data"]
    return [("content-type", "application/json"), *headers, *more]


def rules(answer):
    return {one["rule"] for one in answer.json()["errors"]}


def test_says_a_header_twice(service):
    """Who: somebody behind a proxy that routes by the first of two headers.
    Tries: two ce-id headers, in hope that the ledger takes the other one.
    Caught by: the ledger, which takes neither: an attribute stands in a request once.
    Not caught: a proxy that has joined or dropped one before; the ledger sees what is left.
    """
    event, other, before = cloud(), cloud(), service.size

    twice = send(service, event["data"], binary(event, ("ce-id", other["id"])))
    spelled = send(service, event["data"], binary(event, ("CE-ID", event["id"])))
    typed = send(service, event["data"], binary(event, ("content-type", STRUCTURED)))

    for answer in (twice, spelled, typed):
        assert (answer.status_code, rules(answer)) == (422, {"said-twice"})
    assert service.size == before


def test_says_one_thing_in_the_headers_and_another_in_the_event(service):
    """Who: somebody behind a broker that filters by headers.
    Tries: a structured event with ce- headers of a harmless one; a batch with such headers.
    Caught by: the ledger, which compares the two and refuses what differs.
    Not caught: headers of other names, by which a broker may have decided; they are nobody's claim.
    """
    event, before = cloud(), service.size
    media = ("content-type", STRUCTURED)

    other_type = send(service, event, [media, ("ce-type", "org.sealtrail.GEN_DENY")])
    other_extension = send(service, event, [media, ("ce-region", "eu")])
    batch = ("content-type", "application/cloudevents-batch+json")
    batched = send(service, [event], [batch, ("ce-type", "GEN_DENY")])

    assert rules(other_type) == rules(other_extension) == {"contradiction"}
    assert rules(batched) == {"batch"}
    assert service.size == before
    assert send(service, event, [media, ("ce-type", "GEN_ATTEMPT")]).status_code == 201


def test_hides_a_value_behind_its_encoding(service):
    """Who: somebody who hopes that one of two readers decodes once more.
    Tries: escaped line ends, overlong UTF-8, half-quoted strings, a percent sign that is escaped.
    Caught by: one strict round of decoding; what holds a control character then is refused.
    Not caught: nothing of this; `%2541` is `%41` here and never `A`.
    """
    event, before = cloud(), service.size

    for value in ("a%0D%0Ace-type:%20GEN", "%C0%AE%C0%AE", "%ED%A0%80", '"a"b"', "a%00", "%4"):
        headers = binary({**event, "source": value})
        answer = send(service, event["data"], headers)
        assert (value, answer.status_code, rules(answer)) == (value, 422, {"header-value"})
    assert service.size == before
    once = send(service, event["data"], binary({**event, "source": "urn:x%2541"}))
    assert once.status_code == 201
    entry = service.get(f"/v1/events/{event['id']}").json()["content"]
    assert entry["producer"]["id"] == "urn:x%41"


def test_smuggles_a_second_event_id(service):
    """Who: a pipeline that wants its event found under another id than its broker knows.
    Tries: event_id, type or aggregate_id inside the data, beside the attributes.
    Caught by: the ledger, which takes from the data only what no attribute says.
    Not caught: nothing of this.
    """
    before = service.size

    for member, value in (("event_id", cloud()["id"]), ("type", "GEN"), ("aggregate_id", "x")):
        event = cloud()
        event["data"][member] = value
        answer = send(service, event, [("content-type", STRUCTURED)])
        assert (answer.status_code, rules(answer)) == (422, {"attribute"})
    assert service.size == before


def test_sends_one_event_under_two_times(service):
    """Who: a producer that counts on its retries being taken for new events.
    Tries: the same source and id with another time, another mode, another spelling of the type.
    Caught by: the id, which follows from source and id alone: the same event is a repeat, another
    one under the pair is a conflict.
    Not caught: a producer that gives one event two ids; completeness reports count both.
    """
    event = cloud(id="4711", time="2026-11-21T10:00:00Z")
    media = ("content-type", STRUCTURED)

    first = send(service, event, [media])
    again = send(service, event["data"], binary(event))
    spelled = send(service, {**event, "type": "org.sealtrail.GEN_ATTEMPT"}, [media])
    later = send(service, {**event, "time": "2026-11-21T10:00:01Z"}, [media])

    statuses = [one.status_code for one in (first, again, spelled, later)]
    assert statuses == [201, 200, 200, 409]
    assert first.json()["position"] == again.json()["position"] == spelled.json()["position"]


def lineage(kind="START", **facet):
    says = {"_producer": "urn:studio", "_schemaURL": "urn:sealtrail:schema:x"}
    return {
        "eventType": kind,
        "eventTime": "2026-11-21T10:00:00Z",
        "producer": "urn:studio:trainer",
        "run": {
            "runId": "0198a1b2-0000-7000-8000-0000000000aa",
            "facets": {
                "sealtrail_train": {
                    **says, "type": "LORA", "code_digest": "sha256:" + "1" * 64, **facet,
                }
            },
        },
        "job": {"namespace": "studio", "name": "lora"},
        "inputs": [
            {
                "namespace": "lake",
                "name": "faces",
                "facets": {
                    "sealtrail_dataset": {
                        **says, "manifest_digest": "sha256:" + "2" * 64, "count": 3,
                    }
                },
            }
        ],
        "outputs": [{"namespace": "models", "name": "painter"}],
    }  # fmt: skip


def test_puts_a_person_into_a_lineage_event(service):
    """Who: a pipeline that means well, and whose lineage goes to a catalogue that all can read.
    Tries: on_behalf_of and record_key in our facet, where every receiver of the event sees them.
    Caught by: the ledger, which takes persons and keys as headers only and refuses the facet.
    Not caught: what the event has told the other receivers by then.
    """
    headers = [("sealtrail-run-key", KEY), ("sealtrail-on-behalf-of", "employee-7")]
    before = service.size

    for member in ("on_behalf_of", "record_key", "sealed"):
        event = lineage(**{member: "employee-7"})
        answer = send(service, event, headers, "/v1/openlineage")
        assert answer.status_code == 422
        assert "employee-7" not in answer.text
    assert service.size == before


def test_trains_on_more_than_was_declared(service):
    """Who: a trainer who remembers a forbidden set after the run has started.
    Tries: a second START of the run, or a COMPLETE, that names other inputs.
    Caught by: the run's id, under which there is one start, and the start's promise.
    Not caught: inputs that no event ever names; the packet says so.
    """
    headers = [("sealtrail-run-key", KEY), ("sealtrail-on-behalf-of", "employee-7")]
    other = {"namespace": "lake", "name": "stolen"}

    started = send(service, lineage(), headers, "/api/v1/lineage")
    more = lineage()
    more["inputs"].append(more["inputs"][0] | other)
    again = send(service, more, headers, "/api/v1/lineage")
    digest = {"datasetVersion": "sha256:" + "3" * 64}
    more["outputs"][0]["facets"] = {"version": digest}
    ended = send(service, more | {"eventType": "COMPLETE"}, headers, "/api/v1/lineage")

    assert started.status_code == 201, started.text
    assert (again.status_code, again.json()["code"]) == (409, "event-conflict")
    assert (ended.status_code, ended.json()["code"]) == (409, "training-differs")
