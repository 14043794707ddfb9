# SPDX-License-Identifier: GPL-3.0-or-later
"""The completeness cases of CAP, lived through by this ledger instead of checked afterwards.

What such a case finds in a list of events, this ledger does not let happen (an outcome without its
attempt, a second outcome) or names in the day's report (an attempt without an outcome).
"""

import json
from pathlib import Path

import pytest
from house import attempt, deny, error, gen

from anchoring.completeness import reports_of
from anchoring.night import Night
from ledger import clock
from ledger.lifecycle import OutOfOrder
from ledger.outcome import Recorded

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

CASES = (
    Path(__file__).resolve().parents[2]
    / ".." / "shared" / "vectors" / "cap-spec" / "test-vectors" / "completeness"
)  # fmt: skip
FILES = ["test-001-valid-chain", "test-002-missing-outcome", "test-003-orphan-outcome"]

#: How the outcomes that CAP knows end an attempt here.
OUTCOMES = {"GEN": gen, "GEN_DENY": deny, "GEN_ERROR": error}


@pytest.fixture(params=FILES)
def case(request):
    file = CASES / f"{request.param}.json"
    if not file.is_file():
        pytest.skip("the public cases of CAP (shared/vectors) are not here")
    return json.loads(file.read_text())


def request_of(event):
    """The event as a pipeline sends it here; an attempt's id is that of its GEN_ATTEMPT."""
    if event["EventType"] == "GEN_ATTEMPT":
        return attempt(event["EventID"])
    return OUTCOMES[event["EventType"]](event["AttemptID"])


def live(house, events):
    """Send all of it, one after the other; returns the ids of what was refused."""
    refused = []
    for event in events:
        (outcome,) = house.post(request_of(event))
        if not isinstance(outcome, Recorded):
            assert isinstance(outcome, OutOfOrder)
            refused.append(event["AttemptID"])
    return refused


def reported(house):
    """The bodies of the day's reports, by kind, after the night."""
    day = clock.day_of(house.now_ms())
    house.now_ms.move(days=1)
    list(Night(house.book, []).catch_up(house.now_ms()))
    return {
        kind: stored.entry.value["body"] for kind, stored in reports_of(house.book, day).items()
    }


def test_a_case_ends_as_cap_says_it_must(noon, case):
    """Valid: the final report has its numbers. Hidden outcome: named as open. Orphan: refused."""
    expected = case["expectedResult"]

    refused = live(noon, case["events"])
    reports = reported(noon)

    orphans = expected.get("orphanOutcomes", [])
    attempted = {one["EventID"] for one in case["events"] if one["EventType"] == "GEN_ATTEMPT"}
    ended = {one["AttemptID"] for one in case["events"] if "AttemptID" in one}
    open_ids = [one["attempt_id"] for one in reports["provisional"]["open"]]
    assert refused == orphans
    assert open_ids == sorted(attempted - ended)
    assert ("final" in reports) == (not open_ids)
    assert expected["valid"] == (not refused and not open_ids)
    if expected["valid"]:
        counts, breakdown = reports["final"]["counts"], expected["outcomeBreakdown"]
        assert counts["attempts"] == expected["attemptCount"]
        assert (counts["gen"], counts["deny"]) == (breakdown["GEN"], breakdown["GEN_DENY"])
    assert set(expected.get("missingOutcomes", [])) <= set(open_ids)


def test_a_second_outcome_is_refused(noon):
    """CAP describes this case, too, and has no file for it."""
    start = attempt()
    events = [
        {"EventType": "GEN_ATTEMPT", "EventID": start["aggregate_id"]},
        {"EventType": "GEN_DENY", "AttemptID": start["aggregate_id"]},
        {"EventType": "GEN", "AttemptID": start["aggregate_id"]},
    ]

    assert live(noon, events) == [start["aggregate_id"]]
    assert reported(noon)["final"]["counts"]["deny"] == 1
