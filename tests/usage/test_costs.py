# SPDX-License-Identifier: GPL-3.0-or-later
"""What calls cost: exact, by currency, and by persons and sessions that nobody can read in SQL."""

from decimal import Decimal

import pytest
from house import attempt, deny, error, gen

from ledger import clock
from ledger.readmodel.follower import catch_up
from ledger.usage.costs import ERASED, UNKNOWN, Question, printed, usage

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

MODEL = ("acme", "painter", "3")


def call(house, outcome=gen, *, person="employee-7", session=None, sealed=None, **used):
    """Record a call and what it used; returns the outcome as it was sent."""
    start = attempt(on_behalf_of=person)
    if session is not None:
        start["sealed"]["actor.session_id"] = session
    done = outcome(start["aggregate_id"], on_behalf_of=person)
    if used:
        done["body"]["usage"] = used
    if sealed is not None:
        done["sealed"] = sealed
    house.post(start)
    house.post(done)
    return done


def groups(house, by, **changes):
    catch_up(house.database, house.schema, ["lineage"])
    question = Question(by, 0, clock.now_ms() + clock.DAY_MS)._replace(**changes)
    return usage(house.database, house.schema, house.book.vault, question)


def money(group):
    return {one.currency: printed(one.cost) for one in group.money.values()}


def test_costs_add_up_exactly_and_apart_by_currency(house):
    """Thirty-six digits and no float; an amount without a currency is its own kind."""
    call(house, cost="0.1", currency="EUR", input_tokens=3)
    call(house, cost="0.2", currency="EUR", output_tokens=5)
    call(house, cost="999999999999999999.000000000000000001", currency="USD")
    call(house, cost="0.000000000000000001", currency="USD", images=2)
    call(house, deny, cost="1")
    call(house, error, input_tokens=7)
    call(house)  # It says nothing, so it is not here.

    (group,) = groups(house, "model")

    assert group.key == MODEL
    assert money(group) == {"EUR": "0.3", "USD": "999999999999999999.000000000000000002", None: "1"}
    assert (group.calls, group.input_tokens, group.output_tokens, group.images) == (6, 10, 5, 2)
    assert group.money["EUR"].calls == 2


def test_days_are_those_of_the_record(noon):
    """By the ledger's clock, in UTC; a range ends before its end."""
    first = clock.day_of(noon.now_ms())
    call(noon, cost="1", currency="EUR")
    noon.now_ms.move(days=1)
    start = noon.now_ms()
    call(noon, cost="2", currency="EUR")

    found = groups(noon, "day")

    assert {one.key[0]: money(one)["EUR"] for one in found} == {
        first: "1",
        clock.day_of(start): "2",
    }
    assert [one.key[0] for one in groups(noon, "day", to_ms=start)] == [first]
    assert groups(noon, "day", from_ms=start + 1) == []


def test_persons_are_random_names_and_sessions_blind_indexes(house):
    """Neither name is anywhere in the answer; both lead to what was asked for."""
    call(house, person="anna", session="s-1", cost="1", currency="EUR")
    call(house, person="anna", session="s-1", cost="2", currency="EUR")
    call(house, person="bert", session="s-2", cost="4", currency="EUR")

    persons, sessions = groups(house, "person"), groups(house, "session")

    anna = house.book.vault.subject_of("anna").ref
    assert persons[0].key == (str(anna),)
    assert [money(one)["EUR"] for one in persons] == ["3", "4"]
    assert [money(one)["EUR"] for one in sessions] == ["3", "4"]
    opened = house.book.vault.open(sessions[0].event_id, ["actor.session_id"])
    assert opened.values == {"actor.session_id": "s-1"}
    assert "anna" not in repr(persons + sessions)
    only = groups(house, "model", person=anna)
    assert [money(one)["EUR"] for one in only] == ["3"]
    found = house.book.vault.find("actor.session_id", "s-2")
    assert [money(one)["EUR"] for one in groups(house, "day", session=found)] == ["4"]


def test_who_is_shown_in_a_picture_did_not_pay_for_it(house):
    """An outcome with values of two persons counts for the one who called."""
    start = attempt(on_behalf_of="anna")
    done = error(
        start["aggregate_id"],
        on_behalf_of="anna",
        subjects={"depicted": "carla"},
        sealed={"error.message": "out of memory"},
    )
    done["body"]["usage"] = {"cost": "5", "currency": "EUR"}
    house.post(start)
    house.post(done)

    (group,) = groups(house, "person")

    assert group.key == (str(house.book.vault.subject_of("anna").ref),)


def test_what_the_client_keeps_is_nobodys_here(house):
    """Under producer custody the ledger has no person to group by."""
    catch_up(house.database, house.schema, ["lineage"])
    call(house, cost="1", currency="EUR")
    with house.owner() as owner:
        owner.execute(f"DELETE FROM {house.schema}.sealed")
        owner.execute(f"DELETE FROM {house.schema}.blind")

    assert [one.key for one in groups(house, "person")] == [(UNKNOWN,)]
    assert [one.key for one in groups(house, "session")] == [(UNKNOWN,)]


def test_the_erased_are_one_group(house):
    """After an erasure its calls are still counted, and nobody can say whose they were."""
    call(house, person="anna", session="s-1", cost="1", currency="EUR")
    call(house, person="bert", session="s-2", cost="2", currency="EUR")
    vault = house.book.vault
    vault.begin_erasure(vault.subject_of("anna").ref, "erasure-1")

    persons, sessions = groups(house, "person"), groups(house, "session")

    assert {one.key[0] for one in persons} == {ERASED, str(vault.subject_of("bert").ref)}
    assert ERASED in {one.key[0] for one in sessions}
    assert {money(one)["EUR"] for one in persons} == {"1", "2"}


@pytest.mark.parametrize(
    ("amount", "text"), [("0.0400", "0.04"), ("10", "10"), ("-1.50", "-1.5"), ("1E+3", "1000")]
)
def test_amounts_are_printed_as_entries_spell_them(amount, text):
    assert printed(Decimal(amount)) == text
