# SPDX-License-Identifier: GPL-3.0-or-later
"""One value has one byte string, and whatever else is offered is refused by name."""

import enum
import json
import runpy
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from sealtrail.verify import canonical
from sealtrail.verify.canonical import MAX_INTEGER, NotCanonical
from sealtrail.verify.errors import Unreadable

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
PUBLIC = Path(__file__).resolve().parents[2] / ".." / "shared" / "vectors" / "jcs" / "testdata"
NAIVE = runpy.run_path(str(VECTORS / "make.py"))
OURS = json.loads((VECTORS / "canonical.json").read_text(encoding="ascii"))
MEGABYTE = 1_000_000

needs_public = pytest.mark.skipif(
    not PUBLIC.is_dir(), reason="the public RFC 8785 data (shared/vectors/jcs) is not here"
)

strings = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
# Few names on both sides of the surrogates, so that their order often matters.
names = strings | st.text("aB_z\u20ac\ufb33\uffff\U00010000\U0001f600", max_size=2)
scalars = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | strings
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)


def named(cases):
    return [pytest.param(case, id=case["name"]) for case in cases]


@pytest.mark.parametrize("case", named(OURS["accepted"]))
def test_any_layout_is_read_and_one_is_printed(case):
    """The value that the second implementation means is the one we read and print."""
    text, printed = bytes.fromhex(case["hex"]), bytes.fromhex(case["canonical"])

    value = canonical.parse(text)

    assert canonical.encode(value) == printed
    assert canonical.decode(printed) == value
    assert canonical.parse(text.decode()) == value


@pytest.mark.parametrize(
    "case", named(case for case in OURS["accepted"] if case["hex"] != case["canonical"])
)
def test_another_layout_is_not_canonical(case):
    """Stored bytes that mean the same in another spelling are refused: they hash differently."""
    with pytest.raises(NotCanonical) as refusal:
        canonical.decode(bytes.fromhex(case["hex"]))

    assert refusal.value.rule == "spelling"


@pytest.mark.parametrize("decoder", [canonical.parse, canonical.decode])
@pytest.mark.parametrize("case", named(OURS["refused"]))
def test_what_is_not_strict_json_is_refused_by_its_rule(case, decoder):
    """Both decoders name the same broken rule."""
    with pytest.raises(NotCanonical) as refusal:
        decoder(bytes.fromhex(case["hex"]))

    assert refusal.value.rule == case["rule"]
    assert isinstance(refusal.value, Unreadable)


@pytest.mark.parametrize("text", ['"\ud800"', '{"\udfff":1}', "\ud83d"], ids=ascii)
def test_a_lone_surrogate_in_text_is_refused(text):
    """A Python string can hold half a character; no UTF-8 can."""
    with pytest.raises(NotCanonical) as refusal:
        canonical.parse(text)

    assert refusal.value.rule == "surrogate"


def test_a_byte_order_mark_in_text_is_refused():
    """It is as wrong in a string as in bytes."""
    with pytest.raises(NotCanonical) as refusal:
        canonical.parse("\ufeff{}")

    assert refusal.value.rule == "byte-order-mark"


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


def nest(depth):
    value = []
    for _ in range(depth - 1):
        value = [value]
    return value


def circle():
    value = {}
    value["self"] = value
    return value


