# SPDX-License-Identifier: GPL-3.0-or-later
"""Columns that are sent as PostgreSQL's own arrays: PostgreSQL reads back what was put in."""

import uuid

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import arrays

_BIG = st.integers(-(2**63), 2**63 - 1)
_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@pytest.fixture(scope="module")
def connection(postgres):
    with psycopg.connect(postgres.url(), autocommit=True) as made:
        yield made


def read_back(connection, array, type_):
    (found,) = connection.execute(f"SELECT %b::{type_}[]", (array,)).fetchone()
    return found


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    numbers=st.lists(_BIG, max_size=40),
    gaps=st.lists(st.none() | _BIG, max_size=40),
    data=st.lists(st.binary(max_size=60), max_size=40),
    hashes=st.lists(st.binary(min_size=32, max_size=32), max_size=40),
    words=st.lists(_TEXT, max_size=40),
    holes=st.lists(st.none() | _TEXT, max_size=40),
    ids=st.lists(st.uuids(), max_size=40),
)
def test_postgresql_reads_what_was_put_in(
    connection, *, numbers, gaps, data, hashes, words, holes, ids
):
    """Every type, empty arrays, nulls, empty values, the smallest and the largest number."""
    assert read_back(connection, arrays.bigints(numbers), "bigint") == numbers
    assert read_back(connection, arrays.optional_bigints(gaps), "bigint") == gaps
    assert read_back(connection, arrays.byteas(data), "bytea") == data
    assert read_back(connection, arrays.hashes(hashes), "bytea") == hashes
    assert read_back(connection, arrays.texts(words), "text") == words
    assert read_back(connection, arrays.optional_texts(holes), "text") == holes
    sent = arrays.uuids([str(one) for one in ids])
    assert read_back(connection, sent, "uuid") == [uuid.UUID(str(one)) for one in ids]


def test_a_hash_of_another_length_is_refused():
    """Its bytes would be taken for the next one's length."""
    with pytest.raises(ValueError, match="32"):
        arrays.hashes([b"x" * 31, b"y" * 33])
