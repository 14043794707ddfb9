# SPDX-License-Identifier: GPL-3.0-or-later
"""The sum tree over outcomes: one root, one outcome for an attempt, and the totals of all."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchoring.sum_tree import AttemptTwice, Crown, build
from sealtrail.verify.errors import Refuted, Unreadable
from sealtrail.verify.sum_tree import (
    DEPTH,
    EMPTY,
    MOST,
    STATES,
    Counts,
    Keys,
    Node,
    Outcome,
    SumPath,
    check_path,
    leaf,
    node,
    shared_bits,
)

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
WHOLE = json.loads((VECTORS / "sum_tree.json").read_text())
KEYS = Keys(WHOLE["origin"])
ABSENT = KEYS.key("attempt-of-another-day")


def of_vector(one):
    told = {name: one[name] for name in Outcome._fields}
    return KEYS.key(one["attempt_id"]), Outcome(**told)


def tree_of(outcomes):
    """The tree over {key: outcome}."""
    return build(sorted(outcomes.items()))


def way(outcomes, key):
    return build(sorted(outcomes.items()), wanted=key).path


outcome_strategy = st.builds(
    lambda at, state, after, late: Outcome(at, state, at + after, late and state == "error"),
    st.integers(0, 2**40),
    st.sampled_from(sorted(STATES)),
    st.integers(1, 2**40),
    st.booleans(),
)
#: Many keys that agree in many bits, which random ones would not.
key_strategy = st.builds(
    lambda front, back: (front + back).ljust(32, b"\x00")[:32],
    st.binary(max_size=2),
    st.sampled_from([b"", b"\x00\x01", b"\x80", bytes(29) + b"\x01", bytes(29) + b"\x02"]),
)
trees = st.dictionaries(key_strategy, outcome_strategy, max_size=12)


# What a second implementation says


def test_the_second_implementation_makes_the_committed_vectors(tmp_path):
    """Nobody edits a vector by hand to make a test pass."""
    command = [sys.executable, "-I", "-S", str(VECTORS / "make_sum_tree.py"), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)

    made = (tmp_path / "sum_tree.json").read_bytes()

    assert made == (VECTORS / "sum_tree.json").read_bytes()


def test_keys_and_values_are_the_promised_bytes():
    """From the formulas of docs/formats.md alone."""
    assert {name: KEYS.key(name).hex() for name in WHOLE["keys"]} == WHOLE["keys"]
    for one in WHOLE["values"]:
        assert Outcome(*one["of"]).packed().hex() == one["bytes"]


@pytest.mark.parametrize("case", WHOLE["trees"], ids=lambda case: f"{len(case['outcomes'])} leaves")
def test_trees_and_paths_are_those_of_the_second_implementation(case):
    """Root, counts, and the way to every attempt and to three that are not there."""
    outcomes = dict(of_vector(one) for one in case["outcomes"])

    root = tree_of(outcomes).root

    assert f"sha256:{root.hash.hex()}" == case["root"]
    assert root.counts._asdict() == case["counts"]
    for name, path in case["paths"].items():
        key = KEYS.key(name)
        assert way(outcomes, key).json() == path
        assert check_path(root.hash, key, SumPath.parse(path)) == (outcomes.get(key), root.counts)


# Whatever the tree


@given(trees, key_strategy)
def test_every_walk_leads_to_the_root_and_tells_the_totals(outcomes, other):
    """Of each key: its outcome if it has one, and the same totals from wherever one starts."""
    root = tree_of(outcomes).root
    totals = Counts(
        *(sum(one.state == state for one in outcomes.values()) for state in STATES),
        late=sum(one.late for one in outcomes.values()),
    )

    for key in {*outcomes, other, ABSENT}:
        path = SumPath.parse(way(outcomes, key).json())
        assert check_path(root.hash, key, path) == (outcomes.get(key), totals)


@given(trees, key_strategy, st.integers(0, 16))
def test_a_crown_leads_to_the_same_places(outcomes, other, bits):
    """Whoever keeps the uppermost nodes finds the same root and ways with some of the leaves."""
    leaves = sorted(outcomes.items())
    crown = Crown.of(leaves, bits=bits)
    asked = []

    def between(first, last):
        asked.append([one for one in leaves if first <= one[0] <= last])
        return asked[-1]

    assert crown.root == tree_of(outcomes).root
    for key in {*outcomes, other, ABSENT}:
        assert crown.path(key, between) == way(outcomes, key)
        few = len(asked[-1]) < 2
        assert few or all(shared_bits(key, found) >= bits for found, _ in asked[-1])


@given(trees, key_strategy, outcome_strategy)
def test_a_tree_with_another_outcome_has_another_root(outcomes, key, outcome):
    """One attempt more, or another end of one: no two days look alike."""
    changed = {**outcomes, key: outcome}

    same = tree_of(changed).root.hash == tree_of(outcomes).root.hash

    assert same == (changed == outcomes)


@given(trees.filter(bool), st.data())
def test_a_prover_who_has_the_tree_cannot_lie(outcomes, data):
    """Another state, index, key, count or length: no change of an honest proof holds."""
    key = data.draw(st.sampled_from(sorted(outcomes)))
    root, path = tree_of(outcomes).root, way(outcomes, key)
    honest = (outcomes[key], root.counts)
    lies = data.draw(lies_about(path, outcomes))

    try:
        told = check_path(root.hash, key, lies)
    except Refuted:
        return
    assert told == honest
    assert lies == path


@st.composite
def lies_about(draw, path, outcomes):
    """A path in which one thing is another than in the honest one."""
    what = draw(st.sampled_from(["terminal", "none", "sibling", "count", "shorter", "longer"]))
    siblings, terminal = list(path.siblings), path.terminal
    if what == "terminal":
        key = draw(st.sampled_from([*sorted(outcomes), terminal[0]]))
        terminal = (key, draw(outcome_strategy))
    if what == "none":
        terminal = None
    if what in ("sibling", "count") and siblings:
        at = draw(st.integers(0, len(siblings) - 1))
        hash_, counts = siblings[at]
        change = draw(st.integers(1, 5))
        name = draw(st.sampled_from(Counts._fields))
        other = counts._replace(**{name: getattr(counts, name) + change})
        siblings[at] = Node(hash_, other) if what == "count" else Node(bytes(31) + b"\x01", counts)
    if what == "shorter":
        siblings = siblings[: draw(st.integers(0, len(siblings)))]
    if what == "longer":
        siblings += [EMPTY] * draw(st.integers(1, 3))
    return SumPath(siblings=tuple(siblings), terminal=terminal)


def test_two_states_for_one_attempt_cannot_both_be_shown():
    """A prover who made the tree himself has to choose where the attempt's leaf lies, and what."""
    key, gen, deny = KEYS.key("a-1"), Outcome(1, "gen", 2), Outcome(1, "deny", 3)
    misplaced = bytes([key[0] ^ 0x80]) + key[1:]  # On the other side of the root.
    root = node(*_ordered(key, leaf(key, gen), leaf(key, deny)))

    assert check_path(root.hash, key, _beside(leaf(key, deny), key, gen))[0] == gen
    with pytest.raises(Refuted):
        check_path(root.hash, key, _beside(leaf(key, gen), key, deny))
    with pytest.raises(Refuted, match="does not lead"):
        check_path(root.hash, misplaced, _beside(leaf(key, gen), misplaced, deny))


