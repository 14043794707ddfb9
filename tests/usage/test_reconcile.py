# SPDX-License-Identifier: GPL-3.0-or-later
"""An invoice held against the record."""

import io
from decimal import Decimal

import pytest
from house import attempt, deny, gen

from ledger import clock
from ledger.errors import TooLarge
from ledger.readmodel.follower import catch_up
from ledger.usage import reconcile
from ledger.usage.invoice import charges
from ledger.usage.reconcile import Reconciliation, Terms

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def call(house, request_id=None, *, provider="acme", outcome=gen, **used):
    start = attempt()
    start["body"]["model"]["provider"] = provider
    done = outcome(start["aggregate_id"])
    if request_id is not None:
        done["body"]["provider"] = {"request_id": request_id, "model_returned": "painter-3-q"}
    if used:
        done["body"]["usage"] = used
    house.post(start)
    house.post(done)
    return done["event_id"]


def held(house, text, *, form="csv", **terms):
    """Return the findings as (kind, line, event id) and the summary."""
    catch_up(house.database, house.schema, ["lineage"])
    work = Reconciliation(house.database, house.schema, Terms(**terms))
    found = list(work.findings(charges(io.BytesIO(text.encode()), form)))
    return found, work.summary.json()


def kinds(found):
    return [(one.kind, one.line, one.event_id) for one in found]


def test_charges_are_matched_by_the_provider_s_id(house):
    """Matched, differing, missing here, missing there, malformed: each of them by its line."""
    same = call(house, "req_1", cost="0.040", currency="EUR", input_tokens=12)
    other = call(house, "req_2", cost="0.05", currency="EUR", input_tokens=12)
    lacks = call(house, "req_3", cost="0.06", currency="EUR")
    call(house, "req_4", outcome=deny)  # It used nothing, so nobody charges for it.
    text = (
        "request_id,cost,currency,input_tokens\n"
        "req_1,0.04,EUR,12\n"
        "req_2,0.07,EUR,13\n"
        "req_9,0.01,EUR,1\n"
        "req_1,0.04,EUR,12\n"
        "req_5,=1+1,EUR,1\n"
    )

    found, summary = held(house, text)

    assert sorted(kinds(found), key=lambda one: one[1] or 99) == [
        ("matched", 2, same),
        ("differs", 3, other),
        ("missing-here", 4, None),
        ("missing-here", 5, None),
        ("malformed", 6, None),
        ("missing-there", None, lacks),
    ]
    differs = next(one for one in found if one.kind == "differs")
    assert differs.differing == (("input_tokens", "12", "13"), ("cost", "0.05", "0.07"))
    assert [one.detail for one in found if one.line in (4, 5)] == [
        "no such request",
        "its outcome accounts for an earlier line",
    ]
    assert summary == {
        "counts": {
            "matched": 1, "differs": 1, "missing-here": 2, "missing-there": 1, "malformed": 1,
        },
        "recorded": {"EUR": "0.09"},
        "charged": {"EUR": "0.16"},
        "providers": ["acme"],
    }  # fmt: skip


def test_a_tolerance_allows_for_rounding(house):
    """To the last digit, and not one beyond it."""
    call(house, "req_1", cost="0.0449", currency="EUR")
    text = "request_id,cost,currency\nreq_1,0.04,EUR\n"

    exact, _ = held(house, text, tolerance=Decimal("0.0049"))
    short, _ = held(house, text, tolerance=Decimal("0.0048"))

    assert [one.kind for one in exact] == ["matched"]
    assert [one.kind for one in short] == ["differs"]


def test_without_an_id_time_model_and_tokens_decide(noon):
    """The nearest of several alike, each for one charge; another model is another call."""
    first = call(noon, input_tokens=5, cost="1", currency="EUR")
    noon.now_ms.move(seconds=30)
    second = call(noon, input_tokens=5, cost="1", currency="EUR")
    call(noon, input_tokens=6, cost="1", currency="EUR")
    at = clock.rfc3339(noon.now_ms() + 1_000)
    text = f"timestamp,model,input_tokens,cost\n{at},painter,5,1\n{at},painter,5,1\n{at},x,6,1\n"

    found, _ = held(noon, text)

    assert kinds(found)[:3] == [
        ("matched", 2, second),
        ("matched", 3, first),
        ("missing-here", 4, None),
    ]
    late = clock.rfc3339(noon.now_ms() + 1_000_000)
    found, _ = held(noon, f"timestamp,model,input_tokens\n{late},painter,5\n")
    assert found[0].kind == "missing-here"


def test_a_line_over_a_day_is_held_against_its_sum(noon):
    """Calls, tokens and money of one model; what no line is about is missing there."""
    call(noon, input_tokens=5, cost="1", currency="EUR")
    call(noon, input_tokens=7, cost="2.5", currency="EUR")
    noon.now_ms.move(days=1)
    lacks = call(noon, input_tokens=1, cost="9", currency="EUR")
    day = clock.day_of(noon.now_ms() - clock.DAY_MS)
    header = "date,model,input_tokens,requests,cost,currency\n"
    end = noon.now_ms() + clock.DAY_MS

    right, summary = held(noon, f"{header}{day},painter,12,2,3.5,EUR\n", to_ms=end)
    wrong, _ = held(noon, f"{header}{day},painter,12,3,3.5,EUR\n")

    assert kinds(right) == [("matched", 2, None), ("missing-there", None, lacks)]
    assert summary["recorded"] == {"EUR": "3.5"}
    assert wrong[0].differing == (("requests", "2", "3"),)


def test_other_providers_calls_are_not_missed(house):
    """An invoice is one provider's: whose it is comes from what was matched, or from the terms."""
    call(house, "req_1", cost="1", currency="EUR")
    call(house, "req_2", provider="other", cost="1", currency="EUR")
    text = "request_id,cost,currency\nreq_1,1,EUR\n"

    mine, _ = held(house, text)
    theirs, _ = held(house, text, providers=("other",), from_ms=0)

    assert [one.kind for one in mine] == ["matched"]
    assert [one.kind for one in theirs] == ["matched", "missing-there"]


def test_an_invoice_of_endless_spans_is_refused(house, monkeypatch):
    """Each has to be remembered, so their number has a bound."""
    monkeypatch.setattr(reconcile, "SPANS_MAX", 3)
    days = "".join(f"2026-01-0{n},m,1\n" for n in range(1, 6))

    with pytest.raises(TooLarge):
        held(house, f"date,model,cost\n{days}")


def test_currencies_of_one_span_are_compared_apart(noon):
    """Amounts are never added across currencies; each line is about what was paid in its own."""
    call(noon, input_tokens=5, cost="1", currency="EUR")
    call(noon, input_tokens=7, cost="2.5", currency="USD")
    day = clock.day_of(noon.now_ms())
    header = "date,model,input_tokens,cost,currency\n"
    euros, dollars = f"{day},painter,5,1,EUR\n", f"{day},painter,7,2.5,USD\n"
    pounds = f"{day},painter,12,3.5,GBP\n"

    both, summary = held(noon, header + euros + dollars)
    euro, _ = held(noon, header + euros)
    other, _ = held(noon, header + pounds)

    assert [one.kind for one in both] == ["matched", "matched"]
    assert summary["recorded"] == {"EUR": "1", "USD": "2.5"}
    assert [one.kind for one in euro] == ["matched", "missing-there"]
    assert other[0].differing == (("currency", "EUR, USD", "GBP"),)
