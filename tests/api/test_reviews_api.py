# SPDX-License-Identifier: GPL-3.0-or-later
"""The desk over HTTP: cases, takedowns and consents, and a person's decision from post to page."""

import pytest
from custody_desk import Desk
from desk_world import (
    at,
    delivered,
    escalated,
    granted,
    quarantined,
    review,
    revoked,
    takedown,
    text,
)
from house import attempt, event_id, house_in
from served_house import serving

from anchoring.consent_effects import begin_effects

pytestmark = pytest.mark.once

HOUR = 3_600_000


@pytest.fixture(scope="module")
def own(postgres, tmp_path_factory):
    with house_in(postgres, tmp_path_factory.mktemp("desk")) as house, serving(house) as made:
        made.desk = Desk(house)
        made.reviewer = house.token("pipeline", "person", "reviewer-3")
        made.now = house.database.now_ms()
        made.late = case(made, deadline=at(made.now - HOUR))
        made.soon = case(made, deadline=at(made.now + HOUR), queue="legal")
        first = attempt()
        asset = event_id()
        house.post(first, quarantined(first["aggregate_id"], asset))
        made.asset = asset
        yield made


def case(own, **more):
    first = attempt()
    own.house.post(first, escalated(first["aggregate_id"], event_id(), **more))
    return first["aggregate_id"]


def generations(answer):
    return [one["generation_id"] for one in answer.json()["reviews"]]


def test_open_cases_are_listed_by_queue_and_deadline(own):
    """Overdue ones alone, if that is asked for; each list is one look."""
    looks = len(own.looks)

    everything = own.get("/v1/reviews")
    legal = own.get("/v1/reviews?queue=legal")
    overdue = own.get("/v1/reviews?overdue=true")

    assert {own.late, own.soon} <= set(generations(everything))
    assert generations(legal) == [own.soon]
    assert generations(overdue) == [own.late]
    (one,) = overdue.json()["reviews"]
    assert one["overdue"] is True
    assert one["deadline"] == at(own.now - HOUR)
    assert [look["body"]["path"] for look in own.looks[looks:]] == ["/v1/reviews"] * 3


def test_a_persons_decision_is_seen_as_soon_as_it_is_acknowledged(own):
    """Posted with a token of the person's own; who that was stands nowhere in clear."""
    generation = case(own)
    (listed,) = [
        one
        for one in own.get("/v1/reviews").json()["reviews"]
        if one["generation_id"] == generation
    ]
    decision = review(generation, "decided", "DENY", escalation_id=listed["case_id"])
    del decision["on_behalf_of"]

    posted = own.ask("POST", "/v1/events", token=own.reviewer, json=decision)
    answer = own.get("/v1/reviews?state=decided")

    assert posted.status_code == 201
    (decided,) = [one for one in answer.json()["reviews"] if one["generation_id"] == generation]
    assert (decided["outcome"], decided["last"]["event_id"]) == ("DENY", decision["event_id"])
    assert "reviewer-3" not in answer.text
    entry = own.get(f"/v1/events/{decision['event_id']}").json()
    assert entry["position"] == decided["last"]["position"]


def test_pages_of_cases_fit_together(own):
    """Each case once, whatever the size of a page."""
    whole = own.get("/v1/reviews?state=all").json()
    paged, before = [], ""
    while before is not None:
        query = f"?state=all&limit=1{f'&before={before}' if before else ''}"
        page = own.get(f"/v1/reviews{query}").json()
        paged += page["reviews"]
        before = page["before"]

    assert [one["case_id"] for one in paged] == [one["case_id"] for one in whole["reviews"]]
    assert own.asset in {one["case_id"] for one in paged}


def test_takedowns_show_their_clock(own):
    """From the receipt to the deadline; in the state that is asked for."""
    delivery = delivered(own.house)
    own.house.post(takedown(delivery, "r-1", own.now - 50 * HOUR))

    answer = own.get("/v1/takedowns?state=overdue").json()

    (one,) = [one for one in answer["takedowns"] if one["export_id"] == delivery]
    assert one["due_at"] == at(own.now - 2 * HOUR)
    assert answer["as_of"] == own.size
    assert own.get("/v1/takedowns?state=met").json()["takedowns"] == []


def test_a_consent_is_shown_with_what_its_end_began(own):
    """By its own id and by the event that revoked it; the person stands nowhere."""
    consent, words = event_id(), event_id()
    end = revoked(consent, "mona", effects=[{"kind": "none"}])
    own.house.post(text(words, on_revocation="erase"), granted(consent, words, "mona"), end)
    waiting = own.get(f"/v1/consents/{consent}").json()
    begin_effects(own.house.book)

    by_id = own.get(f"/v1/consents/{consent}")
    by_event = own.get(f"/v1/consents/{end['event_id']}")

    assert waiting["effects"] == [{"state": "waiting"}]
    shown = by_id.json()
    assert shown["text"]["id"] == words
    assert shown["declared_effects"] == [{"kind": "none"}]
    (effect,) = shown["effects"]
    assert (effect["started"], effect["declared_differs"]) == ("erasure", True)
    assert own.get(f"/v1/erasures/{effect['ref']}").json()["state"] == "requested"
    assert by_event.json()["consent_id"] == consent
    assert "mona" not in by_id.text


@pytest.mark.parametrize(
    "path", ["/v1/reviews", "/v1/takedowns", "/v1/consents/consent-1", "/v1/alerts"]
)
def test_the_desk_is_for_auditors(own, path):
    """Not for pipelines, nor for whoever has no token."""
    assert own.ask("GET", path, token=own.pipeline).status_code == 403
    assert own.ask("GET", path).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "/v1/reviews?state=closed",
        "/v1/reviews?limit=1001",
        "/v1/reviews?before=7",
        "/v1/reviews?before=%D9%A3:x",
        "/v1/takedowns?state=closed",
        "/v1/takedowns?before=-1",
    ],
)
def test_a_wrong_question_is_refused_by_name(own, path):
    """With the parameter that is wrong."""
    assert own.get(path).status_code == 422


def test_a_consent_that_nobody_gave_is_not_there(own):
    """Whoever asked has looked all the same."""
    looks = len(own.looks)

    assert own.get("/v1/consents/consent:of/nobody").status_code == 404
    assert own.looks[looks]["body"]["result_count"] == 0
