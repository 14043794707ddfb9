# SPDX-License-Identifier: GPL-3.0-or-later
"""CBOR: what another implementation reads and writes is the same, and nothing hostile gets in."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealtrail.verify import cbor

pytestmark = pytest.mark.once

NUMBERS = st.integers(-(2**64), 2**64 - 1)
KEYS = st.one_of(NUMBERS, st.text(max_size=6))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.binary(max_size=300), st.text(max_size=30)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(KEYS, inner, max_size=5),
    ),
    max_leaves=20,
)


@given(VALUES)
def test_another_implementation_reads_the_same_value(value):
    """And its deterministic encoder, where it has our order of keys, writes the same bytes."""
    data = cbor.encode(value)

    assert cbor2.loads(data) == value
    assert cbor.decode(data) == value
    assert cbor.encode(cbor.decode(data)) == data


@given(st.one_of(NUMBERS, st.binary(max_size=70_000), st.text(max_size=300)))
def test_another_implementation_writes_the_same_bytes(value):
    """Heads of one to nine bytes, each in its shortest form."""
    if isinstance(value, bytes) and len(value) > cbor.MAX_BYTES - 5:
        with pytest.raises(cbor.NotCbor):
            cbor.decode(cbor2.dumps(value, canonical=True))
        return

    assert cbor.encode(value) == cbor2.dumps(value, canonical=True)
    assert cbor.decode(cbor2.dumps(value)) == value


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data):
    """No input makes the reader fail in another way than NotCbor; what it takes is well-formed."""
    try:
        value = cbor.decode(data)
    except cbor.NotCbor:
        return
    assert len(cbor.encode(value)) == len(data)


def test_keys_stand_in_the_order_of_their_bytes():
    """RFC 8949 §4.2.1: shorter heads first, then negative numbers, then text."""
    members = {"z": 1, -1: 2, 395: 3, 1: 4, 15: 5, "aa": 6, 4: 7}

    assert list(cbor2.loads(cbor.encode(members))) == [1, 4, 15, 395, -1, "z", "aa"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("", "ends before"),
        ("0000", "follow behind"),
        ("1801", "shortest"),
        ("190017", "shortest"),
        ("1a0000ffff", "shortest"),
        ("1b00000000ffffffff", "shortest"),
        ("1c", "indefinite"),
        ("1f", "indefinite"),
        ("5f4100ff", "indefinite"),
        ("7f6161ff", "indefinite"),
        ("9f00ff", "indefinite"),
        ("bf0000ff", "indefinite"),
        ("a201000100", "twice"),
        ("a26161006161f4", "twice"),
        ("a14000", "key"),
        ("a1f500", "key"),
        ("a18000", "key"),
        ("f7", "float"),
        ("f93e00", "float"),
        ("fa47c35000", "float"),
        ("fb3ff199999999999a", "float"),
        ("f814", "shortest|float"),
        ("e0", "float"),
        ("61ff", "UTF-8"),
        ("62c0a0", "UTF-8"),
        ("63eda080", "UTF-8"),
        ("5bffffffffffffffff", "ends before"),
        ("7bffffffffffffffff", "ends before"),
        ("9bffffffffffffffff", "ends before"),
        ("bbffffffffffffffff", "ends before"),
        ("9a7fffffff00", "ends before"),
        ("d2" * 17 + "00", "nested"),
        ("81" * 17 + "00", "nested"),
        ("a100" * 17 + "00", "nested"),
    ],
    ids=lambda text: text[:24] or "nothing",
)
def test_what_has_another_spelling_or_no_end_is_refused(data, why):
    """At once: no length that is announced is believed before its bytes are there."""
    with pytest.raises(cbor.NotCbor, match=why):
        cbor.decode(bytes.fromhex(data))


def test_a_megabyte_of_open_brackets_is_refused_by_its_size():
    with pytest.raises(cbor.NotCbor, match="more than"):
        cbor.decode(b"\x81" * 2**20)


@pytest.mark.parametrize(
    "value",
    [1.5, 2**64, -(2**64) - 1, {1.0: 2}, {b"k": 1}, {True: 1}, object(), ("a",), "\ud800",
     cbor.Tag(-1, 0)],
    ids=["float", "large", "small", "float-key", "bytes-key", "true-key", "object", "tuple",
         "surrogate", "negative-tag"],
)  # fmt: skip
def test_what_has_no_one_spelling_is_not_written(value):
    with pytest.raises(cbor.NotCbor):
        cbor.encode(value)


def test_what_nobody_could_read_again_is_not_written():
    value = 0
    for _ in range(cbor.MAX_DEPTH):
        value = [value]

    with pytest.raises(cbor.NotCbor, match="nested"):
        cbor.encode(value)
