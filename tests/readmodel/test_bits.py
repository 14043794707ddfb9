# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of positions: one spelling each, and every operation that search makes of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.readmodel import bits

pytestmark = pytest.mark.once

offsets = st.sets(st.integers(0, bits.BLOCK - 1), min_size=1, max_size=40)


@given(offsets)
def test_a_set_is_printed_and_read_again(some):
    """Sparse ones as offsets, and membership is seen without reading all of it."""
    mask = bits.mask_of(some)
    packed = bits.pack(mask)

    assert bits.unpack(packed) == mask
    assert list(bits.offsets_of(mask)) == sorted(some)
    assert list(bits.offsets_of(mask, descending=True)) == sorted(some, reverse=True)
    assert sorted(bits.hits(packed, {*range(4096)})) == sorted(some & {*range(4096)})
    assert len(packed) == 2 * len(some)


@given(offsets, st.integers(0, bits.BLOCK - 1))
def test_what_is_not_in_a_set_is_not_found_in_it(some, other):
    """Neither where it is nearly the same, nor where bytes of two offsets look like it."""
    packed = bits.pack(bits.mask_of(some))

    assert bits.hits(packed, {other}) == [other] * (other in some)


@pytest.mark.parametrize("count", [511, 512, bits.BLOCK])
def test_many_are_a_bitmap(count):
    """The spelling changes where the bitmap is no longer than the list."""
    mask = bits.mask_of(range(count))
    packed = bits.pack(mask)

    assert len(packed) == min(2 * count, bits.BLOCK // 8)
    assert bits.unpack(packed) == mask
    assert set(bits.hits(packed, {3, bits.BLOCK - 1})) == {3, bits.BLOCK - 1} & {*range(count)}


@pytest.mark.parametrize("data", [b"\x00", b"\xff\xff", bytes(1026)])
def test_a_row_that_is_none_of_ours_is_refused(data):
    with pytest.raises(bits.BitsDamaged):
        bits.unpack(data)


def test_a_stretch_is_cut_to_its_block():
    assert bits.between(-5, 2) == 0b11
    assert bits.between(8190, 9000) == 0b11 << 8190
    assert bits.between(5, 5) == 0
