# SPDX-License-Identifier: GPL-3.0-or-later
"""The same operator, who has the log say something false of a day: signed, stamped, and in order.

What a report says is the ledger's own word. Whoever makes the ledger speak can have a lie signed;
what he cannot do is tell another lie tomorrow, or keep it from somebody who has the entries.
"""

from datetime import UTC, datetime

import pytest
from house import Hand, attempt, deny, gen, house_in, noon_before

from anchoring.completeness import REPORT, Reports, final_report, reports_of
from anchoring.fsck import Fsck
from anchoring.night import Night
from anchoring.sum_tree import build
from evidence.anchored import anchored_entries
from evidence.completeness import Question, completeness
from ledger import clock
from ledger.errors import IntegrityViolation, MalformedEvent, Refused
from ledger.request import ledger_made
from sealtrail.verify import canonical
from sealtrail.verify.statement import check_statement, read_statement
from sealtrail.verify.sum_tree import Keys, Outcome

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


@pytest.fixture
def closed(pattern, authority, tmp_path):
    """Yesterday: an output, a refusal, and no final report of it yet."""
    with house_in(pattern, tmp_path, now_ms=Hand(noon_before(2))) as house:
        starts = [attempt(), attempt()]
        house.ids = [one["aggregate_id"] for one in starts]
        house.post(*starts, gen(house.ids[0]), deny(house.ids[1]))
        house.day = clock.day_of(house.now_ms())
        house.now_ms.move(days=1)
        house.book.settle()
        Reports(house.book).provisional(house.day, 0, 4)
        house.night = Night(house.book, [authority.authority()])
        house.trusted = house.trust(list(authority.authority().roots))
        yield house


TRUTH = [Outcome(0, "gen", 2), Outcome(1, "deny", 3)]


def tree_of(house, outcomes, wanted=None):
    keys = Keys(house.origin)
    leaves = [(keys.key(id_), one) for id_, one in zip(house.ids, outcomes, strict=False)]
    return build(sorted(leaves), wanted=None if wanted is None else keys.key(wanted))


def report(house, outcomes):
    """Have the ledger record a final report over these outcomes, as if they were the day's."""
    body = final_report(house.book, day=house.day, from_size=0, to_size=4)
    root = tree_of(house, outcomes).root
    body["counts"] = {"attempts": root.counts.attempts, **root.counts._asdict()}
    body["outcomes"]["root"] = f"sha256:{root.hash.hex()}"
    Reports(house.book)._record(body)
    list(house.night.catch_up(house.now_ms()))


def statement(house, attempt_id, outcomes, state):
    """A statement about an attempt, with a path through the operator's own tree."""
    positions = {kind: one.position for kind, one in reports_of(house.book, house.day).items()}
    path = tree_of(house, outcomes, attempt_id).path.json()
    return {
        "statement": "completeness/1",
        "day": house.day,
        "reports": positions,
        "attempt": {"attempt_id": attempt_id, "state": state, "path": path},
        "anchored": anchored_entries(house.book, list(positions.values()), trust=house.trusted),
    }


def judged(house, said):
    read = read_statement(canonical.encode(said))
    return check_statement(read, trust=house.trusted, now=datetime.now(UTC))


def damage(house):
    return [(one.position, one.what) for one in Fsck(house.book).run().damage]


def test_reports_a_refusal_as_an_output(closed):
    """Who: an operator who can have entries signed.
    Tries: a final report whose tree, root and counts are consistent, and say that a refused attempt
    was answered with an output; it is anchored, and a stranger verifies a statement from it.
    Caught by: fsck, which derives each report again from all entries; the ledger's own statement,
    which is not made where the outcomes do not give the root; and the refusal's receipt.
    Not caught: by the offline verifier, which says itself that only someone with all entries can
    check it, unless the attempt's own entries are shown with it.
    """
    lie = [TRUTH[0], TRUTH[1]._replace(state="gen")]
    report(closed, lie)
    position = reports_of(closed.book, closed.day)["final"].position

    said = statement(closed, closed.ids[1], lie, "gen")
    with_entries = statement(closed, closed.ids[1], lie, "gen")
    with_entries["attempt"]["entries"] = {"attempt": 1, "outcome": 3}
    positions = [*with_entries["reports"].values(), 1, 3]
    with_entries["anchored"] = anchored_entries(closed.book, positions, trust=closed.trusted)

    assert judged(closed, said).verdict == "verified"
    assert any("only someone with all entries" in one for one in judged(closed, said).not_checked)
    assert judged(closed, with_entries).verdict == "refuted"
    with pytest.raises(IntegrityViolation):
        completeness(closed.book, Question(day=closed.day, attempt_id=closed.ids[1]))
    assert set(damage(closed)) == {(position, "report")}


def test_leaves_an_attempt_out_of_the_final_report(closed):
    """Who: the same operator, with a generation that should not have been.
    Tries: a final report that counts one attempt less, its tree without that one.
    Caught by: the verifier, for the day's first report counted another number; and fsck.
    Not caught: nothing is left open, unless the first report lies as well, as below.
    """
    report(closed, TRUTH[:1])
    position = reports_of(closed.book, closed.day)["final"].position
    left_out = closed.ids[1]

    said = judged(closed, statement(closed, left_out, TRUTH[:1], "absent"))

    assert said.verdict == "refuted"  # The first report of the day counted it.
    assert (position, "report") in damage(closed)


