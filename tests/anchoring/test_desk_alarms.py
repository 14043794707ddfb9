# SPDX-License-Identifier: GPL-3.0-or-later
"""Deadlines raise alerts, before and after them, each once, also when nobody was here."""

import pytest
from desk_world import at, delivered, ended, escalated, quarantined, review, takedown
from house import Hand, attempt, event_id, export, house_in, noon_before

from anchoring.alerts import alerts
from anchoring.desk_alarms import REVIEW_SOON_MS, TAKEDOWN_SOON_MS, watch_deadlines

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

HOUR = 3_600_000


@pytest.fixture(scope="module")
def house(pattern, tmp_path_factory):
    with house_in(pattern, tmp_path_factory.mktemp("alarms"), now_ms=Hand(noon_before(1))) as made:
        yield made


def case_due(house, until, name="case-1"):
    """A case that is due at a time; returns its generation."""
    first = attempt()
    house.post(first, escalated(first["aggregate_id"], name, deadline=at(until)))
    return first["aggregate_id"]


def told(house, thing):
    """Codes of the alerts about a thing, the oldest first."""
    return [one.code for one in reversed(alerts(house.book, limit=1_000)) if thing in one.about]


def test_a_case_is_told_of_before_its_deadline_and_after_it(house):
    """Not earlier, and each once, however often somebody looks."""
    until = house.now_ms.ms + 5 * HOUR
    generation = case_due(house, until)
    seen = []

    for now in (until - REVIEW_SOON_MS - 1, until - REVIEW_SOON_MS, until - 1, until, until + HOUR):
        watch_deadlines(house.book, now)
        watch_deadlines(house.book, now)
        seen.append(told(house, generation))

    assert seen[0] == []
    assert seen[1] == seen[2] == ["review-due-soon"]
    assert seen[3] == seen[4] == ["review-due-soon", "review-overdue"]


def test_a_scheduler_that_was_away_tells_what_is_late(house):
    """What is over is told as late, and not as due soon."""
    until = house.now_ms.ms + HOUR
    generation = case_due(house, until)

    watch_deadlines(house.book, until + 30 * HOUR)

    assert told(house, generation) == ["review-overdue"]


def test_a_decided_case_raises_nothing(house):
    """Whoever decided in time hears nothing."""
    until = house.now_ms.ms + HOUR
    generation = case_due(house, until)
    house.post(review(generation, "decided", "ALLOW", escalation_id="case-1"))

    watch_deadlines(house.book, until + HOUR)

    assert told(house, generation) == []


def test_a_deadline_that_is_moved_is_another_one(house):
    """Moving it away from an alert raises the next, under the new deadline."""
    until = house.now_ms.ms + HOUR
    generation = case_due(house, until)
    watch_deadlines(house.book, until)
    later = until + 10 * HOUR
    moved = review(generation, "opened", escalation_id="case-1", deadline=at(later))
    house.post(moved)

    watch_deadlines(house.book, later)

    assert told(house, generation) == ["review-overdue", "review-overdue"]


def test_a_takedown_is_told_of_before_48_hours_are_over_and_after(house):
    """Twelve hours before, and when they are."""
    delivery, received = delivered(house), house.now_ms.ms
    house.post(takedown(delivery, "r-1", received))
    due = received + 48 * HOUR
    seen = []

    for now in (due - TAKEDOWN_SOON_MS - 1, due - TAKEDOWN_SOON_MS, due, due + HOUR):
        watch_deadlines(house.book, now)
        seen.append(told(house, delivery))

    assert seen == [[], ["takedown-due-soon"]] + [["takedown-due-soon", "takedown-overdue"]] * 2


def test_what_was_removed_raises_nothing(house):
    """Nor does a request that does not hold."""
    delivery, received = delivered(house), house.now_ms.ms
    house.post(
        takedown(delivery, "gone", received, removed_at=at(received)),
        takedown(delivery, "void", received, valid=False),
    )

    watch_deadlines(house.book, received + 99 * HOUR)

    assert told(house, delivery) == []


def test_an_alert_names_things_and_nobody(house):
    """Queue, deadline and event: what a person needs to find the case, and no person."""
    until = house.now_ms.ms + HOUR
    generation = case_due(house, until)
    watch_deadlines(house.book, until)

    (alert,) = [one for one in alerts(house.book, limit=1_000) if generation in one.about]

    assert set(alert.facts) == {"deadline", "state", "kind", "event", "queue"}
    assert alert.facts["deadline"] == at(until)


@pytest.mark.parametrize(
    ("before", "after", "codes"),
    [
        ((), (), ["held-output-exported"]),
        ((), ("OUTPUT_RELEASED",), ["held-output-exported"]),
        (("OUTPUT_RELEASED",), (), []),
        (("OUTPUT_DESTROYED",), (), ["held-output-exported"]),
    ],
    ids=["held", "released-too-late", "released", "destroyed"],
)
def test_what_was_held_and_left_all_the_same_is_told_once(house, before, after, codes):
    """Only a release that stands before the delivery makes it one like any other."""
    first, asset = attempt(), event_id()
    generation, sent = first["aggregate_id"], export(asset)
    house.post(first, quarantined(generation, asset))
    house.post(*(ended(type_, generation, asset) for type_ in before), sent)
    house.post(*(ended(type_, generation, asset) for type_ in after))

    watch_deadlines(house.book, house.now_ms.ms)
    watch_deadlines(house.book, house.now_ms.ms)

    assert told(house, sent["aggregate_id"]) == codes
