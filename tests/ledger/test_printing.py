# SPDX-License-Identifier: GPL-3.0-or-later
"""The fast ways give byte for byte what the plain ones give."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.commitments import commit_values
from ledger.printing import canonical_bytes
from sealtrail.verify import canonical
from sealtrail.verify.disclosure import commit

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(min_value=-(2**53) + 1, max_value=2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)
NAMES = st.sampled_from(["prompt.user", "inputs[0].sha256", "actor.subject_id", "net.ip"])


@given(VALUES)
def test_orjson_prints_what_the_plain_encoder_prints(value):
    """Any value that strict JSON allows has one spelling, whoever prints it."""
    assert canonical_bytes(value) == canonical.encode(value)


@pytest.mark.parametrize("code", [*range(0x80), 0x2028, 0x2029, 0xE000, 0xFFFF, 0x10000, 0x10FFFF])
def test_each_odd_character_is_printed_alike(code):
    """Control characters, separators and the ends of the planes are where encoders differ."""
    value = {f"k{chr(code)}": chr(code), "\ue000": 1, "\U00010000": 2}

    assert canonical_bytes(value) == canonical.encode(value)


@given(st.binary(min_size=32, max_size=32), st.dictionaries(NAMES, VALUES, max_size=4))
def test_commitments_are_those_of_the_plain_implementation(record_key, values):
    """Digests, their order, and every disclosure are equal."""
    assert commit_values(record_key, values) == commit(record_key, values)
