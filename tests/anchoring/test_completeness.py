# SPDX-License-Identifier: GPL-3.0-or-later
"""The provisional report: counts that add up, and the attempts whose outcome is still to come."""

from hashlib import sha256

import pytest
from house import attempt, deny, error, event_id, gen

from anchoring.completeness import LISTED, provisional_report
from anchoring.night import Night
from anchoring.overdue import Sweep
from ledger import clock
from ledger.outcome import Recorded
from sealtrail.verify import canonical

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def report(house, begin, end):
    return provisional_report(house.book, day="2026-01-14", from_size=begin, to_size=end)


def test_every_attempt_is_counted_by_its_outcome(noon):
    """Four attempts: an output, a refusal, an error and one that is open."""
    starts = [attempt() for _ in range(4)]
    ids = [one["aggregate_id"] for one in starts]
    outcomes = noon.post(*starts, gen(ids[0]), deny(ids[1]), error(ids[2]))
    assert all(isinstance(one, Recorded) for one in outcomes)

    body = report(noon, 0, 7)

    assert body["counts"] == {"attempts": 4, "gen": 1, "deny": 1, "error": 1, "late": 0}
    assert body["open_count"] == 1
    assert body["open"] == [{"attempt_id": ids[3], "index": 3}]
    assert (body["kind"], body["as_of"]) == ("provisional", 7)


def test_a_range_is_positions_and_its_outcomes_may_come_later(noon):
    """Attempts outside are not counted; outcomes are, wherever they lie."""
    before, inside, after = attempt(), attempt(), attempt()
    noon.post(before, inside, after, gen(inside["aggregate_id"]), gen(before["aggregate_id"]))

    body = report(noon, 1, 2)

    assert body["counts"] == {"attempts": 1, "gen": 1, "deny": 0, "error": 0, "late": 0}
    assert body["open"] == []


def test_an_outcome_after_the_timeout_is_counted_apart(noon):
    """The ledger closed it with an error; what came late is an error and a late one."""
    start = attempt()
    noon.post(start)
    assert Sweep(noon.book).run(noon.now_ms() + clock.DAY_MS) == 1
    noon.post(gen(start["aggregate_id"]))

    body = report(noon, 0, 1)

    assert body["counts"] == {"attempts": 1, "gen": 0, "deny": 0, "error": 1, "late": 1}
    assert body["open_count"] == 0


def test_many_open_attempts_are_listed_in_part_and_committed_whole(noon):
    """64 by name, all of them by digest."""
    starts = [attempt() for _ in range(LISTED + 6)]
    noon.post(*starts)

    body = report(noon, 0, LISTED + 6)

    everyone = [{"attempt_id": one["aggregate_id"], "index": n} for n, one in enumerate(starts)]
    assert body["open_count"] == LISTED + 6
    assert body["open"] == everyone[:LISTED]
    assert body["open_digest"] == f"sha256:{sha256(canonical.encode(everyone)).hexdigest()}"


def test_reports_are_numbered_and_name_the_one_before(noon, authority):
    """A report that was left out would leave a hole in the numbers."""
    noon.post(attempt(event_id()))
    for _ in range(2):
        noon.now_ms.move(days=1)
        list(Night(noon.book, [authority.authority()]).catch_up(noon.now_ms()))

    second, first = noon.book.reader.of_topic("COMPLETENESS_REPORT/1")

    assert (first.entry.value["body"]["number"], second.entry.value["body"]["number"]) == (1, 2)
    assert second.entry.value["body"]["previous"] == first.entry.event_id
