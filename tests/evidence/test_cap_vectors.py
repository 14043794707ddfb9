# SPDX-License-Identifier: GPL-3.0-or-later
"""CAP's own cases: completeness as its vectors say, canonical form, and what of them cannot hold.

The chains here are made by the code that makes packs and checked by one that shares nothing with
it; whatever is changed afterwards is found.
"""

import base64
import json
from copy import deepcopy
from pathlib import Path

import cap_checker
import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.cap_json import encode, number
from evidence.cap_names import urn
from evidence.cap_sign import chained, event_hash
from evidence.cap_statistics import completeness

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

CAP = Path(__file__).resolve().parents[2] / ".." / "shared" / "vectors" / "cap-spec"
needs_cap = pytest.mark.skipif(not CAP.is_dir(), reason="CAP's vectors (shared/vectors) not here")
CASES = ("test-001-valid-chain", "test-002-missing-outcome", "test-003-orphan-outcome")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


class Signer:
    """Signs as evidence.cap_sign.Signer does, with a key that a test holds."""

    def __init__(self, key=KEY):
        self.key = key

    def over_text(self, text):
        return "ed25519:" + base64.b64encode(self.key.sign(text.encode())).decode()


def chain(events, key=KEY):
    return list(chained(events, "01945f00-0000-7000-8000-000000000000", Signer(key)))


def case(name):
    return json.loads((CAP / "test-vectors" / "completeness" / f"{name}.json").read_text("utf-8"))


# CAP's cases


@needs_cap
@pytest.mark.parametrize("name", CASES)
def test_completeness_comes_out_as_the_vectors_say(name):
    """By the stranger's checker, word for word."""
    vector = case(name)

    found = cap_checker.completeness(vector["events"])

    if vector["expectedResult"]["valid"]:
        found["outcomeBreakdown"].pop("GEN_ERROR")  # New in v1.0.
    assert found == vector["expectedResult"]


@needs_cap
@pytest.mark.parametrize("name", CASES)
def test_our_own_count_agrees(name):
    """What a manifest would say of the same events."""
    vector = case(name)

    said = completeness(vector["events"])

    assert said["InvariantValid"] is vector["expectedResult"]["valid"]
    assert said["MissingOutcomes"] == vector["expectedResult"].get("missingOutcomes", [])


@needs_cap
def test_the_canonical_form_is_caps():
    """Both of its cases; the hash that it gives for the first is of no text at all."""
    for name in ("test-001-basic-object", "test-002-cap-event"):
        vector = json.loads((CAP / "test-vectors/canonicalization" / f"{name}.json").read_bytes())
        assert encode(vector["input"]).decode() == vector["expectedCanonical"]
        assert cap_checker.canonical(vector["input"]) == vector["expectedCanonical"]


@needs_cap
def test_the_hash_is_over_what_caps_text_says():
    """The canonical text of its case is right; that its digest is not shows in the text itself."""
    vector = json.loads((CAP / "test-vectors/hash/test-001-simple-event.json").read_bytes())
    digest = cap_checker.hashlib.sha256(vector["canonicalJson"].encode()).hexdigest()

    assert encode(vector["input"]).decode() == vector["canonicalJson"]
    assert (
        event_hash(vector["input"]) == f"sha256:{digest}" == cap_checker.event_hash(vector["input"])
    )


@needs_cap
def test_caps_sample_pack_is_of_its_form_and_its_hashes_are_made_up():
    """Complete and well formed, but one digest a digit short; no event is what its hash says."""
    sample = CAP / "examples" / "cap-srp" / "evidence-pack-sample"
    paths = sorted((sample / "events").glob("*.json"))
    events = [json.loads(path.read_bytes()) for path in paths]
    schemas = cap_checker.Schemas(CAP / "schemas")

    faults = [fault for one in events for fault in schemas.faults(one)]

    assert cap_checker.completeness(events)["valid"]
    assert len(faults) == 2
    assert all("PromptHash" in fault for fault in faults)
    assert not any(cap_checker.event_hash(one) == one["EventHash"] for one in events)


# Chains

_TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
_NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
_VALUES = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(_VALUES)
def test_any_json_has_one_canonical_form(value):
    """Ours, an independent encoder's, and the checker's."""
    assert encode(value) == rfc8785.dumps(value)
    assert cap_checker.canonical(value) == encode(value).decode()


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12),
                   max_value=10**12))  # fmt: skip
def test_a_decimal_string_becomes_the_number_that_it_means(exact):
    """Whole ones as whole numbers; the others as the nearest double."""
    assert float(number(f"{exact:f}")) == float(exact)
    assert isinstance(number("3.000"), int)


_CALLS = st.lists(
    st.sampled_from(["GEN", "GEN_DENY", "GEN_ERROR", "GEN_WARN", "GEN_QUARANTINE"]),
    min_size=1,
    max_size=6,
)


def told(kinds):
    events = []
    for at, kind in enumerate(kinds):
        events.append({"EventID": f"a{at}", "EventType": "GEN_ATTEMPT", "Score": at / 7})
        events.append({"EventID": f"o{at}", "EventType": kind, "AttemptID": f"a{at}"})
    return events


@given(_CALLS)
def test_a_chain_that_was_made_is_one_that_a_stranger_accepts(kinds):
    made = chain(told(kinds))

    assert list(cap_checker.chain_faults(made, PUBLIC)) == []
    assert made[0]["PrevHash"] is None
    assert cap_checker.completeness(made)["valid"]
    assert completeness(made)["InvariantValid"]


@given(_CALLS, st.data())
@settings(max_examples=50)
def test_no_single_change_goes_unseen(kinds, data):
    """A member changed, an event left out, two changed about, one repeated."""
    made = chain(told(kinds))
    at = data.draw(st.integers(0, len(made) - 1))
    change = data.draw(st.sampled_from(["member", "leave out", "swap", "repeat", "hash"]))
    forged = deepcopy(made)
    if change == "member":
        forged[at]["EventID"] += "x"
    elif change == "leave out" and at < len(made) - 1:
        del forged[at]
    elif change == "swap" and at:
        forged[at - 1], forged[at] = forged[at], forged[at - 1]
    elif change == "repeat":
        forged.insert(at, deepcopy(forged[at]))
    elif change == "hash":
        forged[at]["EventHash"] = "sha256:" + "00" * 32
    else:
        return

    assert list(cap_checker.chain_faults(forged, PUBLIC)) != []


@given(_CALLS, st.data())
@settings(max_examples=50)
def test_an_outcome_that_is_missing_orphaned_or_twice_is_seen(kinds, data):
    """In a chain that is otherwise right, by the checker and by our own count."""
    events = told(kinds)
    at = data.draw(st.integers(0, len(kinds) - 1)) * 2
    change = data.draw(st.sampled_from(["missing", "orphan", "twice"]))
    if change == "missing":
        del events[at + 1]
    elif change == "orphan":
        del events[at]
    else:
        events.insert(at + 1, {**events[at + 1], "EventID": "again"})
    made = chain(events)

    assert list(cap_checker.chain_faults(made, PUBLIC)) == []
    assert not cap_checker.completeness(made)["valid"]
    assert not completeness(made)["InvariantValid"]


@given(_CALLS)
@settings(max_examples=20)
def test_another_key_makes_no_chain_of_ours(kinds):
    made = chain(told(kinds), key=STRANGER)

    assert len(list(cap_checker.chain_faults(made, PUBLIC))) == len(made)


# Names

_IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,40}", fullmatch=True) | st.from_regex(
    r"urn:cap:asset:_?(acme|studio):[a_1]{1,3}", fullmatch=True
)


@given(_IDS, _IDS)
def test_no_two_identifiers_share_a_urn(one, other):
    """Each is of CAP's form, and a URN of CAP's stays what it is."""
    import re

    names = [urn("asset", "acme", each) for each in (one, other)]

    assert (names[0] == names[1]) is (one == other)
    for name in names:
        assert re.fullmatch(r"urn:cap:asset:[a-zA-Z0-9_-]+:[a-zA-Z0-9_-]+", name)
    assert urn("asset", "acme", "urn:cap:asset:studio:x-1") == "urn:cap:asset:studio:x-1"
    assert urn("model", "acme", "urn:cap:asset:studio:x-1").startswith("urn:cap:model:_acme:")