def test_changes_both_reports_of_a_day_in_one_direction(pattern, authority, tmp_path):
    """Who: the same operator, who thinks of it before the night.
    Tries: both reports of a day with one attempt less, so that they fit each other.
    Caught by: fsck, at both of them; and the attempt's receipt: the verifier refutes a statement
    that shows the attempt's entry in the day whose tree leaves it out.
    Not caught: by the offline verifier alone, which shows the attempt absent from the day.
    """
    with house_in(pattern, tmp_path, now_ms=Hand(noon_before(2))) as house:
        start = attempt()
        house.ids = [start["aggregate_id"]]
        house.post(start, gen(house.ids[0]))
        house.day = clock.day_of(house.now_ms())
        house.now_ms.move(days=1)
        house.book.settle()
        nothing = {"attempts": 0, "gen": 0, "deny": 0, "error": 0, "late": 0}
        first = {
            "kind": "provisional", "day": house.day, "from_size": 0, "to_size": 2, "as_of": 3,
            "counts": nothing, "late_recorded": 0, "open_count": 0, "open": [],
        }  # fmt: skip
        final = {name: first[name] for name in first if not name.startswith("open")}
        empty = {"origin": house.origin, "root": "sha256:" + "00" * 32}
        Reports(house.book)._record(first)
        Reports(house.book)._record(final | {"kind": "final", "outcomes": empty})
        list(Night(house.book, [authority.authority()]).catch_up(house.now_ms()))
        house.trusted = house.trust(list(authority.authority().roots))

        said = judged(house, statement(house, house.ids[0], [], "absent"))

        assert said.verdict == "verified"
        shown = statement(house, house.ids[0], [], "absent")
        shown["attempt"]["entries"] = {"attempt": 0}
        shown["anchored"] = anchored_entries(
            house.book, [0, *shown["reports"].values()], trust=house.trusted
        )
        assert judged(house, shown).verdict == "refuted"
        found = damage(house)
        assert {what for _, what in found} == {"report"}
        assert len({position for position, _ in found}) == 2


@pytest.mark.parametrize(
    "elsewhere",
    [{"attempt_index": 4}, {"outcome_index": 1}, {"outcome_index": 10**6}],
    ids=["of another range", "not after the attempt", "after the report"],
)
def test_puts_an_outcome_into_the_tree_that_cannot_be_there(closed, elsewhere):
    """Who: the same operator, who needs the totals to come out right.
    Tries: a tree with a leaf of another day's attempt, or of an outcome that was not recorded yet.
    Caught by: the verifier: a leaf's positions have to lie in the report's range, and before the
    size at which it looked; and fsck.
    Not caught: while nobody asks for that attempt, by the verifier.
    """
    lie = [TRUTH[0], TRUTH[1]._replace(**elsewhere)]
    report(closed, lie)
    position = reports_of(closed.book, closed.day)["final"].position

    assert judged(closed, statement(closed, closed.ids[1], lie, "deny")).verdict == "refuted"
    assert judged(closed, statement(closed, closed.ids[0], lie, "gen")).verdict == "verified"
    assert damage(closed) == [(position, "report")]


def test_replaces_a_final_report_by_another_one(closed):
    """Who: the same operator, whose report turned out to be inconvenient.
    Tries: a second final report of the same day, or one that does not add up.
    Caught by: the day's stream, which takes one of each kind, in the process that records; and the
    form of the event. Whoever writes it into the database instead is found by fsck (lifecycle).
    Not caught: nothing is left open.
    """
    report(closed, TRUTH)
    body = reports_of(closed.book, closed.day)["final"].entry.value["body"]

    with pytest.raises(Refused):
        closed.book.record_own(ledger_made(REPORT, closed.day, body | {"number": 3}))
    with pytest.raises(MalformedEvent):
        ledger_made(REPORT, closed.day, body | {"counts": {**body["counts"], "attempts": 3}})
    assert damage(closed) == []


def test_shows_two_outcomes_of_one_attempt_to_two_readers(closed):
    """Who: the same operator, as a prover with the whole tree.
    Tries: one statement that says gen and one that says deny, under the one final report.
    Caught by: the verifier: an attempt's key has one place in a tree, and the root holds one leaf
    there.
    Not caught: nothing is left open, while the report itself is true.
    """
    report(closed, TRUTH)
    lie = [TRUTH[0], TRUTH[1]._replace(state="gen")]

    honest = judged(closed, statement(closed, closed.ids[1], TRUTH, "deny"))
    other = judged(closed, statement(closed, closed.ids[1], lie, "gen"))
    absent = judged(closed, statement(closed, closed.ids[1], TRUTH[:1], "absent"))

    assert (honest.verdict, other.verdict, absent.verdict) == ("verified", "refuted", "refuted")
