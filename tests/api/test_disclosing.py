# SPDX-License-Identifier: GPL-3.0-or-later
"""Single fields and searches over HTTP: recorded before they are shown, gone once erased."""

import json

import pytest
from house import attempt, event_id, house_in
from served_house import serving

from ledger.erasure.erasures import Erasures
from ledger.request import Identity
from sealtrail.verify.disclosure import PERSON, check_disclosures

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

SEALED = {"prompt.user": "a cat", "prompt.system": "be kind", "actor.account_id": "a-1"}


def recorded(service, person, **sealed):
    """One event of a person, as the pipeline's receipt shows it."""
    request = attempt(sealed={**SEALED, **sealed}, on_behalf_of=person)
    return service.post(request).json()


def found(service, field, value):
    return service.ask(
        "POST", "/v1/events:search", token=service.auditor, json={"field": field, "value": value}
    )


@pytest.fixture(scope="module")
def receipt(service):
    return recorded(service, "alice")


def test_the_fields_asked_for_are_shown_and_no_others(service, receipt):
    """Each as the disclosure that the client has: anybody can hold it against the entry."""
    answer = service.get(
        f"/v1/events/{receipt['event_id']}?disclose=prompt.user,net.ip,actor.subject_id"
    )

    shown = answer.json()
    assert shown["disclosures"] == {
        name: receipt["disclosures"][name] for name in ("prompt.user", PERSON)
    }
    values = check_disclosures(shown["disclosures"].values(), shown["content"]["_sd"])
    assert values == {"prompt.user": "a cat", PERSON: "alice"}
    assert shown["erasures"] == []


def test_the_look_names_the_fields_and_the_reader(service, receipt):
    """In clear which fields; the person who read them is committed, and sealed in its own vault."""
    service.get(f"/v1/events/{receipt['event_id']}?disclose=prompt.user")

    look = service.looks[-1]
    assert look["body"]["fields_disclosed"] == ["prompt.user"]
    assert "auditor-1" not in json.dumps(look)
    opened = service.house.access_book.vault.open(look["event_id"], sd=look["_sd"])
    assert dict(opened.values) == {PERSON: "auditor-1"}


def test_without_a_wish_nothing_is_opened(service, receipt):
    """An entry by itself shows commitments only."""
    assert "disclosures" not in service.get(f"/v1/events/{receipt['event_id']}").json()


@pytest.mark.parametrize("names", ["alice", "prompt.user,*", "", "net.ip,x y"])
def test_a_name_that_no_event_seals_is_refused_and_recorded_nowhere(service, receipt, names):
    """It might be somebody's name; the answer does not repeat it."""
    before = len(service.looks)

    answer = service.get(f"/v1/events/{receipt['event_id']}?disclose={names}")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/query/disclose"
    assert len(service.looks) == before


def test_events_are_found_by_an_identifier(service, receipt):
    """The look says which events were found by which field, and not by which value."""
    account = f"account-{event_id()}"
    ours = recorded(service, "bob", **{"actor.account_id": account})

    answer = found(service, "actor.account_id", account)

    assert answer.json() == {"event_ids": [ours["event_id"]], "more": False}
    look = service.looks[-1]
    assert look["body"]["target_event_ids"] == [ours["event_id"]]
    assert account not in json.dumps(look)
    assert found(service, PERSON, "bob").json()["event_ids"] == [ours["event_id"]]
    assert found(service, "net.ip", "10.1.1.1").json()["event_ids"] == []
    assert receipt["event_id"] != ours["event_id"]


@pytest.mark.parametrize("field", ["prompt.user", "no.such", "prompt.system"])
def test_what_somebody_wrote_cannot_be_searched_for(service, field):
    """There is no index of it, and nobody may probe for one."""
    answer = found(service, field, "a cat")

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/field")


def test_a_pipeline_finds_and_opens_nothing(service, receipt):
    """Its credential appends."""
    path = f"/v1/events/{receipt['event_id']}?disclose=prompt.user"

    assert service.ask("GET", path, token=service.pipeline).status_code == 403
    answer = service.ask(
        "POST", "/v1/events:search", token=service.pipeline, json={"field": "net.ip", "value": "x"}
    )
    assert answer.status_code == 403


def test_who_was_erased_is_gone_and_the_entry_stays(pattern, tmp_path):
    """410 with the erasure's id for what was theirs; what was another's is shown, and says so."""
    with house_in(pattern, tmp_path) as house, serving(house) as service:
        receipt = recorded(service, "alice")
        path = f"/v1/events/{receipt['event_id']}"
        erasures = Erasures.of(house.book)
        asked = erasures.request(basis="gdpr-17-1-a", by=officer(house, "first"), person="alice")
        erasures.approve(asked.erasure_id, by=officer(house, "second"), person="alice")
        pending = service.get(f"{path}?disclose=prompt.user")
        erasures.complete()

        gone = service.get(f"{path}?disclose=prompt.user,{PERSON}")
        shared = service.get(f"{path}?disclose=prompt.user,prompt.system")

        for answer in (pending, gone):
            assert (answer.status_code, answer.json()["code"]) == (410, "values-erased")
            assert answer.json()["facts"] == {"erasures": asked.erasure_id}
        assert list(shared.json()["disclosures"]) == ["prompt.system"]
        assert shared.json()["erasures"] == [asked.erasure_id]
        assert service.get(path).json()["entry"] == receipt["entry"]
        assert service.get(f"{path}/proof").status_code == 200
        assert found(service, "actor.account_id", "a-1").json()["event_ids"] == []
        # The same person's next event is somebody new's; the writer notices by itself.
        again = recorded(service, "alice")
        assert found(service, PERSON, "alice").json()["event_ids"] == [again["event_id"]]


def officer(house, name):
    """A person who may ask for erasures, or approve them."""
    return Identity(
        credential=f"cred_{name}", tenant=house.tenant, role="auditor", kind="person", name=name
    )
