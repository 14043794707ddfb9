# SPDX-License-Identifier: GPL-3.0-or-later
"""Auditors search the redacted copies; each search is entered before anything of it is shown."""

import json

import pytest
from house import attempt, house_in
from served_house import serving

import api.redacted
from ledger.redaction.follower import Follower

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

PATH = "/v1/redacted:search"


@pytest.fixture(scope="module")
def served(postgres, tmp_path_factory):
    """A ledger with three prompts and their copies, served."""
    with house_in(postgres, tmp_path_factory.mktemp("redacted")) as house:
        house.events = [
            attempt(sealed={"prompt.user": f"lighthouse {n} for erika@example.org"})
            for n in range(3)
        ]
        house.post(*house.events)
        Follower(house.database, house.book.vault, house.schema).run()
        with serving(house) as service:
            yield service


@pytest.fixture
def asked(served):
    """The same, and how many looks there were before."""
    served.before = len(served.looks)
    return served


def looks(service):
    return service.looks[service.before :]


def search(service, **body):
    return service.ask("POST", PATH, token=service.auditor, json=body)


def test_an_auditor_finds_copies_newest_first_and_the_look_is_entered(asked):
    """The entry of the look names what was found, and nowhere what was searched for."""
    answer = search(asked, q='lighthouse "for ["', limit=2)

    found = answer.json()["found"]
    ids = [one["event_id"] for one in asked.house.events]
    assert answer.status_code == 200
    assert [one["event_id"] for one in found] == [ids[2], ids[1]]
    assert found[0]["redacted"] == "lighthouse 2 for [EMAIL_ADDRESS]"
    assert found[0]["field"] == "prompt.user"
    assert answer.headers["cache-control"] == "no-store"
    (look,) = looks(asked)
    assert look["body"]["path"] == PATH
    assert look["body"]["target_event_ids"] == sorted(ids[1:])
    assert look["body"]["fields_disclosed"] == ["prompt.user"]
    assert "lighthouse" not in json.dumps(look)


def test_the_next_page_goes_on_where_the_first_ended(asked):
    first = search(asked, q="lighthouse", limit=2).json()

    second = search(asked, q="lighthouse", limit=2, before=first["before"]).json()

    assert len(first["found"]) == 2
    assert len(second["found"]) == 1
    assert second["before"] is None


def test_what_was_hidden_finds_nothing(asked):
    """Neither the name nor a part of it: the search sees what the answer would show."""
    assert search(asked, q="erika").json()["found"] == []
    assert [look["body"]["result_count"] for look in looks(asked)] == [0]


def test_a_pipeline_may_not_search(asked):
    answer = asked.ask("POST", PATH, token=asked.pipeline, json={"q": "lighthouse"})

    assert answer.status_code == 403
    assert looks(asked) == []


@pytest.mark.parametrize("body", [{}, {"q": "x"}, {"q": "lighthouse", "limit": 1000}, {"p": "x"}])
def test_a_search_that_breaks_a_rule_is_refused_without_its_words(asked, body):
    answer = search(asked, **body)

    assert answer.status_code == 422
    assert "lighthouse" not in answer.text
    assert looks(asked) == []


def test_searches_take_turns(asked, monkeypatch):
    """Thirty auditors at a time would leave no thread, and no core, to those who record."""
    monkeypatch.setattr("api.redacted._WAIT_S", 0.01)
    with api.redacted._TURN:
        busy = search(asked, q="lighthouse")

    assert busy.status_code == 503
    assert busy.json()["code"] == "overloaded"
    assert search(asked, q="lighthouse").status_code == 200


def test_a_look_that_cannot_be_entered_shows_nothing(asked):
    """The access Book is the first to know, or nobody is. It stays damaged: the last test here."""
    asked.house.access_book.writer.close()
    with asked.house.owner() as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute(
            f"UPDATE {asked.house.schema}_access.head SET mac = decode(repeat('00', 32), 'hex')"
        )

    answer = search(asked, q="lighthouse")

    assert answer.status_code == 503
    assert "lighthouse" not in answer.text
