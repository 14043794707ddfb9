# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases and takedowns as the entries tell them: queues, deadlines, decisions, 48 hours."""

import pytest
from desk_world import (
    at,
    delivered,
    ended,
    escalated,
    moderation,
    override,
    quarantined,
    review,
    takedown,
)
from house import Hand, attempt, event_id, house_in, noon_before

from ledger.desk.reviews import ReviewProjection, reviews
from ledger.desk.takedowns import TakedownProjection, takedowns
from ledger.readmodel.follower import catch_up, rebuild

HOUR = 3_600_000


@pytest.fixture(scope="module")
def house(pattern, tmp_path_factory):
    with house_in(pattern, tmp_path_factory.mktemp("desk"), now_ms=Hand(noon_before(2))) as made:
        yield made


@pytest.fixture
def generation(house):
    """An attempt of this test's own."""
    first = attempt()
    house.post(first)
    return first["aggregate_id"]


def record(house, *requests):
    for outcome in house.post(*requests):
        assert not isinstance(outcome, Exception), (outcome, getattr(outcome, "errors", ""))


def cases(house, generation):
    """The cases of a generation, the oldest first."""
    catch_up(house.database, house.schema, ["reviews"])
    found = reviews(house.database, house.schema, limit=1_000)
    return [case for case in reversed(found) if case.generation == generation]


def short(case):
    return case.case_id, case.kind, case.queue, case.state, case.outcome


def test_a_filter_that_escalates_opens_a_case_and_one_that_allows_none(house, generation):
    """It waits, without a queue, until somebody says who has to look."""
    filters = [moderation(generation, action) for action in ("allow", "warn", "escalate")]
    record(house, *filters)

    (case,) = cases(house, generation)

    assert short(case) == (filters[2]["event_id"], "filter", None, "waiting", None)


def test_an_escalation_takes_up_what_the_filter_opened(house, generation):
    """One thing to decide is one case, with its queue and deadline."""
    until = house.now_ms.ms + HOUR
    record(
        house,
        moderation(generation, "quarantine"),
        escalated(generation, "case-1", deadline=at(until)),
    )

    (case,) = cases(house, generation)

    assert short(case) == ("case-1", "escalation", "safety", "waiting", None)
    assert case.deadline == case.first_deadline == until


def test_a_case_is_opened_assigned_and_decided(house, generation):
    """By the escalation that the review names."""
    steps = [
        escalated(generation, "case-1"),
        review(generation, "opened", escalation_id="case-1"),
        review(generation, "assigned", escalation_id="case-1", priority="high"),
        review(generation, "decided", "DENY", escalation_id="case-1"),
    ]
    states = []
    for step in steps:
        record(house, step)
        states.append(cases(house, generation)[0].state)

    (case,) = cases(house, generation)
    assert states == ["waiting", "opened", "assigned", "decided"]
    assert (case.outcome, case.priority, case.last_event) == ("DENY", "high", steps[3]["event_id"])


def test_a_review_without_a_name_is_about_the_open_case_of_its_queue(house, generation):
    """And opens one of its own if there is none."""
    record(house, escalated(generation, "case-1", queue="legal"), review(generation, "opened"))
    record(house, review(generation, "decided", "ALLOW"))

    legal, safety = cases(house, generation)

    assert short(legal)[2:] == ("legal", "waiting", None)
    assert short(safety)[2:] == ("safety", "decided", "ALLOW")


def test_an_override_decides_every_open_case_of_its_generation(house, generation):
    """What was decided before stays as it was."""
    record(
        house,
        escalated(generation, "done"),
        review(generation, "decided", "DENY", escalation_id="done"),
        escalated(generation, "open"),
        override(generation, "ALLOW"),
    )

    done, open_ = cases(house, generation)

    assert (done.outcome, open_.state, open_.outcome) == ("DENY", "decided", "ALLOW")


def test_a_case_that_is_escalated_again_is_open_again(house, generation):
    """To another queue, perhaps; the first deadline stays to be seen."""
    first, second = house.now_ms.ms + HOUR, house.now_ms.ms + 9 * HOUR
    record(
        house,
        escalated(generation, "case-1", deadline=at(first)),
        review(generation, "decided", "ALLOW", escalation_id="case-1"),
        escalated(generation, "case-1", queue="board", deadline=at(second)),
    )

    (case,) = cases(house, generation)

    assert (case.state, case.queue, case.outcome) == ("waiting", "board", None)
    assert (case.first_deadline, case.deadline) == (first, second)


@pytest.mark.parametrize(
    ("type_", "outcome"), [("OUTPUT_RELEASED", "RELEASED"), ("OUTPUT_DESTROYED", "DESTROYED")]
)
def test_an_output_in_quarantine_waits_until_it_goes_one_way(house, generation, type_, outcome):
    """Its end is the quarantine's; no override lets it out."""
    asset, until = event_id(), house.now_ms.ms + HOUR
    record(house, quarantined(generation, asset, expires_at=at(until)))
    record(house, override(generation, "ALLOW"))
    (held,) = cases(house, generation)

    record(house, ended(type_, generation, asset))

    (gone,) = cases(house, generation)
    assert short(held) == (asset, "quarantine", "quarantine", "waiting", None)
    assert held.deadline == until
    assert short(gone) == (asset, "quarantine", "quarantine", "decided", outcome)