def _ordered(key, here, there):
    return (there, here) if key[0] & 0x80 else (here, there)


def _beside(sibling, key, outcome):
    return SumPath(siblings=(sibling,), terminal=(key, outcome))


def test_a_leaf_is_no_node_and_a_node_no_leaf():
    """The bytes of the one are never taken for the other's: their first byte differs."""
    one = leaf(KEYS.key("a"), Outcome(0, "gen", 1))
    other = leaf(KEYS.key("b"), Outcome(2, "deny", 3))

    assert leaf(KEYS.key("a"), Outcome(0, "gen", 1)) == one
    assert len({one.hash, other.hash, node(one, other).hash, node(other, one).hash}) == 4
    with pytest.raises(Refuted):
        check_path(one.hash, KEYS.key("a"), SumPath(siblings=(one, other), terminal=None))


def test_counts_that_cannot_be_are_refused():
    """Nothing that counts something, something that counts nothing, more late ones than errors."""
    key, end = KEYS.key("a"), (KEYS.key("a"), Outcome(0, "gen", 1))
    for sibling in (
        Node(EMPTY.hash, Counts(gen=1)),
        Node(b"\x01" * 32, Counts()),
        Node(b"\x01" * 32, Counts(error=1, late=2)),
        Node(b"\x01" * 32, Counts(gen=MOST)),
    ):
        here = leaf(*end)
        top = node(*_ordered(key, here, sibling))
        with pytest.raises(Refuted, match="counts"):
            check_path(top.hash, key, SumPath(siblings=(sibling,), terminal=end))


