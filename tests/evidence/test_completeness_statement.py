# SPDX-License-Identifier: GPL-3.0-or-later
"""Completeness statements: made by the ledger, checked offline, and of no use once changed."""

import copy
import json
from datetime import UTC, datetime, timedelta

import pytest
from administrator import administrator
from house import Hand, attempt, deny, error, gen, house_in, noon_before

from anchoring.completeness import LISTED, REPORT
from anchoring.night import Night
from anchoring.overdue import Sweep
from evidence import completeness as made_by
from evidence.completeness import Question, completeness
from ledger import clock
from ledger.errors import IntegrityViolation, MalformedEvent, NotFound
from sealtrail.verify import base64text, canonical, command
from sealtrail.verify.errors import Unreadable
from sealtrail.verify.statement import check_statement, read_statement
from sealtrail.verify.trust import Trust

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def soon():
    """When statements are judged: a minute from now, however long ago this file was read."""
    return datetime.now(UTC) + timedelta(minutes=1)


class Days:
    """Three days: one with every outcome, one on which nothing happened, one with open attempts."""

    def __init__(self, house, authority):
        self.house = house
        self.trust = house.trust(list(authority.authority().roots))
        starts = [attempt() for _ in range(5)]
        self.ids = [one["aggregate_id"] for one in starts]
        house.post(*starts, gen(self.ids[0]), deny(self.ids[1]), error(self.ids[2]))
        Sweep(house.book).run(house.now_ms() + clock.DAY_MS)
        house.post(gen(self.ids[4]))
        self.closed = self.day()
        self.night(authority, days=1)
        self.empty = self.day()
        self.night(authority, days=1)
        still = [attempt() for _ in range(LISTED + 3)]
        self.open = [one["aggregate_id"] for one in still]
        ended = attempt()
        self.ended = ended["aggregate_id"]
        house.post(ended, *still, gen(self.ended))
        self.young = self.day()
        self.night(authority, hours=13)

    def day(self):
        return clock.day_of(self.house.now_ms())

    def night(self, authority, **ahead):
        self.house.now_ms.move(**ahead)
        list(Night(self.house.book, [authority.authority()]).catch_up(self.house.now_ms()))

    def ask(self, day, attempt_id=None, *, entries=False):
        question = Question(day=day, attempt_id=attempt_id, entries=entries)
        return completeness(self.house.book, question, trust=self.trust)

    def judge(self, statement, *, trusting=True):
        trust = self.trust if trusting else None
        return check_statement(read_statement(canonical.encode(statement)), trust=trust, now=soon())

    def verdict(self, statement, **options):
        """The verdict, or that the file cannot be read."""
        try:
            return self.judge(statement, **options).verdict
        except Unreadable:
            return "unreadable"


@pytest.fixture(scope="module")
def days(pattern, authority, tmp_path_factory):
    directory = tmp_path_factory.mktemp("days")
    with house_in(pattern, directory, now_ms=Hand(noon_before(5))) as house:
        yield Days(house, authority)


def sentence(report, check):
    return next(one.sentence for one in report.findings if one.check == check)


def of(report, check):
    return next(one for one in report.findings if one.check == check)


def without(statement, **members):
    """The statement with members of it changed; None takes one away."""
    changed = {**copy.deepcopy(statement), **members}
    return {name: value for name, value in changed.items() if value is not None}


# What is shown


def test_the_totals_of_a_day_are_proved_by_its_root(days):
    """The final report is under a stamped checkpoint, and its root fixes the numbers in it."""
    report = days.judge(days.ask(days.closed).statement)

    assert report.verdict == "verified"
    said = sentence(report, "final report")
    assert "5 attempts, 1 gen, 1 deny, 3 error, 1 of these late" in said
    assert "5 attempts" in sentence(report, "totals")
    assert sentence(report, "one range") == "both reports are about the same 5 attempts"
    assert any("only someone with all entries can check" in one for one in report.not_checked)


@pytest.mark.parametrize(("number", "state", "outcome", "late"), [
    (0, "gen", 5, False), (1, "deny", 6, False), (2, "error", 7, False),
    (3, "error", 8, False), (4, "error", 9, True),
])  # fmt: skip
def test_an_attempt_has_exactly_one_outcome(days, number, state, outcome, late):
    """Which, where, and if another one came too late: proved by one path."""
    found = days.ask(days.closed, days.ids[number])

    report = days.judge(found.statement)

    assert report.verdict == "verified"
    assert of(report, "outcome").facts == {
        "attempt_index": str(number),
        "state": state,
        "outcome_index": str(outcome),
        "late": late,
    }
    assert (found.attempt["state"], found.attempt["outcome_index"]) == (state, outcome)
    assert any("they are not shown" in one for one in report.not_checked)