WRONG = {
    "float": (1.0, "float"),
    "nan": ([float("nan")], "float"),
    "infinity-inside": ({"a": {"b": [float("inf")]}}, "float"),
    "number-as-name": ({1: "a"}, "name"),
    "null-as-name": ({None: "a"}, "name"),
    "true-as-name": ({True: "a"}, "name"),
    "name-of-a-string-subclass": ({"a": {Text("b"): 1}}, "name"),
    "too-large": (MAX_INTEGER + 1, "integer-range"),
    "too-small": ([-MAX_INTEGER - 1], "integer-range"),
    "5000-digits": (10**5000, "integer-range"),
    "surrogate": ("\ud800", "surrogate"),
    "surrogate-as-name": ({"\udc00": 1}, "surrogate"),
    "surrogate-beside-a-pair": ({"\U0001f600": 1, "\ud800": 2}, "surrogate"),
    "65-deep": (nest(65), "depth"),
    "50000-deep": (nest(50_000), "depth"),
    "circle": (circle(), "depth"),
    "tuple": ((1, 2), "type"),
    "bytes": ([b"bytes"], "type"),
    "set": ({"a": {1}}, "type"),
    "enum": (Number.ONE, "type"),
    "string-subclass": (Text("a"), "type"),
    "object": (object(), "type"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_has_no_one_spelling_is_not_printed(case):
    """A program that hands over a wrong value hears which rule it broke."""
    value, rule = WRONG[case]

    with pytest.raises(NotCanonical) as refusal:
        canonical.encode(value)

    assert refusal.value.rule == rule


def test_the_deepest_value_is_printed_and_read_again():
    """64 levels are allowed: the bound itself is inside."""
    assert canonical.decode(canonical.encode(nest(64))) == nest(64)


@pytest.mark.parametrize("unit", [b"[", b'{"a":', b'[{"\\"":', b'["\\\\",['], ids=ascii)
def test_a_megabyte_of_opening_brackets_is_refused(unit):
    """An impatient or hostile pipeline cannot make the parser run out of stack."""
    with pytest.raises(NotCanonical) as refusal:
        canonical.parse(unit * (MEGABYTE // len(unit)))

    assert refusal.value.rule == "depth"


RUBBISH = {
    "escaped-quotes": b'"' + b'\\"' * (MEGABYTE // 2),
    "quotes": b'"' * MEGABYTE,
    "closing-brackets": b"]" * MEGABYTE,
    "backslashes-after-brackets": b"[" * 60 + b'"[[[[[",' + b"\\" * MEGABYTE,
    "digits": b"[" + b"7" * MEGABYTE,
}


@pytest.mark.parametrize("case", RUBBISH)
def test_a_megabyte_of_rubbish_is_refused_in_one_pass(case):
    """No text takes more than linear time; a slow refusal would be an attack of its own."""
    with pytest.raises(NotCanonical):
        canonical.parse(RUBBISH[case])


def test_a_refusal_never_repeats_what_was_sent():
    """A refused prompt may be personal data, so neither message nor cause holds any of it."""
    for text in (
        '{"Anna Example": 1.5}',
        '{"prompt": "Anna',
        '["Anna\ud800"]',
        '{"Anna":1,"Anna":2}',
    ):
        with pytest.raises(NotCanonical) as refusal:
            canonical.parse(text)

        assert "Anna" not in str(refusal.value)
        assert refusal.value.__cause__ is None
        assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


@given(values)
def test_two_other_implementations_print_the_same(value):
    """The published `rfc8785` package and our own naive one agree with every byte."""
    printed = canonical.encode(value)

    assert printed == rfc8785.dumps(value)
    assert printed == NAIVE["jcs"](value)


@given(values, st.booleans(), st.sampled_from([None, 0, "\t"]))
def test_what_is_read_in_any_layout_is_what_was_meant(value, escaped, indent):
    """Escapes and white space change nothing."""
    text = json.dumps(value, ensure_ascii=escaped, indent=indent)

    assert canonical.parse(text) == value
    assert canonical.parse(text.encode()) == value
    assert canonical.decode(canonical.encode(value)) == value


@given(values, st.data())
def test_no_changed_byte_leaves_the_value(value, data):
    """After any change of one byte the bytes are refused or mean another value."""
    printed = bytearray(canonical.encode(value))
    printed[data.draw(st.integers(0, len(printed) - 1))] ^= data.draw(st.integers(1, 255))
    changed = bytes(printed)

    try:
        other = canonical.decode(changed)
    except NotCanonical:
        return

    assert canonical.encode(other) == changed
    assert json.dumps(other, sort_keys=True) != json.dumps(value, sort_keys=True)


@given(st.binary(max_size=40))
def test_arbitrary_bytes_are_refused_or_canonical(data):
    """Nothing but NotCanonical ever comes out of the decoder."""
    try:
        value = canonical.decode(data)
    except NotCanonical:
        return

    assert canonical.encode(value) == data


@needs_public
@pytest.mark.parametrize("name", ["arrays", "french", "unicode", "weird"])
def test_the_public_examples_print_as_published(name):
    """The examples of RFC 8785's author that hold no float."""
    value = canonical.parse((PUBLIC / "input" / f"{name}.json").read_bytes())

    printed = canonical.encode(value)

    assert printed == bytes.fromhex((PUBLIC / "outhex" / f"{name}.txt").read_text("ascii"))
    assert printed == (PUBLIC / "output" / f"{name}.json").read_bytes()
    assert canonical.decode(printed) == value


@needs_public
@pytest.mark.parametrize("name", ["values", "structures"])
def test_the_public_examples_with_floats_are_refused(name):
    """We differ from RFC 8785 in this alone: a decimal is a string here."""
    with pytest.raises(NotCanonical) as refusal:
        canonical.parse((PUBLIC / "input" / f"{name}.json").read_bytes())

    assert refusal.value.rule == "float"
