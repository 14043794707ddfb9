# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests are read fast only where the strict parser reads the same, in any layout."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_decoding import PIECES, VALUES

from ledger.decoding import fast_parse
from sealtrail.verify import canonical

LAYOUTS = st.sampled_from(
    [
        {},
        {"separators": (",", ":")},
        {"indent": 1},
        {"ensure_ascii": False},
        {"separators": (" ,\t", " :\n"), "ensure_ascii": False},
    ]
)


def agrees(data):
    """Hold the fast parser against the strict one; say if it was fast."""
    value = fast_parse(data)
    if value is not None:
        strict = canonical.parse(data)
        assert repr(strict) == repr(value)  # True is not 1 here, nor 1.0.
    return value is not None


@given(VALUES, LAYOUTS)
def test_a_request_in_any_layout_is_read_alike(value, layout):
    """As the printers of this world write it."""
    data = json.dumps(value, **layout).encode()

    agrees(data)


def test_an_ordinary_request_is_read_fast():
    """Compact or spaced, with characters of any script."""
    value = {"event_id": "0190-0abc", "n": -7, "ok": True, "body": {"a": ["é", "7.5", "1e5", None]}}
    assert agrees(json.dumps(value, ensure_ascii=False).encode())
    assert agrees(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


@given(st.lists(PIECES, max_size=12).map(b"".join))
@example(b'"a":1,"a":1')
@example(b'"a" : 1 , "a" :1')
@example(b'"a":{"b":1,"b":":"}')
@example(b'"a":[-0,-1]')
@example(b'"a":1e400')
@example(b'"a":-1e400')
@example(b'"a":1e-400')
def test_what_the_strict_parser_refuses_is_never_read(inner):
    """Duplicate names, -0, floats, numbers out of range, whatever is put between the brackets."""
    for data in (inner, b"{" + inner + b"}", b'{"a":' + inner + b"}", b'{"a":[' + inner + b"]}"):
        agrees(data)


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(1e16)
@example(5e-324)
@example(-0.0)
@example(1e23)
def test_no_float_is_read_however_it_is_written(number):
    """Python's spelling, with and without signs, with many digits, in capitals."""
    shortest = repr(number)
    for text in {
        shortest,
        shortest.replace("e+", "e"),
        f"{number:e}",
        f"{number:E}",
        f"{number:f}",
    }:
        for layout in ('{"a":%s}', '{"a": [ %s ]}', '{"a":[%s,1]}', '{"a":%s ,"b":1}'):
            assert fast_parse((layout % text).encode()) is None


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**63, 2**64 - 1, 2**64, 10**30])
def test_no_integer_beyond_the_range_is_read_from_a_request(number):
    """Some of them orjson would read as floats, silently."""
    assert fast_parse(b'{"a":%d}' % number) is None


@given(VALUES, st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_a_request_with_a_few_other_bytes_in_it(value, at, inserted):
    """Whatever a line did to it."""
    data = json.dumps(value, ensure_ascii=False).encode()
    agrees(data[:at] + inserted + data[at:])
    agrees(data[:at] + inserted + data[at + len(inserted) :])