def test_with_its_entries_nothing_about_it_is_taken_on_the_reports_word(days):
    """The entries at the two positions are shown, and are of this attempt."""
    found = days.ask(days.closed, days.ids[1], entries=True)

    report = days.judge(found.statement)

    assert report.verdict == "verified"
    assert sentence(report, "entries") == "the entries there are its GEN_ATTEMPT and its GEN_DENY"
    assert not any("they are not shown" in one for one in report.not_checked)
    entries = [days.house.book.reader.at(position).entry.event_id for position in (1, 6)]
    assert found.event_ids[-2:] == entries


def test_an_attempt_of_another_day_is_in_no_tree_of_this_one(days):
    """Its absence is proved by the same root."""
    report = days.judge(days.ask(days.closed, days.ended).statement)

    assert report.verdict == "verified"
    assert sentence(report, "outcome") == "no attempt of this id is in the tree of the day"


def test_a_day_on_which_nothing_was_attempted_is_proved_to_be_one(days):
    """The empty root holds no attempt, whichever one asks for."""
    assert days.verdict(days.ask(days.empty).statement) == "verified"
    report = days.judge(days.ask(days.empty, days.ids[0]).statement)

    assert report.verdict == "verified"
    assert "0 attempts" in sentence(report, "final report")


@pytest.mark.parametrize("number", [0, LISTED + 2], ids=["listed by name", "under the digest"])
def test_an_open_attempt_is_proved_open_by_the_first_report(days, number):
    """By name among the first 64; else by the whole list, to which the report commits."""
    statement = days.ask(days.young, days.open[number]).statement

    report = days.judge(statement)

    assert report.verdict == "verified"
    assert sentence(report, "outcome").startswith("it was open when the first report was made")
    assert any("no final report of its day is shown" in one for one in report.not_checked)
    assert ("open" in statement["attempt"]) == (number >= LISTED)


def test_a_list_that_is_too_long_to_be_shown_leaves_the_statement_incomplete(days, monkeypatch):
    """It says so, and claims nothing."""
    monkeypatch.setattr(made_by, "OPEN_SHOWN", LISTED)

    report = days.judge(days.ask(days.young, days.open[LISTED + 2]).statement)

    assert report.verdict == "incomplete"
    assert "more open attempts than it names" in sentence(report, "outcome")


def test_before_the_final_report_an_outcome_is_not_proved(days):
    """It is recorded, but nothing says yet that it is the only one."""
    found = days.ask(days.young, days.ended)

    assert found.attempt["state"] == "ended"
    assert days.verdict(found.statement) == "incomplete"
    assert days.verdict(days.ask(days.young).statement) == "incomplete"


def test_without_trust_from_outside_it_is_incomplete(days):
    """The statement brings no keys; whom to believe, the reader decides."""
    statement = days.ask(days.closed, days.ids[0]).statement

    assert days.verdict(statement, trusting=False) == "incomplete"


def test_the_command_reads_it_like_any_other_file(days, tmp_path, capsys):
    """`sealtrail verify FILE --trust trust.json`, as verify.pyz does."""
    file, trust = tmp_path / "day.json", tmp_path / "trust.json"
    file.write_text(json.dumps(days.ask(days.closed, days.ids[0]).statement, indent=1))
    trust.write_bytes(days.trust.print())

    assert command.main([str(file), "--trust", str(trust)]) == 0

    out = capsys.readouterr().out
    assert "exactly one: gen, at position 5" in out
    assert out.endswith("VERIFIED\n")


# What is refused


def test_no_day_that_is_not_closed_has_a_statement(days):
    """Nor an attempt that the day does not have, before its tree could show that."""
    with pytest.raises(NotFound):
        days.ask("2020-01-01")
    with pytest.raises(NotFound):
        days.ask(days.young, days.ids[0])
    with pytest.raises(MalformedEvent):
        days.ask("yesterday")


def changed_attempt(statement, **members):
    return without(statement, attempt={**statement["attempt"], **members})