def test_one_tree_has_one_shape():
    """A lone leaf below a node would be the same day under another root, so it is refused."""
    key, outcome = KEYS.key("a"), Outcome(0, "gen", 1)
    deeper = node(*_ordered(key, leaf(key, outcome), EMPTY))

    with pytest.raises(Refuted, match="deeper"):
        check_path(deeper.hash, key, SumPath(siblings=(EMPTY,), terminal=(key, outcome)))
    path = SumPath(siblings=(leaf(key, outcome),) * (DEPTH + 1), terminal=None)
    with pytest.raises(Refuted, match="longer"):
        check_path(deeper.hash, key, path)


def test_an_attempt_has_one_leaf():
    """Two outcomes of one attempt make no tree; nor do leaves out of their order."""
    one, other = (KEYS.key("a"), Outcome(0, "gen", 1)), (KEYS.key("a"), Outcome(0, "deny", 2))

    with pytest.raises(AttemptTwice):
        build([one, other])
    with pytest.raises(AttemptTwice):
        Crown.of([one, other])
    with pytest.raises(AttemptTwice):
        Crown.of([(b"\xff" * 32, one[1]), (bytes(32), one[1])])
    with pytest.raises(AttemptTwice):
        build(sorted([one, (KEYS.key("b"), Outcome(2, "gen", 3))], reverse=True))


@pytest.mark.parametrize(
    "change",
    [
        {"siblings": [None] * (DEPTH + 1)},
        {"siblings": "none"},
        {"siblings": [{"hash": "sha256:" + "0" * 63}]},
        {"siblings": [{"hash": "sha256:" + "AB" * 32, "gen": 1, "deny": 0, "error": 0, "late": 0}]},
        {
            "siblings": [
                {"hash": "sha256:" + "ab" * 32, "gen": -1, "deny": 0, "error": 0, "late": 0}
            ]
        },
        {"siblings": [{"hash": "sha256:" + "ab" * 32, "gen": 1}]},
        {"siblings": [], "terminal": None},
        {"siblings": [], "more": 1},
        {"terminal": {"state": "open"}},
        {"terminal": {"late": True}},
        {"terminal": {"attempt_index": 2**53}},
        {"terminal": {"outcome_index": True}},
        {"terminal": {"key": "sha256:"}},
        {"terminal": {"more": 1}},
    ],
    ids=str,
)
def test_a_path_has_one_spelling(change):
    """What is not spelled like a path is not read."""
    path = way({KEYS.key("a"): Outcome(0, "gen", 1)}, KEYS.key("a")).json()
    assert SumPath.parse(path).json() == path
    whole = {**path, **change}
    if isinstance(change.get("terminal"), dict):
        whole["terminal"] = {**path["terminal"], **change["terminal"]}

    with pytest.raises(Unreadable):
        SumPath.parse(whole)
