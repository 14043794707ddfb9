# SPDX-License-Identifier: GPL-3.0-or-later
"""The CloudEvents project's own SDK writes an event, and the ledger records what was meant."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from house import attempt

pytestmark = pytest.mark.once

SOURCE = "urn:studio:renderer%3;region=eu"
AT = datetime(2026, 11, 21, 10, 20, 30, 123_456, tzinfo=timezone(timedelta(hours=5, minutes=30)))


def written():
    """An event as the SDK has it, with a source and an extension that need every escape."""
    native = attempt()
    attributes = {
        "specversion": "1.0",
        "id": native["event_id"],
        "source": SOURCE,
        "type": "org.sealtrail.GEN_ATTEMPT",
        "subject": native["aggregate_id"],
        "time": AT,
        "datacontenttype": "application/json",
        "stage": "caf\u00e9 \u201ctwo\u201d \U0001f3a8",
    }
    data = {name: native[name] for name in ("body", "sealed", "on_behalf_of", "record_key")}
    return CloudEvent(attributes, data)


def test_what_the_sdk_sends_without_a_media_type_is_read_as_json(service):
    """An event without `datacontenttype` goes out in binary mode without a Content-Type."""
    whole = written()
    named = whole.get_attributes()
    attributes = {name: named[name] for name in named if name != "datacontenttype"}
    message = to_binary_event(CloudEvent(attributes, whole.get_data()))
    headers = dict(message.headers)
    here, sent = ("POST", "/v1/cloudevents"), {"token": service.pipeline, "content": message.body}

    assert "content-type" not in {name.lower() for name in headers}
    binary = service.ask(*here, **sent, headers=headers)
    nothing = service.ask(*here, **sent)

    assert binary.status_code == 201, binary.text
    assert nothing.status_code == 422  # Neither attributes nor a media type: no event.


@pytest.mark.parametrize("mode", [to_binary_event, to_structured_event], ids=["binary", "json"])
def test_what_the_sdk_sends_is_recorded(service, mode):
    """Each mode; the SDK escapes more than it has to, and that is right."""
    event = written()
    message = mode(event)

    answer = service.ask(
        "POST",
        "/v1/cloudevents",
        token=service.pipeline,
        content=message.body,
        headers=dict(message.headers),
    )

    assert answer.status_code == 201, answer.text
    assert answer.headers["sealtrail-ignored"] == "1"  # stage
    entry = service.get(f"/v1/events/{event.get_id()}").json()["content"]
    assert entry["producer"] == {"id": SOURCE, "event_id": event.get_id()}
    moment = AT.astimezone(UTC)
    assert entry["time"]["producer"] == f"{moment:%Y-%m-%dT%H:%M:%S}.123Z"
    assert entry["aggregate"]["id"] == event.get_subject()
