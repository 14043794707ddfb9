# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealed content: the construction, held against a naive second one, and what it refuses."""

import hmac
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from ledger.archive.stream import (
    PIECE_BYTES,
    TAG_BYTES,
    ContentDamaged,
    content_size,
    seal,
    seal_facts,
    sealed_size,
    unseal,
    unseal_facts,
)

KEY = bytes(range(32))
SIZES = (0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, 200_000)


def content_of(size):
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def sealed(content, aad=b"one"):
    return b"".join(seal(KEY, [content], aad=aad))


def opened(data, key=KEY, aad=b"one", step=70_001):
    chunks = [data[i : i + step] for i in range(0, len(data), step)]
    return b"".join(unseal(key, chunks, aad=aad))


def naive(content, aad):
    """The docstring of ledger/archive/stream.py, word by word."""
    key = hmac.new(KEY, b"sealtrail.artifact.content.v1\0", sha256).digest()
    pieces = [content[i : i + PIECE_BYTES] for i in range(0, len(content), PIECE_BYTES)] or [b""]
    return b"".join(
        AESGCM(key).encrypt(
            i.to_bytes(11, "big") + bytes([i == len(pieces) - 1]),
            piece,
            b"sealtrail.artifact.v1\0" + aad,
        )
        for i, piece in enumerate(pieces)
    )


@pytest.mark.parametrize("size", SIZES)
def test_content_is_sealed_as_the_page_says(size):
    """A second implementation gives the same bytes, and the length is known beforehand."""
    data = sealed(content_of(size))

    assert data == naive(content_of(size), b"one")
    assert opened(data) == content_of(size)
    assert sealed_size(size) == len(data)
    assert content_size(len(data)) == size


@given(st.lists(st.binary(max_size=40_000), max_size=6))
def test_how_content_is_cut_into_chunks_changes_nothing(chunks):
    """The pieces are the construction's own."""
    assert b"".join(seal(KEY, chunks, aad=b"")) == sealed(b"".join(chunks), aad=b"")


@pytest.mark.parametrize("size", SIZES)
def test_a_changed_a_cut_and_a_longer_stream_are_refused(size):
    """Whichever bit, wherever the end."""
    data = sealed(content_of(size))
    cut_at = {1, TAG_BYTES, PIECE_BYTES + TAG_BYTES, len(data) - 1} - {len(data)}
    wrong = [data[:-1] + bytes([data[-1] ^ 1]), bytes([data[0] ^ 1]) + data[1:], data + b"\0"]
    wrong += [data[:-n] for n in cut_at if n <= len(data)] + [b"", data + data]

    for one in wrong:
        with pytest.raises(ContentDamaged):
            opened(one)


def test_pieces_cannot_change_places_or_go_to_another_artifact():
    """Number, end and owner of each piece are bound."""
    data, step = sealed(content_of(3 * PIECE_BYTES)), PIECE_BYTES + TAG_BYTES
    first, second, third = (data[i * step : (i + 1) * step] for i in range(3))

    for one in (second + first + third, first + third, first + second, first + first + third):
        with pytest.raises(ContentDamaged):
            opened(one)
    with pytest.raises(ContentDamaged):
        opened(data, aad=b"two")
    with pytest.raises(ContentDamaged):
        opened(data, key=bytes(32))


def test_an_empty_last_piece_is_refused_behind_others():
    """One content has one sealed form: our own key could print another."""
    key = hmac.new(KEY, b"sealtrail.artifact.content.v1\0", sha256).digest()
    aad = b"sealtrail.artifact.v1\0one"
    forged = AESGCM(key).encrypt(bytes(12), bytes(PIECE_BYTES), aad) + AESGCM(key).encrypt(
        (1).to_bytes(11, "big") + b"\1", b"", aad
    )

    with pytest.raises(ContentDamaged):
        opened(forged)


@pytest.mark.parametrize("size", [0, 1, TAG_BYTES - 1, PIECE_BYTES + TAG_BYTES + 5])
def test_a_length_that_nothing_is_sealed_to_is_refused(size):
    with pytest.raises(ContentDamaged):
        content_size(size)


def test_facts_are_sealed_each_under_a_key_of_its_own():
    """A digest is not opened as a preview, nor for another artifact."""
    data = seal_facts(KEY, "facts", b"digest", aad=b"one")

    assert unseal_facts(KEY, "facts", data, aad=b"one") == b"digest"
    for key, what, aad in (
        (KEY, "preview", b"one"),
        (KEY, "facts", b"two"),
        (bytes(32), "facts", b"one"),
    ):
        with pytest.raises(ContentDamaged):
            unseal_facts(key, what, data, aad=aad)
