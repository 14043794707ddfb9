# SPDX-License-Identifier: GPL-3.0-or-later
"""Attempts that nobody ended: the ledger closes them, and what comes later is not lost."""

import pytest
from house import attempt, deny, error, gen

from anchoring.fsck import Fsck
from anchoring.night import Night
from anchoring.overdue import DEADLINE_S, Sweep
from ledger.lifecycle import OutOfOrder
from ledger.outcome import Recorded, Repeated

SECOND = 1000


def last(house):
    size = house.book.reader.head().size
    return house.book.reader.at(size - 1).entry


def with_deadline(seconds):
    start = attempt()
    return {**start, "body": {**start["body"], "deadline_s": seconds}}


def test_an_attempt_without_an_outcome_is_closed_by_the_ledger(noon):
    """GEN_ERROR with `timeout`, by the system, after fifteen minutes and not before."""
    start = attempt()
    noon.post(start)
    sweep, due = Sweep(noon.book), noon.now_ms() + DEADLINE_S * SECOND

    assert sweep.run(due) == 0
    assert sweep.run(due + 1) == 1
    assert sweep.run(due + 1) == 0

    entry = last(noon)
    assert (entry.value["type"], entry.stream) == (
        "GEN_ERROR",
        f"Generation/{start['aggregate_id']}",
    )
    assert entry.value["actor"] == {"kind": "system"}
    assert entry.value["body"]["timeout"] is True
    assert entry.value["body"]["error"]["class"] == "timeout"


def test_ended_attempts_are_left_alone(noon):
    """Whatever the outcome was."""
    starts = [attempt() for _ in range(3)]
    ids = [one["aggregate_id"] for one in starts]
    noon.post(*starts, gen(ids[0]), deny(ids[1]), error(ids[2]))

    assert Sweep(noon.book).run(noon.now_ms() + 10 * DEADLINE_S * SECOND) == 0


def test_an_attempts_own_deadline_counts(noon):
    """A long video may take an hour, a quick one ten seconds."""
    noon.post(with_deadline(3600), with_deadline(10), attempt())
    sweep, now = Sweep(noon.book), noon.now_ms()

    assert sweep.run(now + 11 * SECOND) == 1
    assert sweep.run(now + (DEADLINE_S + 1) * SECOND) == 1
    assert sweep.run(now + 3601 * SECOND) == 1
    assert Sweep(noon.book, deadline_s=1).run(now + 10_000 * SECOND) == 0


def test_the_databases_clock_decides(noon):
    """The house's clock stands three days back; by the database's, everything is overdue."""
    noon.post(attempt(), with_deadline(86_400))

    assert Sweep(noon.book).run() == 2


@pytest.mark.parametrize("outcome", [gen, deny, error])
def test_an_outcome_after_the_timeout_is_recorded_as_late(noon, outcome):
    """201 with an entry of type OUTCOME_LATE that holds the claim; a retry is a repeat of it."""
    start = attempt()
    noon.post(start)
    Sweep(noon.book).run(noon.now_ms() + 1000 * SECOND)
    request = outcome(start["aggregate_id"])

    (late,), (again,) = noon.post(request), noon.post(request)

    assert isinstance(late, Recorded)
    value = late.row.entry.value
    assert (value["type"], value["schema"]) == ("OUTCOME_LATE", 1)
    assert value["body"]["claimed"] == {
        "type": request["type"],
        "schema": 1,
        "body": request["body"],
    }
    assert again == Repeated(position=late.row.link.position)
    assert Fsck(noon.book, first_key=noon.first_key()).run().damage == []


def test_only_one_outcome_is_late(noon):
    """The second one contradicts the first, as after any client's outcome."""
    start = attempt()
    noon.post(start)
    Sweep(noon.book).run(noon.now_ms() + 1000 * SECOND)
    noon.post(gen(start["aggregate_id"]))

    (second,) = noon.post(deny(start["aggregate_id"]))

    assert isinstance(second, OutOfOrder)


def test_a_late_outcome_gives_birth_to_no_asset(noon):
    """Its output was withheld: nothing may be exported that no GEN has recorded."""
    start = attempt()
    noon.post(start)
    Sweep(noon.book).run(noon.now_ms() + 1000 * SECOND)
    noon.post(gen(start["aggregate_id"], "late-asset"))
    other = attempt()

    _, outcome = noon.post(other, gen(other["aggregate_id"], "late-asset"))

    assert isinstance(outcome, Recorded)


def test_an_outcome_that_came_in_the_meantime_wins(noon):
    """Between the sweep's look and its entry the client was faster: it closes nothing."""
    start = attempt()
    noon.post(start)
    sweep = Sweep(noon.book)
    look = sweep._open

    def late():
        found = list(look())
        noon.post(gen(start["aggregate_id"]))
        return iter(found)

    sweep._open = late

    assert sweep.run(noon.now_ms() + 1000 * SECOND) == 0
    assert last(noon).value["type"] == "GEN"


def test_a_new_sweep_starts_where_the_last_report_left_off(noon, authority):
    """It does not read the whole log again, and misses nothing that was open then."""
    early = attempt()
    noon.post(early, *[attempt() for _ in range(2)])
    noon.now_ms.move(days=1)
    list(Night(noon.book, [authority.authority()]).catch_up(noon.now_ms()))
    noon.post(attempt())

    sweep = Sweep(noon.book)

    assert sweep._low_water() == 0
    assert sweep.run(noon.now_ms() + 1000 * SECOND) == 4
    size = noon.book.reader.head().size
    noon.post(attempt())
    assert sweep.run(noon.now_ms() + 1000 * SECOND) == 1
    assert sweep._from == size


def test_an_attempt_of_a_day_before_the_last_reported_one_is_closed(noon, authority):
    """Nothing ran for two days, then the night caught up: the first day's attempt is still open.

    The newest report does not list it. The next one, whose outcome came, keeps no sweep busy.
    """
    ended = attempt()
    noon.post(ended, attempt())
    for _ in range(2):
        noon.now_ms.move(days=1)
        noon.post(attempt())
    list(Night(noon.book, [authority.authority()]).catch_up(noon.now_ms()))
    noon.post(gen(ended["aggregate_id"]))

    sweep = Sweep(noon.book)

    assert sweep._low_water() == 1
    assert sweep.run(noon.now_ms() + 1000 * SECOND) == 3
