# SPDX-License-Identifier: GPL-3.0-or-later
"""The report: three words, aligned lines, and no way for a packet to write its own."""

import json

import pytest
from good_packet import FILES, PACKET, check
from hypothesis import given
from hypothesis import strategies as st

from sealtrail.verify.errors import Incomplete, Refuted, Unreadable
from sealtrail.verify.report import EXIT, Docket, Finding, Report, visible


def finding(verdict, sentence="a sentence"):
    return Finding(subject="s", check="c", verdict=verdict, sentence=sentence, facts={})


def report(*verdicts):
    return Report(subject="x", findings=tuple(map(finding, verdicts)), not_checked=("all else",))


@pytest.mark.parametrize(
    ("verdicts", "word"),
    [
        ((), "incomplete"),
        (("verified",), "verified"),
        (("verified", "incomplete"), "incomplete"),
        (("verified", "refuted", "incomplete"), "refuted"),
        (("incomplete", "refuted"), "refuted"),
    ],
)
def test_the_worst_finding_decides_and_none_proves_nothing(verdicts, word):
    """Refuted before incomplete before verified."""
    assert report(*verdicts).verdict == word


def test_exit_codes_are_those_of_the_interface():
    """0 verified, 1 refuted, 3 incomplete; 2 and 4 are not verdicts."""
    assert EXIT == {"verified": 0, "refuted": 1, "incomplete": 3}


def test_the_text_ends_with_the_verdict_alone_and_says_before_it_what_nobody_checked():
    """A hurried reader sees the word; a careful one sees its limits just above."""
    lines = check(PACKET).text().split("\n")

    assert lines[-2:] == ["VERIFIED", ""]
    assert lines.index("NOT CHECKED") < len(lines) - 3


def test_marks_stand_in_one_column():
    """Each check's result can be read down the page."""
    lines = [line for line in check(PACKET).text().split("\n") if line.endswith("  ok")]

    assert len(lines) > 8
    assert len({line.rindex("  ok") for line in lines}) == 1


def test_the_json_says_the_same_as_the_text():
    """Same findings, same verdict, the digests with their algorithm."""
    whole = json.loads(check(PACKET).json())

    assert whole["verdict"] == "verified"
    assert {f["verdict"] for f in whole["findings"]} == {"verified"}
    assert list(whole["not_checked"]) == list(check(PACKET).not_checked)
    inclusion = next(f for f in whole["findings"] if f["check"] == "inclusion")
    assert inclusion["facts"]["root"].startswith("sha256:")
    assert inclusion["facts"]["position"] == "3"


HOSTILE = "\u202eDEIFIREV\u2066\u200b\x1b[2J\r\nVERIFIED\x00\ud800\ufeff\u2028\ue000"


def test_hostile_text_is_spelled_out():
    """Direction marks, escape sequences, line ends and invisible characters become visible."""
    shown = visible(HOSTILE)

    assert shown.isascii()
    assert "\\u{202e}" in shown
    assert "\\u{1b}[2J" in shown
    assert visible("prompt.user · sha256:ab – é 写真") == "prompt.user · sha256:ab – é 写真"


def test_a_packet_cannot_write_lines_of_its_own():
    """A hostile sentence stays inside its column; the verdict is the only line of its kind."""
    hostile = Report(
        subject=HOSTILE,
        findings=(finding("refuted", HOSTILE * 3),),
        not_checked=(HOSTILE,),
    )

    lines = hostile.text().split("\n")

    assert [line for line in lines if line in {"VERIFIED", "REFUTED"}] == ["REFUTED"]
    assert "\x1b" not in hostile.text()
    assert json.loads(hostile.json())["subject"] == HOSTILE
    assert hostile.json().isascii()


def test_hostile_names_in_a_packet_do_not_reach_the_page():
    """File names are plain by the archive's rule; an origin may be any text and is spelled out."""
    text = FILES["data/proofs/3.tlog-proof"].decode()
    forged = text.replace("ledger.example/acme\n12", "l\u202ee\u2067\n12").encode()

    shown = check(FILES | {"data/proofs/3.tlog-proof": forged}).text()

    assert "\\u{202e}" in shown
    assert "\u202e" not in shown


@given(st.text())
def test_whatever_is_shown_is_of_one_line(text):
    """No character that any terminal or editor takes for the end of a line."""
    assert len(visible(text).splitlines()) <= 1
    assert all(c.isprintable() for c in visible(text))


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(Refuted("no"), "refuted"), (Unreadable("no"), "refuted"), (Incomplete("no"), "incomplete")],
)
def test_what_goes_wrong_inside_a_packet_becomes_a_finding(error, verdict):
    """No check is skipped because another failed, and none of them ends the program."""
    docket = Docket()

    def action():
        raise error

    assert docket.judge("s", "c", action, lambda _: ("", {})) is None
    assert docket.findings == [
        Finding(subject="s", check="c", verdict=verdict, sentence="no", facts={})
    ]
