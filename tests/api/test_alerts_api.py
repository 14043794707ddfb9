# SPDX-License-Identifier: GPL-3.0-or-later
"""Alerts over HTTP: who may see and answer them, what is recorded of it, and the gauge."""

import pytest
from house import event_id, house_in
from served_house import serving

from anchoring.alerts import raise_alert

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def own(postgres, tmp_path_factory):
    """A tenant with three alerts."""
    with house_in(postgres, tmp_path_factory.mktemp("alerts")) as house, serving(house) as made:
        for about in ("a", "b", "c"):
            raise_alert(house.book, "seen-by-http", about, {"n": 1})
        made.program = house.token("auditor", "pipeline", "exporter")
        yield made


def answer(own, alert, token=None, **body):
    path = f"/v1/alerts/{alert}/acknowledge"
    return own.ask("POST", path, token=token or own.auditor, json=body)


def gauge(own):
    text = own.ask("GET", "/metrics").text
    name = f'sealtrail_alerts_open{{book="{own.house.tenant}"}} '
    return next(line.removeprefix(name) for line in text.splitlines() if line.startswith(name))


def test_alerts_are_read_by_pages_and_each_page_is_a_look(own):
    """The newest first; the last page says that it is the last."""
    looks = len(own.looks)

    first = own.get("/v1/alerts?limit=2&code=seen-by-http").json()
    rest = own.get(f"/v1/alerts?limit=2&code=seen-by-http&before={first['before']}").json()

    assert [one["about"] for one in first["alerts"] + rest["alerts"]] == ["c", "b", "a"]
    assert rest["before"] is None
    assert [one["body"]["path"] for one in own.looks[looks:]] == ["/v1/alerts"] * 2


def test_a_pipeline_sees_no_alert_and_a_program_answers_none(own):
    """Reading is for auditors; answering for one is for a person."""
    (alert,) = [
        one["event_id"] for one in own.get("/v1/alerts").json()["alerts"] if one["about"] == "b"
    ]

    assert own.ask("GET", "/v1/alerts", token=own.pipeline).status_code == 403
    assert own.ask("GET", "/v1/alerts").status_code == 401
    assert answer(own, alert, token=own.program).status_code == 403
    assert answer(own, alert, token=own.pipeline).status_code == 403


def test_a_person_answers_an_alert_and_the_gauge_falls(own):
    """It leaves the open list, stays in the whole one, and says what became of it."""
    before = gauge(own)
    alert = own.get("/v1/alerts").json()["alerts"][-1]["event_id"]

    told = answer(own, alert, reason="handled")
    open_now = [one["event_id"] for one in own.get("/v1/alerts").json()["alerts"]]
    everything = own.get("/v1/alerts?state=all").json()["alerts"]

    assert told.status_code == 200
    assert told.json()["acknowledged"]["reason"] == "handled"
    assert alert not in open_now
    assert alert in [one["event_id"] for one in everything]
    assert int(before) == 3


@pytest.mark.parametrize(
    ("alert", "body", "status"),
    [
        ("{one}", {"reason": "told <b>Bob</b>"}, 422),
        ("{one}", {"who": "Bob"}, 422),
        ("{none}", {}, 404),
        ("nonsense", {}, 404),
    ],
    ids=["prose", "unknown member", "another id", "no id"],
)
def test_a_wrong_answer_records_nothing(own, alert, body, status):
    """The field and the rule are named; the log does not grow."""
    one = own.get("/v1/alerts").json()["alerts"][0]["event_id"]
    size = own.size

    refused = answer(own, alert.format(one=one, none=event_id()), **body)

    assert refused.status_code == status
    assert own.size == size
