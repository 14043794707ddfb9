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
