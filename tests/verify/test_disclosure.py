# SPDX-License-Identifier: GPL-3.0-or-later
"""A disclosure shows one field of one entry; without it the entry tells nothing."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealtrail.verify import canonical, disclosure
from sealtrail.verify.disclosure import (
    VALUE_MAX,
    BadDisclosure,
    NotCommitted,
    check_disclosure,
    check_disclosures,
    commit,
    decode_base64url,
    disclose,
    encode_base64url,
    open_disclosure,
)
from sealtrail.verify.errors import Refuted, Unreadable

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
OURS = json.loads((VECTORS / "disclosure.json").read_text(encoding="ascii"))
KEY = bytes(range(32))
SALT = disclosure.salt(KEY, "prompt.user")


def texted(value):
    """A disclosure around any JSON value, right or wrong."""
    return encode_base64url(canonical.encode(value))


@pytest.mark.parametrize("case", OURS["cases"], ids=["zero-key", "key"])
def test_disclosures_are_those_of_the_second_implementation(case):
    """Salt, disclosure and digest of each field, and the sorted `_sd`."""
    key = bytes.fromhex(case["record_key"])
    fields = {field["name"]: field["value"] for field in case["fields"]}

    sd, shown = commit(key, fields)

    assert sd == case["_sd"]
    assert shown == {field["name"]: field["disclosure"] for field in case["fields"]}
    for field in case["fields"]:
        assert disclosure.salt(key, field["name"]) == field["salt"]
        assert disclosure.digest(field["disclosure"]) == field["digest"]
        assert open_disclosure(field["disclosure"]) == (
            field["salt"],
            field["name"],
            field["value"],
        )
    assert check_disclosures(shown.values(), sd) == fields


names = st.from_regex(r"[a-z_][A-Z0-9_]{0,5}(\[[0-9]{1,3}\])?(\.[A-Z]{1,4})?", fullmatch=True)
values = st.none() | st.booleans() | st.text("aé😀\0", max_size=5) | st.lists(st.integers(-9, 9))


@given(st.dictionaries(names, values, max_size=4), st.binary(min_size=32, max_size=32))
def test_what_is_committed_can_be_shown(fields, key):
    """Each disclosure alone shows its field; a retry with the same key makes the same bytes."""
    sd, shown = commit(key, fields)

    assert sd == sorted(set(sd))
    assert [check_disclosure(shown[name], sd) for name in fields] == list(fields.items())
    assert commit(key, dict(reversed(fields.items()))) == (sd, shown)


def test_no_two_events_have_a_digest_in_common():
    """Equal prompts cannot be recognised: neither across events nor across fields of one."""
    one, _ = commit(KEY, {"prompt.user": "sunset", "prompt.negative": "sunset"})
    other, _ = commit(bytes(32), {"prompt.user": "sunset", "prompt.negative": "sunset"})

    assert len({*one, *other}) == 4


def test_a_disclosure_of_another_entry_is_refused():
    """A true fact of one event proves nothing about another."""
    sd, _ = commit(KEY, {"prompt.user": "sunset"})
    _, shown = commit(bytes(32), {"prompt.user": "sunset"})

    with pytest.raises(NotCommitted) as refusal:
        check_disclosure(shown["prompt.user"], sd)

    assert isinstance(refusal.value, Refuted)


def test_a_changed_value_is_refused():
    """The salt is known to its holder, and still no other value fits the digest."""
    sd, _ = commit(KEY, {"prompt.user": "sunset"})

    with pytest.raises(NotCommitted):
        check_disclosure(texted([SALT, "prompt.user", "sunrise"]), sd)


def test_a_field_cannot_be_shown_twice():
    """A producer who committed to two prompts cannot show whichever suits."""
    shown = [texted([SALT, "prompt.user", value]) for value in ("one", "two")]
    sd = sorted(disclosure.digest(text) for text in shown)

    with pytest.raises(NotCommitted, match="one field"):
        check_disclosures(shown, sd)
    with pytest.raises(NotCommitted, match="one field"):
        check_disclosures([shown[0], shown[0]], sd)


@pytest.mark.parametrize(
    "name",
    ["a", "_", "A9_", "prompt.user", "inputs[0].sha256", "a[999].b[0].c[00]", "x" * 128],
)
def test_dotted_paths_are_names(name):
    """Letters, digits, underscore; an index in brackets; dots between parts."""
    assert open_disclosure(disclose(KEY, name, "v"))[1] == name


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "a.", ".a", "a..b", "9a", "a b", "a-b", "a[", "a[]", "a[x]", "a[1000]", "[0]",
        "a[0]b", "a[0][1]", "é", "a\n", "a\0", "a[٣]", "x" * 129, "a." * 64 + "a",
    ],
)  # fmt: skip
def test_anything_else_is_no_name(name):
    """Neither can it be committed to, nor is a disclosure that shows it read."""
    for call in (
        lambda: disclosure.salt(KEY, name),
        lambda: disclose(KEY, name, "v"),
        lambda: commit(KEY, {name: "v"}),
        lambda: open_disclosure(texted([SALT, name, "v"])),
    ):
        with pytest.raises(BadDisclosure) as refusal:
            call()

        assert refusal.value.rule == "name"


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_record_key_is_32_bytes(length):
    """A short key would make salts that can be guessed."""
    with pytest.raises(BadDisclosure) as refusal:
        commit(bytes(length), {"a": 1})

    assert refusal.value.rule == "record-key"


def test_the_largest_value_is_64_kib_of_canonical_json():
    """What is larger is an artifact with a digest, and no disclosure of it is read either."""
    largest = "x" * (VALUE_MAX - 2)

    assert open_disclosure(disclose(KEY, "n" * 128, largest))[2] == largest
    for call in (
        lambda: disclose(KEY, "a", largest + "x"),
        lambda: open_disclosure(texted([SALT, "a", largest + "x"])),
        lambda: open_disclosure("A" * 10_000_000),
    ):
        with pytest.raises(BadDisclosure) as refusal:
            call()

        assert refusal.value.rule == "size"


@pytest.mark.parametrize("value", [1.5, float("nan"), 2**53, "\ud800", (1,), b"x"])
def test_a_value_without_one_spelling_cannot_be_committed_to(value):
    """Its digest could not be made again by anyone else."""
    with pytest.raises(canonical.NotCanonical):
        disclose(KEY, "a", value)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ({}, "shape"),
        ([], "shape"),
        ([SALT, "a"], "shape"),
        ([SALT, "a", 1, 2], "shape"),
        ([1, "a", 1], "shape"),
        ([SALT, None, 1], "shape"),
        (["", "a", 1], "salt"),
        ([SALT + "AAAA", "a", 1], "salt"),
        ([SALT + "=", "a", 1], "base64url"),
        (["é" * 22, "a", 1], "base64url"),
    ],
    ids=lambda value: ascii(value) if isinstance(value, str) else None,
)
def test_what_is_not_salt_name_and_value_is_no_disclosure(value, rule):
    """A disclosure is exactly a list of three, with 16 bytes of salt."""
    with pytest.raises(BadDisclosure) as refusal:
        open_disclosure(texted(value))

    assert refusal.value.rule == rule
    assert isinstance(refusal.value, Unreadable)


@pytest.mark.parametrize(
    "text",
    [
        "=",
        "QQ==",
        "QQ=",
        "QR",
        "Q",
        "Q Q",
        "QQ\n",
        " QQ",
        "Q+8",
        "Q/8",
        "QQé",
        "QQ\0",
        "....",
        "Q.Q",
    ],
    ids=ascii,
)
def test_base64url_has_one_spelling(text):
    """Padding, spare bits, white space and the other alphabet are refused, not skipped."""
    with pytest.raises(BadDisclosure) as refusal:
        decode_base64url(text)

    assert refusal.value.rule == "base64url"


@given(st.binary(max_size=40))
def test_base64url_is_read_as_it_was_printed(data):
    """Every byte string has a text, without padding."""
    assert decode_base64url(encode_base64url(data)) == data
    assert "=" not in encode_base64url(data)


@pytest.mark.parametrize("spelled", [b'["%s", "a",1]', b'["%s","a",1.0]', b'["%s","\\u0061",1]'])
def test_a_disclosure_in_another_spelling_is_refused(spelled):
    """Only canonical JSON inside: one field, one disclosure, one digest."""
    with pytest.raises(canonical.NotCanonical):
        open_disclosure(encode_base64url(spelled % SALT.encode()))


def test_a_refusal_never_repeats_the_value():
    """A disclosure is personal data, whether it fits or not."""
    sd, shown = commit(KEY, {"prompt.user": "Anna"})
    for call in (
        lambda: check_disclosure(shown["prompt.user"], []),
        lambda: open_disclosure(texted(["Anna", "Anna", "Anna"])),
        lambda: open_disclosure(texted([SALT, "Anna Anna", "Anna"])),
        lambda: check_disclosures([shown["prompt.user"]] * 2, sd),
    ):
        with pytest.raises((Unreadable, Refuted)) as refusal:
            call()

        assert "Anna" not in str(refusal.value)
