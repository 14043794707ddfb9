# SPDX-License-Identifier: GPL-3.0-or-later
"""The final report: every attempt of a closed day with its one outcome, once and for good."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from house import Hand, attempt, deny, error, gen, house_in, ingest, noon_before

from anchoring.completeness import REPORT, Reports, final_report, reports_of, waiting
from anchoring.fsck import Fsck
from anchoring.night import Night
from anchoring.overdue import Sweep
from ledger import clock
from ledger.errors import Refused
from ledger.request import ledger_made
from sealtrail.verify.sum_tree import EMPTY, Keys, Outcome, leaf, node

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

FAR = 10**10  #: A jump of the clock that needs no operator, in ms.


@pytest.fixture
def week(pattern, tmp_path):
    """A house whose clock stands at noon, six days ago, and may jump."""
    with house_in(pattern, tmp_path, now_ms=Hand(noon_before(6)), jump_ms=FAR) as made:
        yield made


def night(house):
    """A night without an authority: it reports, and its anchors wait."""
    list(Night(house.book, []).catch_up(house.now_ms()))


def told(house):
    """(kind, day, number) of every report, oldest first."""
    found = [one.entry.value["body"] for one in house.book.reader.of_topic(f"{REPORT}/1")]
    return [(one["kind"], one["day"], one["number"]) for one in reversed(found)]


def finals(house):
    bodies = [one.entry.value["body"] for one in house.book.reader.of_topic(f"{REPORT}/1")]
    return [one for one in reversed(bodies) if one["kind"] == "final"]


def today(house):
    return clock.day_of(house.now_ms())


def naive_root(leaves, depth=0):
    """The tree from its definition, by halves."""
    if not leaves:
        return EMPTY
    if len(leaves) == 1:
        return leaf(*leaves[0])
    halves = [
        [one for one in leaves if one[0][depth // 8] >> 7 - depth % 8 & 1 == turn]
        for turn in (0, 1)
    ]
    return node(*(naive_root(half, depth + 1) for half in halves))


# What it says


def test_a_day_whose_attempts_have_all_ended_is_reported_for_good_that_night(noon):
    """Attempts = gen + deny + error, and one root over the outcome of each."""
    starts = [attempt() for _ in range(3)]
    ids = [one["aggregate_id"] for one in starts]
    noon.post(ingest(), *starts, gen(ids[2]), deny(ids[0]), error(ids[1]))
    day = today(noon)
    noon.now_ms.move(days=1)

    night(noon)

    assert told(noon) == [("provisional", day, 1), ("final", day, 2)]
    (final,) = finals(noon)
    assert final["counts"] == {"attempts": 3, "gen": 1, "deny": 1, "error": 1, "late": 0}
    assert (final["from_size"], final["to_size"], final["late_recorded"]) == (0, 7, 0)
    assert final["previous"] == reports_of(noon.book, day)["provisional"].entry.event_id
    keys = Keys(noon.origin)
    ended = [Outcome(1, "deny", 5), Outcome(2, "error", 6), Outcome(3, "gen", 4)]
    root = naive_root([(keys.key(id_), one) for id_, one in zip(ids, ended, strict=True)])
    assert final["outcomes"] == {"origin": noon.origin, "root": f"sha256:{root.hash.hex()}"}
    assert Fsck(noon.book).run().damage == []


def test_a_day_without_attempts_is_reported_for_good_too(noon):
    """Nothing was attempted, and that is said, and fixed by the empty root."""
    noon.post(ingest())
    noon.now_ms.move(days=1)

    night(noon)

    (final,) = finals(noon)
    assert set(final["counts"].values()) == {0}
    assert final["outcomes"]["root"] == "sha256:" + "00" * 32
    assert Fsck(noon.book).run().damage == []


def test_an_open_attempt_keeps_its_day_provisional_until_it_has_ended(noon):
    """The next look after its deadline makes the final report, with the timeout as its outcome."""
    start, ended = attempt(), attempt()
    noon.post(start, ended, gen(ended["aggregate_id"]))
    day = today(noon)
    noon.now_ms.move(hours=12, seconds=300)
    night(noon)
    assert [kind for kind, _, _ in told(noon)] == ["provisional"]
    assert [body["day"] for body in waiting(noon.book)] == [day]

    assert Sweep(noon.book).run(noon.now_ms()) == 1
    night(noon)

    assert told(noon) == [("provisional", day, 1), ("final", day, 2)]
    (final,) = finals(noon)
    assert final["counts"] == {"attempts": 2, "gen": 1, "deny": 0, "error": 1, "late": 0}
    assert waiting(noon.book) == []
    assert Fsck(noon.book).run().damage == []


def test_a_late_outcome_is_counted_apart_and_where_it_was_recorded(noon):
    """In its attempt's leaf if it came before the report; and in the day in which it came."""
    early, after = attempt(), attempt()
    noon.post(early, after)
    Sweep(noon.book).run(noon.now_ms() + clock.DAY_MS)
    noon.post(gen(early["aggregate_id"]))
    noon.now_ms.move(days=1)
    night(noon)
    noon.post(gen(after["aggregate_id"]))
    noon.now_ms.move(days=1)

    night(noon)

    first, second = finals(noon)
    assert first["counts"] == {"attempts": 2, "gen": 0, "deny": 0, "error": 2, "late": 1}
    assert (first["late_recorded"], second["late_recorded"]) == (1, 1)
    assert second["counts"]["attempts"] == 0
    assert Fsck(noon.book).run().damage == []


