# SPDX-License-Identifier: GPL-3.0-or-later
"""What a completeness report of either kind may say."""

import pytest
from own_bodies import FINAL, REPORT

from ledger import catalog
from ledger.errors import MalformedEvent

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def test_a_final_report_has_every_outcome_and_a_provisional_one_none():
    """Attempts = gen + deny + error, and their tree; or the open ones by name."""
    catalog.validate("COMPLETENESS_REPORT", 1, FINAL, {}, by_ledger=True)

    for wrong in (
        FINAL | {"counts": {**FINAL["counts"], "attempts": 7}},
        FINAL | {"open_count": 0},
        FINAL | {"open": []},
        {name: value for name, value in FINAL.items() if name != "outcomes"},
        {name: value for name, value in FINAL.items() if name != "as_of"},
        {name: value for name, value in REPORT.items() if name != "open_count"},
        REPORT | {"outcomes": FINAL["outcomes"]},
        REPORT | {"outputs": FINAL["outputs"]},
        REPORT | {"from_size": 10},
    ):
        with pytest.raises(MalformedEvent) as refusal:
            catalog.validate("COMPLETENESS_REPORT", 1, wrong, {}, by_ledger=True)
        assert {(one.pointer, one.rule) for one in refusal.value.errors} == {("/body", "kind")}
