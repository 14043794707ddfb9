# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of models that nobody registered: how they stand, and one alert for each."""

import pytest
from house import attempt, event_id, gen, record_key

from anchoring.alerts import alerts
from anchoring.upgrade_watch import CODE, watch_answers
from ledger.readmodel.follower import catch_up
from ledger.upgrades import upgrades

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

MODEL = "urn:cap:model:acme:painter"


def register(house, version="3", type_="MODEL_REGISTERED", **changes):
    body = {
        "model": {"version": version},
        "change_ticket": "CHG-7",
        "answers": {"model_returned": ["painter-3-q"], "system_fingerprints": ["fp_1"]},
    }
    if type_ == "MODEL_REGISTERED":
        body["model"] |= {"provider": "acme", "name": "painter"}
        body["weights"] = {"unavailable": "hosted"}
    (outcome,) = house.post(
        {
            "event_id": event_id(),
            "type": type_,
            "schema": 1,
            "aggregate_id": MODEL,
            "on_behalf_of": "engineer-1",
            "body": {**body, **changes},
            "record_key": record_key(),
        }
    )
    assert hasattr(outcome, "row"), outcome


def answer(house, returned=None, fingerprint=None, version="3"):
    start = attempt()
    start["body"]["model"] = {"provider": "acme", "name": "painter", "version": version}
    done = gen(start["aggregate_id"])
    named = {"model_returned": returned, "system_fingerprint": fingerprint}
    done["body"]["provider"] = {name: value for name, value in named.items() if value is not None}
    house.post(start)
    house.post(done)


def standings(house):
    catch_up(house.database, house.schema, ["lineage", "search"])
    return {
        (one.answered.version, one.answered.returned, one.answered.fingerprint): one.standing
        for one in upgrades(house.database, house.schema)
    }


def test_each_answer_stands_against_what_was_registered_for_it(house):
    """Declared under a ticket or without, too late, by another version, retired, or not at all."""
    answer(house, "painter-4-q", version="4")
    register(house)
    register(
        house, "4", answers={"model_returned": ["painter-4-q"], "system_fingerprints": ["fp_4"]}
    )
    body = {"model_returned": ["painter-5-q"]}
    register(house, "5", answers=body, change_ticket="CHG-9")
    answer(house, "painter-3-q", "fp_1")
    answer(house, "painter-3-q", "fp_2")
    answer(house, "painter-4-q", "fp_4")
    answer(house, "painter", "fp_1")
    answer(house, "painter-3")
    answer(house, "somebody-else")
    answer(house, "painter-9", version="9")

    assert standings(house) == {
        ("3", "painter-3-q", "fp_1"): "registered",
        ("3", "painter-3-q", "fp_2"): "unregistered",
        ("3", "painter-4-q", "fp_4"): "other-version",
        ("3", "painter", "fp_1"): "registered",
        ("3", "painter-3", ""): "registered",
        ("3", "somebody-else", ""): "unregistered",
        ("4", "painter-4-q", ""): "late",
        ("9", "painter-9", ""): "unregistered",
    }


def test_a_deployment_may_declare_what_its_registration_did_not(house):
    """Its answers count from its own entry on; a retirement ends them."""
    body = {"weights": {"unavailable": "hosted"}, "answers": {"model_returned": ["painter-3-q"]}}
    register(house, **body)
    register(house, type_="MODEL_DEPLOYED", answers={"system_fingerprints": ["fp_9"]})
    answer(house, "painter-3-q", "fp_9")
    before = standings(house)
    retired = {
        "event_id": event_id(),
        "type": "MODEL_RETIRED",
        "schema": 1,
        "aggregate_id": MODEL,
        "on_behalf_of": "engineer-1",
        "body": {"reason_code": "end-of-life"},
        "record_key": record_key(),
    }
    (outcome,) = house.post(retired)
    assert hasattr(outcome, "row"), outcome
    answer(house, "painter-3-q", "fp_9")

    assert before == {("3", "painter-3-q", "fp_9"): "registered"}
    assert standings(house) == {("3", "painter-3-q", "fp_9"): "retired"}


def test_a_model_without_a_ticket_says_so(house):
    """It is registered, and nobody has agreed to it."""
    body = {
        "model": {"provider": "acme", "name": "painter", "version": "3"},
        "weights": {"unavailable": "hosted"},
    }
    house.post(
        {
            "event_id": event_id(),
            "type": "MODEL_REGISTERED",
            "schema": 1,
            "aggregate_id": MODEL,
            "on_behalf_of": "engineer-1",
            "body": body,
            "record_key": record_key(),
        }
    )
    answer(house, "painter")

    assert standings(house) == {("3", "painter", ""): "without-ticket"}


def test_an_alert_is_raised_once_for_each_answer(house):
    """Not for the second answer of the same, nor for what is registered."""
    register(house)
    answer(house, "painter-3-q", "fp_1")
    assert watch_answers(house.book) == 0
    answer(house, "painter-3-q", "fp_2")
    answer(house, "painter-3-q", "fp_2")

    assert watch_answers(house.book) == 1
    answer(house, "painter-3-q", "fp_2")
    answer(house, "painter-3-q", "fp_3")
    assert watch_answers(house.book) == 1
    assert watch_answers(house.book) == 0

    found = alerts(house.book, code=CODE)
    assert [one.facts["system_fingerprint"] for one in found] == ["fp_3", "fp_2"]
    assert found[0].facts["standing"] == "unregistered"
    assert found[0].about.startswith("acme painter 3: painter-3-q fp_3 #")


def test_a_flood_of_made_up_answers_raises_some_alerts_a_look(house):
    """A provider, or a pipeline, that names another model each time is told of, not obeyed."""
    batch = []
    for n in range(30):
        start = attempt()
        done = gen(start["aggregate_id"])
        done["body"]["provider"] = {"model_returned": "x" * 200 + str(n)}
        batch += [start, done]
    for at in range(0, len(batch), 20):
        house.post(*batch[at : at + 20])

    assert [watch_answers(house.book) for _ in range(3)] == [20, 10, 0]
