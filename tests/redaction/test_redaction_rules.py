# SPDX-License-Identifier: GPL-3.0-or-later
"""A tenant's rules: what they may say, and that no rule and no prompt can stop the follower."""

import json

import pytest

from ledger.errors import MalformedEvent
from ledger.redaction.rules import ENTITIES, REGIONS, Rules


def parsed(**members):
    return Rules.parse(json.dumps({"v": 1, **members}), version=3)


def test_rules_that_say_nothing_are_everybodys():
    """Every entity, every region; no words of one's own."""
    rules = parsed()

    assert (rules.version, rules.entities, rules.regions) == (3, ENTITIES, REGIONS)
    assert (rules.terms, rules.patterns, rules.keep) == ((), None, ())


def test_rules_take_entities_out_and_words_in():
    rules = parsed(without=["URL"], terms=["Nightingale"], patterns={"NO": r"C-\d{6}"}, keep=["it"])

    assert "URL" not in rules.entities
    assert rules.patterns == {"NO": r"C-\d{6}"}


@pytest.mark.parametrize(
    "pattern", ["C-[0-9]{6}", r"\d{4}-\d{4}", "[A-Z]{2,3}[0-9]", "emp#?[0-9]{1,5}", r"a\.b"]
)
def test_a_pattern_of_bounded_pieces_is_taken(pattern):
    assert parsed(patterns={"OWN": pattern}).patterns == {"OWN": pattern}


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+b",
        "a*",
        "a+",
        ".*",
        "(ab){2}",
        "a|b",
        "(?i)x",
        r"\1",
        "[0-9",
        "a{5,2}",
        "x?",
        "",
        "^a$",
    ],
)
def test_a_pattern_that_could_take_for_ever_is_refused(pattern):
    """Nothing repeats without a bound, nothing nests, and nothing matches emptiness."""
    with pytest.raises(MalformedEvent, match="/patterns"):
        parsed(patterns={"OWN": pattern})


@pytest.mark.parametrize(
    "members",
    [
        {"without": ["NOTHING"]},
        {"regions": ["de"]},
        {"terms": ["x"]},
        {"terms": [7]},
        {"terms": ["a"] * 1001},
        {"keep": "press"},
        {"patterns": {"lower": "x"}},
        {"patterns": {"URL": "x"}},
        {"entity": []},
        {"v": 2},
    ],
)
def test_other_rules_are_refused_by_their_place(members):
    """The error names member and rule, and quotes no value: a term may be a name."""
    with pytest.raises(MalformedEvent) as caught:
        parsed(**members)

    assert all(error.rule and error.pointer for error in caught.value.errors)


@pytest.mark.parametrize("data", ["", "[]", '{"v":1,"v":1}', '{"v":1.0}', "nul"])
def test_what_is_no_strict_json_is_refused(data):
    with pytest.raises(MalformedEvent):
        Rules.parse(data, version=1)
