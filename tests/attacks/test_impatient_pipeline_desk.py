# SPDX-License-Identifier: GPL-3.0-or-later
"""A pipeline that would rather not be looked at: cases, deadlines and alarms.

They bury one case among thousands, push deadlines away, and date things so that nothing is late.
"""

import pytest
from desk_world import at, delivered, ended, escalated, override, quarantined, review, takedown
from house import Hand, attempt, event_id, export, house_in, noon_before

from anchoring import alerts as desk
from anchoring.alerts import alerts, raise_alert
from anchoring.desk_alarms import watch_deadlines
from ledger.desk.reviews import reviews
from ledger.desk.takedowns import takedowns
from ledger.lifecycle import OutOfOrder
from ledger.readmodel.follower import catch_up

#: What is tried here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

HOUR = 3_600_000


@pytest.fixture(scope="module")
def house(pattern, tmp_path_factory):
    with house_in(pattern, tmp_path_factory.mktemp("flood"), now_ms=Hand(noon_before(1))) as made:
        yield made


def attempted(house):
    first = attempt()
    house.post(first)
    return first["aggregate_id"]


def test_a_flood_of_cases_that_nobody_can_read(house, monkeypatch):
    """Who: a pipeline that escalates thousands of harmless calls, so that one drowns in them.
    Tries: more overdue cases than anybody answers.
    Caught by: of one code so many alerts are open, and one says that more are withheld; alarms of
    every other code come through. What was withheld is raised when there is room again.
    Not caught: the case itself among the others of its queue. Sort by deadline and priority.
    """
    monkeypatch.setattr(desk, "OPEN_MAX", 5)
    until = house.now_ms.ms + HOUR
    requests = []
    for _ in range(20):
        first = attempt()
        requests += [first, escalated(first["aggregate_id"], "case", deadline=at(until))]
    house.post(*requests)

    watch_deadlines(house.book, until)
    watch_deadlines(house.book, until)
    other = raise_alert(house.book, "model-changed", "model/7", {})

    assert len(alerts(house.book, code="review-overdue")) == 5
    assert [one.about for one in alerts(house.book, code=desk.WITHHELD)] == ["review-overdue"]
    assert other
    for one in alerts(house.book, code="review-overdue"):
        desk.acknowledge(house.book, one.event_id, actor={"kind": "system"})
    watch_deadlines(house.book, until)
    assert len(alerts(house.book, code="review-overdue", open_only=True)) == 5


def test_a_deadline_that_runs_away(house):
    """Who: a pipeline that moves the deadline of a case just before it passes, again and again.
    Tries: a case that is never late.
    Caught by: the first deadline stays beside the last one, and each deadline that is near raises
    an alert of its own.
    Not caught: a house that sets deadlines in a hundred years. They are seen where cases are.
    """
    generation, until = attempted(house), house.now_ms.ms + 10 * HOUR
    house.post(escalated(generation, "case", deadline=at(until)))
    for turn in range(3):
        watch_deadlines(house.book, until + turn * HOUR - 1)
        moved = at(until + (turn + 1) * HOUR)
        house.post(review(generation, "opened", escalation_id="case", deadline=moved))
    catch_up(house.database, house.schema, ["reviews"])
    found = reviews(house.database, house.schema, limit=1_000)

    (case,) = [one for one in found if one.generation == generation]
    assert case.first_deadline == until
    about = [one for one in alerts(house.book, limit=1_000) if generation in one.about]
    assert len(about) == 3


def test_a_request_that_is_dated_into_the_future(house):
    """Who: a platform that was asked to take a picture down and wants more than 48 hours.
    Tries: a receipt of next month, a due date of next year, and a removal dated before the request.
    Caught by: the clock runs at the latest from the recording and for 48 hours at most; a removal
    before the receipt is refused, and when it was recorded stands beside what was said.
    Not caught: a request that is recorded late, or never.
    """
    delivery, now = delivered(house), house.now_ms.ms
    house.post(
        takedown(delivery, "future", now + 700 * HOUR, due_at=at(now + 9_000 * HOUR)),
    )
    with pytest.raises(Exception, match="rule") as refused:
        house.prepare(takedown(delivery, "past", now, removed_at=at(now - HOUR)))
    catch_up(house.database, house.schema, ["takedowns"])
    found = takedowns(house.database, house.schema, state="overdue", now_ms=now + 49 * HOUR)

    assert {one.rule for one in refused.value.errors} == {"range"}
    (one,) = [one for one in found if one.export_id == delivery]
    assert (one.received, one.due) == (now, now + 48 * HOUR)


def test_a_removal_that_is_claimed_too_late(house):
    """Who: a platform that says a week later that everything was gone in time.
    Tries: a date within the 48 hours, recorded long after them.
    Caught by: when it was recorded is shown beside the date, and the alert of the overdue request
    stands in the log.
    Not caught: whether the copies were gone. Nobody here can see that.
    """
    delivery, received = delivered(house), house.now_ms.ms
    house.post(takedown(delivery, "r-1", received))
    watch_deadlines(house.book, received + 49 * HOUR)
    for _ in range(2):  # A log is never silent for two days.
        house.now_ms.move(hours=20)
        attempted(house)
    house.now_ms.move(hours=10)
    house.post(takedown(delivery, "r-1", received, removed_at=at(received + HOUR)))
    catch_up(house.database, house.schema, ["takedowns"])
    found = takedowns(house.database, house.schema, state="met", now_ms=house.now_ms.ms)

    (one,) = [one for one in found if one.export_id == delivery]
    assert (one.removed, one.removed_told) == (received + HOUR, received + 50 * HOUR)
    told = [one.code for one in alerts(house.book, limit=1_000) if delivery in one.about]
    assert told == ["takedown-overdue"]


def test_a_quarantine_that_is_talked_open(house):
    """Who: a pipeline that wants a quarantined output out without a release.
    Tries: an override of the whole generation, a second GEN, the release of another output, then to
    deliver it and have it released afterwards.
    Caught by: quarantine ends by OUTPUT_RELEASED or OUTPUT_DESTROYED of that output alone; the
    others are refused or change nothing. A delivery before it raises the alert
    held-output-exported, whatever is recorded later.
    Not caught: a delivery that nobody records.
    """
    generation, asset = attempted(house), event_id()
    house.post(quarantined(generation, asset), override(generation, "ALLOW"))
    refused = house.post(ended("OUTPUT_RELEASED", generation, event_id()))
    catch_up(house.database, house.schema, ["reviews"])
    found = reviews(house.database, house.schema, queue="quarantine")

    assert isinstance(refused[0], OutOfOrder)
    (case,) = [one for one in found if one.generation == generation]
    assert (case.case_id, case.state) == (asset, "waiting")

    sent = export(asset)
    house.post(sent)
    house.post(ended("OUTPUT_RELEASED", generation, asset))
    watch_deadlines(house.book, house.now_ms.ms)
    told = [
        one.code for one in alerts(house.book, limit=1_000) if sent["aggregate_id"] in one.about
    ]
    assert told == ["held-output-exported"]
