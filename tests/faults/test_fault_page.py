# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault matrix is whole, and docs/faults.md says what its tests say."""

import pytest
from matrix import DEPENDENCIES, KINDS, NOT_PERSISTED, PAGE, PERSISTED, page, rows

#: What every dependency is tested for, beyond the two rows of each of its writes.
ASKED = {
    "PostgreSQL": {"two in a row", "full disk", "read-only disk", "gone", "slow", "crowd"},
    "Checkpoint store": {"two in a row", "full disk", "read-only disk", "gone", "older backup"},
    "Time-stamp authority": {"two in a row", "gone", "silent for days", "lies"},
    "Archive directory": {"two in a row", "full disk", "read-only disk", "clock back"},
    "Keystore": {"full disk"},
    "Clocks": {"clock back"},
    "Two instances": {"two instances"},
    "Books": {"damage"},
    "Callers": {"slow", "crowd"},
}


def test_the_page_is_what_the_tests_say():
    """After a change: python tests/faults/matrix.py"""
    assert PAGE.read_text("utf-8") == page()


def test_every_row_says_what_becomes_of_everything():
    for row in rows():
        assert row.dependency in DEPENDENCIES
        assert row.fault.endswith("."), row.test
        assert {"Kind", "Ingest", "Lost", "Operator"} <= set(row.fields), row.test
        assert row.fields["Kind"] in KINDS, row.test
        assert ("Write" in row.fields) == (row.fields["Kind"] in (NOT_PERSISTED, PERSISTED))
        assert all(row.fields.values()), row.test


def test_each_write_has_both_rows():
    """Failed and not persisted; reported as failed, but persisted."""
    kinds: dict[tuple[str, str], set[str]] = {}
    for row in rows():
        if "Write" in row.fields:
            write = (row.dependency, row.fields["Write"])
            kinds.setdefault(write, set()).add(row.fields["Kind"])

    assert len(kinds) >= 6
    assert all(found == {NOT_PERSISTED, PERSISTED} for found in kinds.values())


@pytest.mark.parametrize("dependency", ASKED)
def test_no_fault_that_was_asked_for_is_missing(dependency):
    found = {row.fields["Kind"] for row in rows() if row.dependency == dependency}

    assert ASKED[dependency] <= found
