# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/search.md says of each key and flag what the code says."""

import describe
import pytest

from ledger.readmodel.keys import KEYS
from ledger.readmodel.query import parse

pytestmark = pytest.mark.once


def test_the_tables_of_keys_and_flags_are_current():
    """`python tests/describe.py` was run after the last change."""
    page = describe.SEARCH.read_text("utf-8")

    assert page == describe.search_page(page)
    assert all(f"| `{name}` |" in page for name in KEYS)


@pytest.mark.parametrize("name", KEYS)
def test_the_example_of_a_key_is_a_query(name):
    """But for ids that are cut short, whoever copies one gets an answer."""
    example = KEYS[name].example
    shown = example.replace("event:0199…", "event:0198d2a0-0000-7000-8000-000000000001")

    assert parse(shown)[0].key == name
