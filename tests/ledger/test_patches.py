# SPDX-License-Identifier: GPL-3.0-or-later
"""What people changed: patches of RFC 6902, clear only where they show nobody's words."""

import pytest
from event_bodies import LEAST, NEEDED
from event_values import D
from register_bodies import HOSTED, NAMED

from ledger import catalog
from ledger.errors import MalformedEvent
from ledger.events.patch import touches_committed

ALLOW = {"op": "replace", "path": "/body/decision", "value": "ALLOW"}


def override(diff):
    body = LEAST["HUMAN_OVERRIDE"]
    return body | {"override": body["override"] | {"diff": diff}}


def broken(type_, body, sealed=None):
    with pytest.raises(MalformedEvent) as refusal:
        catalog.validate(type_, 1, body, NEEDED.get(type_, {}) | (sealed or {}))
    return {(error.pointer, error.rule) for error in refusal.value.errors}


@pytest.mark.parametrize(
    ("step", "rule"),
    [
        ({"op": "replace", "path": "/a"}, "patch"),
        ({"op": "remove", "path": "/a", "value": 1}, "patch"),
        ({"op": "move", "path": "/a"}, "patch"),
        ({"op": "add", "path": "/a", "from": "/b", "value": 1}, "patch"),
        ({"op": "move", "from": "/a", "path": "/a/b"}, "patch"),
    ],
)
def test_a_step_of_a_patch_has_the_members_of_its_operation(step, rule):
    """RFC 6902, clear or sealed."""
    assert broken("HUMAN_OVERRIDE", override([step])) == {("/body/override/diff/0", rule)}
    sealed = {"override.diff": [step]}
    assert broken("HUMAN_OVERRIDE", LEAST["HUMAN_OVERRIDE"], sealed) == {
        ("/sealed/override.diff", "form")
    }


@pytest.mark.parametrize("path", ["a", "/~2", "/" + "a/" * 16, "#/a"])
def test_a_path_is_a_json_pointer(path):
    """RFC 6901, of a bounded length."""
    wrong = broken("HUMAN_OVERRIDE", override([ALLOW | {"path": path}]))

    assert wrong == {("/body/override/diff/0/path", "pointer")}


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/body",
        "/body/prompt/user",
        "/prompt/user",
        "/prompt",
        "/body/outputs/0",
        "/outputs/0/sha256",
        "/outputs/-",
        "/sealed/prompt.user",
        "/sealed",
        "/actor/session_id",
        "/refusal_text",
        "/body/notes/0",
    ],
)
def test_a_diff_that_touches_what_is_committed_is_itself_sealed(path):
    """Else a patch would show in clear what the entry took care to commit."""
    assert touches_committed(path)
    steps = [ALLOW | {"path": path}]

    assert broken("HUMAN_OVERRIDE", override(steps)) == {
        ("/body/override/diff/0", "must-be-sealed")
    }
    assert broken("HUMAN_OVERRIDE", override([{"op": "copy", "from": path, "path": "/x"}])) == {
        ("/body/override/diff/0", "must-be-sealed")
    }
    sealed = NEEDED["HUMAN_OVERRIDE"] | {"override.diff": steps}
    catalog.validate("HUMAN_OVERRIDE", 1, LEAST["HUMAN_OVERRIDE"], sealed)


@pytest.mark.parametrize("value", ["Zoë wants it so.", "x" * 65, {"a": "b"}, [["a"]], ["a"] * 65])
def test_what_a_clear_diff_says_is_a_code_or_a_number(value):
    """Whatever is longer may be somebody's words."""
    steps = [ALLOW | {"value": value}]

    assert broken("HUMAN_OVERRIDE", override(steps)) == {("/body/override/diff/0/value", "changed")}
    sealed = NEEDED["HUMAN_OVERRIDE"] | {"override.diff": steps}
    catalog.validate("HUMAN_OVERRIDE", 1, LEAST["HUMAN_OVERRIDE"], sealed)


@pytest.mark.parametrize("value", ["ALLOW", 7, False, ["a", "b"], []])
def test_a_clear_diff_says_codes_and_numbers(value):
    """A decision, a count, a switch, a list of labels."""
    body = override([ALLOW | {"value": value}, {"op": "test", "path": "/n", "value": value}])

    assert catalog.validate("HUMAN_OVERRIDE", 1, body, NEEDED["HUMAN_OVERRIDE"]) is body


def test_a_review_says_who_has_it_and_who_decided():
    """A decision of nobody is none (AI Act 14(5)); an outcome comes with the decision."""
    review = {"queue": "ts", "state": "assigned"}
    needs = {("/body/review/assigned_to", "required")}
    with pytest.raises(MalformedEvent) as refusal:
        catalog.validate("HUMAN_REVIEW", 1, {"review": review}, {})
    assert {(one.pointer, one.rule) for one in refusal.value.errors} == needs
    decided = {"review": review | {"state": "decided"}, "outcome": "DENY"}
    with pytest.raises(MalformedEvent) as refusal:
        catalog.validate("HUMAN_REVIEW", 1, decided, {})
    assert {(e.pointer, e.rule) for e in refusal.value.errors} == {("/body/reviewer", "required")}
    with pytest.raises(MalformedEvent):
        catalog.validate("HUMAN_OVERRIDE", 1, LEAST["HUMAN_OVERRIDE"], {})

    for body in ({"review": review, "outcome": "DENY"}, {"review": review | {"state": "decided"}}):
        assert broken("HUMAN_REVIEW", body, {"review.assigned_to": "emp-9"}) == {("/body", "state")}


@pytest.mark.parametrize(
    ("weights", "rule"),
    [
        ({"unavailable": "hosted", "files": [{"path": "a", "sha256": D}]}, "hosted"),
        ({"snapshot": D}, "hosted"),
        ({"files": [{"path": "a", "sha256": D}], "snapshot": D}, "hosted"),
        ({}, "hosted"),
    ],
    ids=["both", "neither", "a file's snapshot", "empty"],
)
def test_a_hosted_model_shows_no_digest_of_its_weights(weights, rule):
    """Nobody but its provider has them: a digest would be made up."""
    body = HOSTED | {"weights": weights, "manifest": {"digest": D, "format": "other"}}

    assert broken("MODEL_REGISTERED", body) == {("/body/weights", rule)}


def test_a_model_is_known_by_its_manifest_or_is_hosted():
    """One of the two."""
    assert broken("MODEL_REGISTERED", {"model": NAMED}) == {("/body", "required")}
    assert catalog.validate("MODEL_REGISTERED", 1, HOSTED, {}) is HOSTED
