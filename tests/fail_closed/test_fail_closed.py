# SPDX-License-Identifier: GPL-3.0-or-later
"""Every integration while the ledger is away, and docs/fail-closed.md, which says what they did."""

import pytest
from closed_matrix import PAGE, behaviour, broken, line, named, observed
from closed_rows import rows
from closed_world import world

pytestmark = [
    pytest.mark.once,
    # LiteLLM and the SDKs warn of their own future; what is asked here is whether they hold.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

ROWS = rows()


@pytest.fixture(scope="module")
def shared():
    with world() as made:
        yield made


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.__module__[5:]}-{row.__name__}")
def test_a_row_does_what_it_promises_and_the_page_says_it(row, shared):
    """Before the call: no call at all. Behind it: one call, and no output. After a change of a row:
    python tests/fail_closed/closed_matrix.py
    """
    if row.missing() is not None:
        pytest.skip(f"{row.missing()} is not installed")
    found = observed(row, shared)
    assert broken(row, found) == []
    on_page = named(PAGE.read_text("utf-8")).get(row.name)
    assert on_page is not None
    assert behaviour(on_page) == behaviour(line(row, found))


def test_the_page_has_all_rows_and_no_others():
    """Also those of libraries that are not installed here; a row that is gone leaves the page."""
    from closed_matrix import READ_ONLY

    on_page = set(named(PAGE.read_text("utf-8"))) - {"integration", "---", "hook"}
    assert on_page == {row.name for row in ROWS} | (set(READ_ONLY) & on_page)
    assert all(row.reason for row in ROWS if not row.holds)


def test_a_row_that_lets_a_call_by_would_be_found(shared):
    """The matrix can fail: a row that calls its model first and records afterwards."""
    from closed_rows import Row

    class Careless(Row):
        def run(self, at):
            made = at.model()
            with at.trail.gen(model="acme/painter") as call:
                call.output(made)
            at.release(made)

    problems = broken(Careless, observed(Careless, shared))
    assert [one.partition(":")[0] for one in problems] == ["down-before", "slow", "garbage"]
