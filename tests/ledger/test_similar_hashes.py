# SPDX-License-Identifier: GPL-3.0-or-later
"""Perceptual hashes: how they are spelled, and why no near one is missed."""

import base64

import iscc_lib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.similar.hashes import LENGTHS, WITHIN_MAX, Hash, bands, distance, flips, near, parse

pytestmark = pytest.mark.once

ZERO = {
    64: "ISCC:EEAQAAAAAAAAAAAA",
    256: "ISCC:EEDQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
}


@pytest.mark.parametrize("bits", LENGTHS["iscc"])
def test_an_image_code_is_read_as_its_makers_read_it(bits):
    """Header and base32 are those of ISO 24138, by its own library."""
    spelled = iscc_lib.gen_image_code_v0(bytes(range(256)) * 4, bits=bits)["iscc"]

    found = parse("iscc", spelled)

    assert found.data == iscc_lib.iscc_decode(spelled)[-1]
    assert found.bits == bits


def test_a_short_image_code_is_the_beginning_of_a_longer_one():
    """So the two can be compared over the bits that both have."""
    pixels = bytes(range(256)) * 4
    short, long = (
        parse("iscc", iscc_lib.gen_image_code_v0(pixels, bits=bits)["iscc"]) for bits in (64, 256)
    )

    assert long.data.startswith(short.data)
    assert distance(short.data, long.data) == 0


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("iscc", "ISCC:KECYCMZIOY36XXGZ5B6QQUFHZ7GTA6ZXQQ3FTM6E"),  # A composite ISCC-CODE.
        ("iscc", "ISCC:EAAQMBEYQF6457DP"),  # A text.
        ("iscc", ZERO[64].lower()),
        ("iscc", ZERO[64] + "="),
        ("iscc", ZERO[256][:-1] + "B"),  # Bits that no byte has.
        ("iscc", ZERO[256][5:]),
        ("pdq", "0" * 63),
        ("pdq", "0" * 62),
        ("pdq", "A" * 64),
        ("pdq", "٣" * 64),
        ("phash", "0" * 64),
        ("dhash", "0" * 16),
        ("", ""),
    ],
)
def test_another_kind_or_spelling_is_none_of_ours(kind, value):
    """Whatever a client calls a fingerprint is recorded; only what we can compare is searched."""
    assert parse(kind, value) is None


@given(
    kind_bits=st.sampled_from([("pdq", 256), ("phash", 64), ("iscc", 128)]),
    within=st.integers(0, WITHIN_MAX),
    data=st.data(),
)
def test_what_is_near_shares_a_band(kind_bits, within, data):
    """The pigeonhole: whichever bits differ, one of the bands looked up holds the other hash."""
    bits = kind_bits[1]
    first = data.draw(st.binary(min_size=bits // 8, max_size=bits // 8))
    most = within * bits // 256
    places = data.draw(st.sets(st.integers(0, bits - 1), min_size=min(most, 1), max_size=most))
    mask = sum(1 << place for place in places)
    second = (int.from_bytes(first, "big") ^ mask).to_bytes(bits // 8, "big")

    found = [
        other in near(band, flips(within))
        for band, other in zip(bands(first), bands(second), strict=True)
    ]

    assert distance(first, second) == len(places)
    assert any(found)


@pytest.mark.parametrize(("within", "most"), [(0, 0), (15, 0), (16, 1), (31, 1), (32, 2), (47, 2)])
def test_a_band_is_looked_up_as_far_as_the_pigeonhole_needs(within, most):
    """One bit less would miss a hash that has one bit more than that in every band."""
    assert flips(within) == most
    assert 16 * (most + 1) > within >= 16 * most


def test_all_that_is_near_a_band_and_no_more():
    """17 values within one bit, 137 within two, each once and each a smallint."""
    for band in (0, -1, 0x7FFF, -0x8000, 12345):
        for most, count in ((0, 1), (1, 17), (2, 137)):
            found = near(band, most)

            assert len(set(found)) == len(found) == count
            assert all((one ^ band).__and__(0xFFFF).bit_count() <= most for one in found)
            assert all(-0x8000 <= one <= 0x7FFF for one in found)


@pytest.mark.parametrize(("ones", "flat"), [(0, True), (63, True), (64, False), (128, False)])
def test_what_shows_nothing_is_told_by_its_bits(ones, flat):
    """An even grey has no frequencies; as many ones as zeros missing is as strange."""
    bits = ((1 << ones) - 1).to_bytes(32, "big")
    others = bytes(byte ^ 0xFF for byte in bits)

    assert Hash("pdq", bits).flat is flat
    assert Hash("pdq", others).flat is flat


def test_the_example_spellings_are_what_they_seem():
    """Made by hand from the standard's header, read by our reader."""
    for bits, spelled in ZERO.items():
        raw = base64.b32decode(spelled[5:] + "=" * (-len(spelled[5:]) % 8))

        assert parse("iscc", spelled).data == bytes(bits // 8) == raw[2:]
