# SPDX-License-Identifier: GPL-3.0-or-later
"""The fast decoder says yes only to what the strict one reads, and reads the same."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger import decoding
from ledger.decoding import fast_decode
from sealtrail.verify import canonical

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
INTEGERS = st.integers(min_value=-(2**53) + 1, max_value=2**53 - 1)
VALUES = st.dictionaries(
    TEXT,
    st.recursive(
        st.none() | st.booleans() | INTEGERS | TEXT,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
        max_leaves=15,
    ),
    max_size=5,
)
#: Pieces of JSON, right and wrong, that make documents near the rules.
PIECES = st.sampled_from(
    [
        *(b"{", b"}", b"[", b"]", b",", b":", b'"a"', b'"b"', b'"a":', b'"b":', b"1", b"-0", b"01"),
        *(b"1.5", b"1.0", b"1e16", b"1e+16", b"1E5", b"1e-7", b"0.1", b"-1.25e-9", b"NaN", b"-"),
        *(b"9007199254740991", b"9007199254740992", b"-9007199254740992", b"18446744073709551616"),
        *(b" ", b"\n", b"null", b"true", b'"\\ud800"', b'"\\u0041"', b'"\xed\xa0\x80"', b'"\xff"'),
        *(b'"\\/"', b'"\x7f"', b'"\\u007f"', b'"\\u001F"', b'"\\u001f"', b'"\\n"', b'"\\u000a"'),
        *('"\U00010000":'.encode(), '"\ue000":'.encode(), '"é"'.encode(), b"\xef\xbb\xbf"),
    ]
)


def agrees(data):
    """Hold the fast decoder against the strict one; say if it was fast."""
    value = fast_decode(data)
    if value is not None:
        strict = canonical.decode(data)
        assert repr(strict) == repr(value)  # True is not 1 here, nor 1.0.
        assert list(strict) == list(value)
    return value is not None


@given(VALUES)
def test_canonical_bytes_are_read_alike(value):
    """And fast, but for the few that need a second look."""
    data = canonical.encode(value)

    agrees(data)

    assert decoding.decode(data) == value


@given(st.lists(PIECES, max_size=12).map(b"".join))
@example(b'{"a":1,"a":1}')
@example(b'{"b":1,"a":1}')
@example(b'{"a":1}\n')
@example('{"\ue000":1,"\U00010000":1}'.encode())
@example('{"\U00010000":1,"\ue000":1}'.encode())
def test_bytes_near_the_rules_are_read_only_if_the_strict_decoder_reads_them(inner):
    """Whatever is put between the brackets."""
    for data in (inner, b"{" + inner + b"}", b'{"a":' + inner + b"}", b'{"a":[' + inner + b"]}"):
        agrees(data)


@given(VALUES, st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_canonical_bytes_with_a_few_others_in_them(value, at, inserted):
    """As after an edit with a hex editor."""
    data = canonical.encode(value)
    agrees(data[:at] + inserted + data[at:])
    agrees(data[:at] + inserted + data[at + len(inserted) :])


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(1e16)
@example(5e-324)
@example(-0.0)
@example(1e23)
@example(9007199254740993.0)
def test_no_float_is_read_however_it_is_printed(number):
    """As Python, orjson and JavaScript print them; last, in the middle, in a list."""
    shortest = repr(number)
    for text in {shortest, shortest.replace("e+", "e"), orjson_text(number), f"{number:e}"}:
        for layout in ('{"a":%s}', '{"a":[%s]}', '{"a":[%s,1]}', '{"a":%s,"b":1}'):
            data = (layout % text).encode()
            if "." in text or "e" in text:
                assert fast_decode(data) is None
            else:
                agrees(data)


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**30])
def test_no_integer_beyond_the_range_is_read(number):
    """Some of them orjson would read as floats, silently."""
    assert fast_decode(b'{"a":%d}' % number) is None
    assert fast_decode(b'{"a":[%d,1]}' % number) is None


@pytest.mark.parametrize("number", [2**53 - 1, -(2**53) + 1, 0, -1])
def test_integers_to_the_ends_of_the_range_are_read(number):
    """The last ones on both sides."""
    assert fast_decode(b'{"a":%d}' % number) == {"a": number}


@pytest.mark.parametrize(("open_", "close"), [("[", "]"), ('{"a":', "}")])
def test_no_deeper_value_is_read_than_the_strict_decoder_reads(open_, close):
    """64 levels, the outermost object counted."""
    for depth in (1, 62, 63, 64, 65, 300, 2000, 100_000):
        data = b'{"a":' + open_.encode() * depth + close.encode() * depth + b"}"
        fast = fast_decode(data.replace(b'"a":}', b"}"))
        assert (fast is not None) == (depth <= 63)


def test_what_only_looks_like_a_float_is_read():
    """In a string the same characters are harmless, and must not be refused."""
    data = canonical.encode({"a": "of 7.5, or e-5} and e+5]"})

    assert agrees(data)
    assert decoding.decode(data) == {"a": "of 7.5, or e-5} and e+5]"}


@pytest.mark.parametrize("data", [b"", b"1", b'"a"', b"[]", b"null", b"[1]"])
def test_what_is_no_object_is_left_to_the_strict_decoder(data):
    """Entries and requests are objects; nothing else is worth being fast for."""
    assert fast_decode(data) is None


def test_what_nobody_can_read_is_refused_by_the_strict_decoder():
    """`decode` raises what `canonical.decode` raises."""
    with pytest.raises(canonical.NotCanonical, match="names one member twice"):
        decoding.decode(b'{"a":1,"a":1}')


def orjson_text(number):
    return decoding.orjson.dumps(number).decode()