def test_an_attempt_is_in_the_report_of_its_own_day_wherever_it_ended(noon):
    """An attempt before midnight and its outcome after it: one range, one leaf."""
    noon.now_ms.move(hours=11, seconds=3599)
    start = attempt()
    noon.post(start)
    noon.now_ms.move(seconds=60)
    noon.post(gen(start["aggregate_id"]))
    night(noon)

    noon.now_ms.move(days=1)
    night(noon)

    assert [one["counts"]["attempts"] for one in finals(noon)] == [1, 0]
    assert Fsck(noon.book).run().damage == []


# When it is made


def test_the_days_are_reported_for_good_in_their_order(week):
    """After days without a night: all that can be, oldest first, up to the first that is open."""
    closed, still = attempt(), attempt()
    week.post(closed, gen(closed["aggregate_id"]))
    week.now_ms.move(days=2)
    week.post(still)
    week.now_ms.move(days=2)

    night(week)
    days = [day for kind, day, _ in told(week) if kind == "final"]
    assert len(days) == 2
    Sweep(week.book).run(week.now_ms())
    night(week)

    days = [day for kind, day, _ in told(week) if kind == "final"]
    assert days == sorted(day for kind, day, _ in told(week) if kind == "provisional")
    assert len(days) == 4
    assert [number for _, _, number in told(week)] == list(range(1, 9))
    assert Fsck(week.book).run().damage == []


def test_a_killed_night_makes_no_report_twice(noon):
    """Run again at any line: the stream of the day takes one of each kind."""
    start = attempt()
    noon.post(start, gen(start["aggregate_id"]))
    day = today(noon)
    noon.now_ms.move(days=1)
    night(noon)
    body = finals(noon)[0] | {"number": 3}
    size = noon.book.reader.head().size

    night(noon)
    with pytest.raises(Refused):
        noon.book.record_own(ledger_made(REPORT, day, body))

    assert noon.book.reader.head().size == size


def test_two_processes_at_once_number_their_reports_without_a_gap(week):
    """Whoever is faster, no number twice and none left out."""
    week.post(ingest())
    week.now_ms.move(days=4)
    books = [week.book, week.second_process().book(week.tenant)]

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda book: list(Night(book, []).catch_up(week.now_ms())), books))

    assert sorted(number for _, _, number in told(week)) == list(range(1, 9))
    assert Fsck(week.book).run().damage == []


def test_an_anchor_names_the_newest_final_report_under_it(week, authority):
    """So a stamped token alone says which tree of outcomes it covers."""
    start = attempt()
    week.post(start, gen(start["aggregate_id"]))
    week.now_ms.move(days=1)

    list(Night(week.book, [authority.authority()]).catch_up(week.now_ms()))

    (anchor,) = week.book.reader.of_topic("ANCHOR/1")
    (final,) = finals(week)
    said = {"day": final["day"], "root": final["outcomes"]["root"]}
    assert anchor.entry.value["body"]["completeness"] == said
    assert Fsck(week.book).run().damage == []


def test_a_sweep_that_starts_anew_need_not_look_before_the_last_final_report(week):
    """Of a day that was reported for good nothing is open; of the others the reports say what."""
    start, still = attempt(), attempt()
    week.post(start, gen(start["aggregate_id"]))
    week.now_ms.move(days=1)
    night(week)
    assert Sweep(week.book)._low_water() == 2
    size = week.book.reader.head().size
    week.post(still)
    week.now_ms.move(days=1)
    night(week)

    assert Sweep(week.book)._low_water() == size
    assert Sweep(week.book).run(week.now_ms()) == 1


def test_a_range_of_which_one_is_open_has_no_final_report(noon):
    """Not even for whoever asks directly."""
    noon.post(attempt())

    assert final_report(noon.book, day=today(noon), from_size=0, to_size=1) is None
    assert Reports(noon.book).finals() == []
