# SPDX-License-Identifier: GPL-3.0-or-later
"""fsck and reports: what a report says that the entries do not give is found at its position."""

import pytest
from house import Hand, attempt, deny, gen, house_in, noon_before

from anchoring.completeness import REPORT, Reports, provisional_report, reports_of
from anchoring.completeness_walk import CompletenessWalk
from anchoring.fsck import Fsck
from anchoring.night import Night
from ledger import clock
from ledger.request import ledger_made

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

#: An event that there is not; fixed, because tests are named after it.
SOME_EVENT = "01a1fd98-600c-7a8f-9b67-8c238f99b304"


@pytest.fixture(scope="module")
def closed(pattern, tmp_path_factory):
    """A day with three attempts; the last of them ended after the first report."""
    directory = tmp_path_factory.mktemp("reported")
    with house_in(pattern, directory, now_ms=Hand(noon_before(2))) as house:
        starts = [attempt() for _ in range(3)]
        ids = [one["aggregate_id"] for one in starts]
        house.post(*starts, gen(ids[0]), deny(ids[1]))
        house.day = clock.day_of(house.now_ms())
        house.now_ms.move(days=1)
        house.book.settle()
        Reports(house.book).provisional(house.day, 0, 5)
        house.post(gen(ids[2]))
        Reports(house.book).finals()
        yield house


def judged(house, first=None, last=None):
    """What the walk says of the day's reports, had they said something else; None: leave it out."""
    walk = CompletenessWalk(house.schema, (house.origin,))
    for kind, changes in (("provisional", first or {}), ("final", last or {})):
        stored = reports_of(house.book, house.day)[kind]
        body = {**stored.entry.value["body"], **changes}
        walk.take(stored.position, REPORT, {k: v for k, v in body.items() if v is not None})
    with house.database.duty(house.schema, "read") as connection:
        damage = list(walk.finish(connection))
    assert {what for _, what, _ in damage} <= {"report"}
    return [(position, sentence) for position, _, sentence in damage]


def position_of(house, kind):
    return reports_of(house.book, house.day)[kind].position


def counts(**changes):
    return {"attempts": 3, "gen": 1, "deny": 1, "error": 0, "late": 0, **changes}


def test_true_reports_are_sound(closed):
    """Of both kinds; by themselves, and in the log."""
    assert judged(closed) == []
    assert Fsck(closed.book).run().damage == []


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ({"number": 2}, "has number 2, and is number 1"),
        ({"previous": SOME_EVENT}, "does not name the report before"),
        ({"counts": counts(attempts=2)}, "counts other outcomes"),
        ({"counts": counts(gen=2, deny=0)}, "counts other outcomes"),
        ({"late_recorded": 1}, "counts other outcomes"),
        ({"late_recorded": None}, "counts other outcomes"),
        ({"open_count": 0, "open": []}, "names other open attempts"),
        ({"open": []}, "names other open attempts"),
        ({"as_of": 4}, "looked at another log"),
        ({"as_of": 70}, "looked at another log"),
        ({"from_size": 1}, "has a range that is not its day's"),
        ({"to_size": 4}, "has a range that is not its day's"),
        ({"as_of": None, "late_recorded": None, "counts": counts(attempts=2)},
         "counts other attempts"),
    ],
    ids=str,
)  # fmt: skip
def test_a_false_first_report_is_found(closed, lie, said):
    """By its position, and with what is wrong about it."""
    position = position_of(closed, "provisional")

    assert any(at == position and said in told for at, told in judged(closed, first=lie))


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ({"counts": counts(attempts=3, gen=1, deny=2)}, "counts other outcomes"),
        ({"counts": counts(attempts=2, gen=1, deny=1)}, "names another tree"),
        ({"outcomes": {"origin": "ledger.test/other", "root": "sha256:" + "00" * 32}},
         "under an origin that this log never had"),
        ({"outcomes": {"root": "sha256:" + "00" * 32}}, "names another tree"),
        ({"number": 3}, "has number 3"),
        ({"previous": SOME_EVENT}, "does not name the report before"),
        ({"to_size": 4}, "has a range that is not its day's"),
    ],
    ids=str,
)  # fmt: skip
def test_a_false_final_report_is_found(closed, lie, said):
    """The tree is built again from the entries, as the log was when the report looked."""
    position = position_of(closed, "final")
    if "outcomes" in lie:
        lie = {"outcomes": {"origin": closed.origin, **lie["outcomes"]}}

    assert any(at == position and said in told for at, told in judged(closed, last=lie))


def test_a_report_that_contradicts_itself_is_found(closed):
    """Whoever writes into the database is held by no catalogue."""
    found = judged(closed, first={"kind": "final"}, last={"outcomes": None})

    assert [sentence.partition(" at position ")[2] for _, sentence in found] == [
        f"{position_of(closed, kind)} contradicts itself" for kind in ("provisional", "final")
    ]


def test_a_report_from_before_sizes_were_named_is_taken_as_it_is(closed):
    """It does not say when it looked; its attempts are counted all the same."""
    assert judged(closed, first={"as_of": None, "late_recorded": None}) == []


def test_a_false_report_that_was_recorded_is_found_by_fsck(noon):
    """Through all of it, and of a day from before there were final reports."""
    start = attempt()
    noon.post(start, gen(start["aggregate_id"]))
    day = clock.day_of(noon.now_ms())
    noon.now_ms.move(days=1)
    noon.book.settle()
    body = provisional_report(noon.book, day=day, from_size=0, to_size=2)
    told = {name: body[name] for name in body if name not in ("as_of", "late_recorded")}
    lie = {**told, "number": 1, "counts": counts(attempts=2)}
    noon.book.record_own(ledger_made(REPORT, day, lie))

    list(Night(noon.book, []).catch_up(noon.now_ms()))

    assert set(reports_of(noon.book, day)) == {"provisional", "final"}
    assert [(one.position, one.what) for one in Fsck(noon.book).run().damage] == [(3, "report")]