def changed_path(statement, **members):
    path = statement["attempt"]["path"]
    terminal = {**path["terminal"], **members}
    return changed_attempt(statement, path={**path, "terminal": terminal})


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda s: changed_attempt(s, state="deny"), "refuted"),
        (lambda s: changed_attempt(s, state="absent"), "refuted"),
        (lambda s: changed_attempt(s, state="open"), "refuted"),
        (lambda s: changed_attempt(s, state="ended"), "refuted"),
        (lambda s: changed_attempt(s, attempt_id="another"), "refuted"),
        (lambda s: changed_path(s, state="deny"), "refuted"),
        (lambda s: changed_path(s, outcome_index=6), "refuted"),
        (lambda s: changed_path(s, attempt_index=1), "refuted"),
        (lambda s: changed_attempt(s, path={"siblings": []}), "refuted"),
        (lambda s: changed_attempt(s, entries={"attempt": 11}), "refuted"),
        (lambda s: changed_attempt(s, entries={"outcome": 1}), "refuted"),
        (lambda s: without(s, day="2026-01-01"), "refuted"),
        (lambda s: without(s, origin="ledger.example/another"), "refuted"),
        (lambda s: without(s, origin=7), "refuted"),
        (lambda s: without(s, reports={"provisional": 11, "final": 11}), "refuted"),
        (lambda s: without(s, reports={"final": 4}), "refuted"),
        (lambda s: without(s, reports={"provisional": s["reports"]["provisional"]}), "incomplete"),
        (lambda s: without(s, reports={"weekly": 1}), "unreadable"),
        (lambda s: without(s, day=None), "unreadable"),
        (lambda s: without(s, more=1), "unreadable"),
        (lambda s: changed_attempt(s, state="lost"), "unreadable"),
        (lambda s: changed_attempt(s, state=[]), "unreadable"),
        (lambda s: changed_path(s, state={}), "unreadable"),
        (lambda s: changed_attempt(s, more=1), "unreadable"),
        (lambda s: changed_attempt(s, open={}), "unreadable"),
    ],
)  # fmt: skip
def test_a_changed_statement_is_not_verified(days, change, verdict):
    """Whatever was changed in it, by somebody who has the whole tree."""
    statement = days.ask(days.closed, days.ids[0]).statement
    assert days.verdict(statement) == "verified"

    assert days.verdict(change(statement)) == verdict


def test_a_report_that_was_rewritten_in_the_statement_is_refuted(days):
    """The root is taken from the entry, and the entry has its place in the log."""
    statement = copy.deepcopy(days.ask(days.closed, days.ids[0]).statement)
    files = statement["anchored"]["files"]
    name = f"data/records/{statement['reports']['final']}-{REPORT}.entry.json"
    data = base64text.decode(files[name], "a file")
    files[name] = base64text.encode(data.replace(b'"deny":1', b'"deny":2'))

    assert days.verdict(statement) == "refuted"


def test_an_open_list_with_one_attempt_more_is_refuted(days):
    """The report commits to all of it by one digest."""
    statement = days.ask(days.young, days.open[LISTED]).statement
    everyone = statement["attempt"]["open"]

    for lie in (
        [*everyone, {"attempt_id": days.ended, "index": 14}],
        everyone[:-1],
        [{**everyone[0], "attempt_id": days.ended}, *everyone[1:]],
    ):
        changed = changed_attempt(statement, open=lie, attempt_id=days.ended)
        assert days.verdict(changed) == "refuted"
    no_list = changed_attempt(without(statement), attempt_id=days.ended, open=everyone)
    assert days.verdict(no_list) == "refuted"


def test_what_no_longer_fits_the_reports_is_never_handed_out(days):
    """An outcome's row that says another type: the ledger notices before it proves anything."""
    with administrator(days.house) as admin:
        admin.save()
        admin.do("UPDATE {b}.entry SET topic = 'GEN_DENY/1' WHERE position = 5")

        with pytest.raises(IntegrityViolation, match="no longer give the root"):
            days.ask(days.closed, days.ids[0])
        admin.restore()

    assert days.verdict(days.ask(days.closed, days.ids[0]).statement) == "verified"


def test_the_trust_of_another_log_refutes_it(days):
    """A key of somebody else's ledger vouches for nothing here."""
    statement = days.ask(days.closed).statement
    origin, keys = next(iter(days.trust.origins.items()))
    assert origin
    other = Trust(origins={"ledger.example/other": keys}, tsa_roots=days.trust.tsa_roots)

    report = check_statement(read_statement(canonical.encode(statement)), trust=other, now=soon())

    assert report.verdict == "refuted"