def test_a_case_is_overdue_after_its_deadline_and_stays_so(house, generation):
    """Decided too late is late, too."""
    until = house.now_ms.ms + HOUR
    record(house, escalated(generation, "case-1", deadline=at(until)))
    (case,) = cases(house, generation)
    house.now_ms.move(hours=2)
    record(house, review(generation, "decided", "DENY", escalation_id="case-1"))

    (decided,) = cases(house, generation)

    assert (case.overdue(until), case.overdue(until + 1)) == (False, True)
    assert decided.overdue(0)


def test_cases_come_by_queue_state_and_pages(house):
    """Two outputs of one entry are on two pages of one case each."""
    first = attempt()
    outcome = quarantined(first["aggregate_id"], "a-" + first["event_id"])
    second = {**outcome["body"]["outputs"][0], "asset_id": "b-" + first["event_id"]}
    outcome["body"]["outputs"].append(second)
    record(house, first, outcome)
    catch_up(house.database, house.schema, ["reviews"])

    def page(**how):
        return reviews(house.database, house.schema, queue="quarantine", states=["waiting"], **how)

    (one,) = page(limit=1)
    (two,) = page(limit=1, before=(one.position, one.case_id))

    assert (one.case_id[:2], two.case_id[:2]) == ("a-", "b-")


# Takedowns


def requests(house, delivery):
    catch_up(house.database, house.schema, ["takedowns"])
    found = takedowns(house.database, house.schema, state="all", now_ms=0, limit=1_000)
    return [one for one in found if one.export_id == delivery]


def test_a_request_has_48_hours_from_its_receipt(house):
    """Then it is overdue, until the copies are gone."""
    delivery, received = delivered(house), house.now_ms.ms - HOUR
    record(house, takedown(delivery, "r-1", received))

    (one,) = requests(house, delivery)

    due = received + 48 * HOUR
    assert one.due == due
    assert (one.state(due), one.state(due + 1)) == ("open", "overdue")


@pytest.mark.parametrize(("after_h", "state"), [(47, "met"), (48, "met"), (49, "late")])
def test_a_request_is_met_in_time_or_late(house, after_h, state):
    """By when the copies were gone; the steps before change nothing of that."""
    delivery, received = delivered(house), house.now_ms.ms - 60 * HOUR
    gone = received + after_h * HOUR
    record(
        house,
        takedown(delivery, "r-1", received),
        takedown(delivery, "r-1", received, valid=True),
        takedown(delivery, "r-1", received, removed_at=at(gone), copies_removed=3),
    )

    (one,) = requests(house, delivery)

    assert one.state(house.now_ms.ms) == state
    assert (one.removed, one.copies, one.removed_told) == (gone, 3, house.now_ms.ms)


def test_nobody_lengthens_the_clock(house):
    """Not by a later due date, nor by a receipt that is still to come; a shorter one counts."""
    delivery, now = delivered(house), house.now_ms.ms
    record(
        house,
        takedown(delivery, "later", now, due_at=at(now + 900 * HOUR)),
        takedown(delivery, "future", now + 900 * HOUR),
        takedown(delivery, "sooner", now, due_at=at(now + 2 * HOUR)),
    )

    due = {one.request_id: one.due for one in requests(house, delivery)}

    assert due["later"] == due["future"] == now + 48 * HOUR
    assert due["sooner"] == now + 2 * HOUR


def test_a_request_that_does_not_hold_has_no_clock(house):
    """It is told apart; if it turns out to hold, its clock ran from the receipt."""
    delivery, received = delivered(house), house.now_ms.ms - 50 * HOUR
    record(house, takedown(delivery, "r-1", received, valid=False))
    (refused,) = requests(house, delivery)
    record(house, takedown(delivery, "r-1", received, valid=True))

    (held,) = requests(house, delivery)

    assert refused.state(house.now_ms.ms) == "invalid"
    assert held.state(house.now_ms.ms) == "overdue"


def test_takedowns_are_listed_by_state(house):
    """Each one in the state that it says itself."""
    delivery, now = delivered(house), house.now_ms.ms
    old = now - 60 * HOUR
    record(
        house,
        takedown(delivery, "invalid", now, valid=False),
        takedown(delivery, "open", now),
        takedown(delivery, "overdue", old),
        takedown(delivery, "met", old, removed_at=at(old + HOUR)),
        takedown(delivery, "late", old, removed_at=at(now)),
    )
    catch_up(house.database, house.schema, ["takedowns"])
    for state in ("invalid", "open", "overdue", "met", "late"):
        found = takedowns(house.database, house.schema, state=state, now_ms=now, limit=1_000)

        assert state in {one.request_id for one in found if one.export_id == delivery}
        assert {one.state(now) for one in found} == {state}


def test_the_desk_is_made_anew_from_the_log(house):
    """Row by row the same, however the follower cut the log into batches."""
    from ledger.readmodel.follower import Follower

    projections = [ReviewProjection(), TakedownProjection()]
    catch_up(house.database, house.schema, ["reviews", "takedowns"])
    before = rows(house)

    rebuild(house.database, house.schema, projections)
    whole = rows(house)
    one_by_one = Follower(house.database, house.schema, projections, batch=1)
    one_by_one.start_again()
    while one_by_one.step().behind:
        pass

    assert before == whole == rows(house)
    assert all(before.values())


def rows(house):
    with house.owner() as owner:
        return {
            table: owner.execute(f"SELECT * FROM {house.schema}.{table} ORDER BY 1, 2").fetchall()
            for table in ("review", "takedown")
        }
