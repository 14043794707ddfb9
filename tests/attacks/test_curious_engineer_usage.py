# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody's calls cost says how much they work, and when. The same curious people want to
know whose they are.
"""

import json

import pytest
from house import attempt, gen, house_in
from served_house import serving

from ledger.readmodel.follower import catch_up

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

CASE = {"sealtrail-purpose": "audit-7"}
PERSON, SESSION = "ferryman-of-bolsena", "session-of-the-ferryman"


@pytest.fixture
def paid(pattern, tmp_path):
    """One person's call with its cost, served over HTTP."""
    with house_in(pattern, tmp_path) as house, serving(house) as made:
        start = attempt(on_behalf_of=PERSON)
        start["sealed"]["actor.session_id"] = SESSION
        done = gen(start["aggregate_id"], on_behalf_of=PERSON)
        done["body"]["usage"] = {"cost": "0.04", "currency": "EUR"}
        house.post(start)
        house.post(done)
        catch_up(house.database, house.schema, ["lineage"])
        yield made


def test_asks_what_a_person_costs_and_not_what_for(paid):
    """Who: an auditor who is curious about a colleague.
    Tries: to group costs by person or session, or to ask for one of them, without saying why.
    Caught by: the purpose: without one nothing is added up; with it the look is an entry.
    Not caught: a purpose that is made up; it stands in the access Book beside who it was.
    """
    ask = paid.ask
    before = len(paid.looks)

    refused = [
        paid.get("/v1/usage?by=person"),
        paid.get("/v1/usage?by=session"),
        ask("POST", "/v1/usage", token=paid.auditor, json={"person": PERSON}),
        ask("POST", "/v1/usage", token=paid.auditor, json={"session": SESSION}),
        ask("GET", "/v1/usage?by=person", token=paid.pipeline, headers=CASE),
    ]

    assert [one.status_code for one in refused] == [422, 422, 422, 422, 403]
    assert not any(PERSON in one.text or "0.04" in one.text for one in refused)
    assert len(paid.looks) == before
    answer = ask("POST", "/v1/usage", token=paid.auditor, json={"person": PERSON}, headers=CASE)
    assert answer.json()["groups"][0]["cost"][0]["amount"] == "0.04"
    look = paid.looks[-1]["body"]
    assert (look["purpose"], look["fields_disclosed"]) == ("audit-7", ["actor.subject_id"])
    assert PERSON not in json.dumps(paid.looks)


def test_reads_the_tables_of_costs(paid):
    """Who: an engineer who may read every table of the database.
    Tries: to find in them whose calls cost what.
    Caught by: there is no person in them, nor a session: only the vault leads from a call to one.
    Not caught: who knows when somebody worked may guess by the times.
    """
    house = paid.house
    with house.owner() as owner:
        tables = ("model_call", "call_parent", "call_cost", "answered", "lineage_edge")
        rows = [
            str(row)
            for table in tables
            for row in owner.execute(f"SELECT t::text FROM {house.schema}.{table} t").fetchall()
        ]

    assert any("0.04" in row for row in rows)
    assert not any(PERSON in row or SESSION in row for row in rows)


def test_asks_after_the_person_is_erased(paid):
    """Who: an auditor with a list of costs by person from before an erasure.
    Tries: to ask again, by the name and by the group.
    Caught by: the erasure: the name leads nowhere, and the costs are those of all who were erased.
    Not caught: the old list; with one person erased, the group is that person's.
    """
    vault = paid.house.book.vault
    vault.begin_erasure(vault.subject_of(PERSON).ref, "erasure-1")

    by_name = paid.ask(
        "POST", "/v1/usage", token=paid.auditor, json={"person": PERSON}, headers=CASE
    )
    by_group = paid.get("/v1/usage?by=person", headers=CASE)

    assert by_name.json()["groups"] == []
    assert [one["person"] for one in by_group.json()["groups"]] == ["erased"]
