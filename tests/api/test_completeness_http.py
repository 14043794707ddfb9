# SPDX-License-Identifier: GPL-3.0-or-later
"""`GET /v1/completeness` and `GET /v1/sources`: for auditors, each a look, each with its proof."""

from datetime import UTC, datetime

import pytest
from house import Hand, attempt, deny, gen, house_in, ingest, noon_before
from served_house import serving

from anchoring.night import Night
from ledger import clock
from sealtrail.verify import canonical
from sealtrail.verify.statement import check_statement, read_statement

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def served(pattern, authority, tmp_path_factory):
    """A day with two attempts, anchored, behind HTTP."""
    directory = tmp_path_factory.mktemp("completeness")
    with house_in(pattern, directory, now_ms=Hand(noon_before(2))) as house:
        starts = [attempt(), attempt()]
        house.ids = [one["aggregate_id"] for one in starts]
        house.post(*starts, gen(house.ids[0]), deny(house.ids[1]))
        house.post(ingest(source={"id": "gateway:1", "n": 3}))
        house.day = clock.day_of(house.now_ms())
        house.now_ms.move(days=1)
        list(Night(house.book, [authority.authority()]).catch_up(house.now_ms()))
        house.trusted = house.trust(list(authority.authority().roots))
        with serving(house) as made:
            yield made


def ask(served, **wanted):
    return served.get("/v1/completeness", params=wanted)


def verdict(served, statement):
    read = read_statement(canonical.encode(statement))
    return check_statement(read, trust=served.house.trusted, now=datetime.now(UTC)).verdict


def test_a_day_is_told_by_its_reports_and_proved_by_a_statement(served):
    """Counts and roots to read, and the same under a stamped checkpoint."""
    answer = ask(served, day=served.house.day)

    told = answer.json()
    assert answer.status_code == 200
    assert told["final"]["counts"] == {"attempts": 2, "gen": 1, "deny": 1, "error": 0, "late": 0}
    assert (told["provisional"]["number"], told["final"]["number"]) == (1, 2)
    assert verdict(served, told["statement"]) == "verified"


def test_an_attempt_is_proved_to_have_exactly_this_outcome(served):
    """With its own entries, if they are asked for."""
    wanted = {"day": served.house.day, "attempt": served.house.ids[1], "entries": "true"}

    told = ask(served, **wanted).json()

    assert told["attempt"] == {
        "attempt_id": served.house.ids[1],
        "state": "deny",
        "attempt_index": 1,
        "outcome_index": 3,
        "late": False,
        "entries": {"attempt": 1, "outcome": 3},
    }
    assert verdict(served, told["statement"]) == "verified"


def test_each_answer_is_a_look_entered_before_it(served):
    """What was shown, and that it left in a file; also where nothing was found."""
    before = len(served.looks)
    ask(served, day=served.house.day, attempt=served.house.ids[0], entries="true")
    ask(served, day="2020-01-01")

    first, second = (look["body"] for look in served.looks[before:])
    assert (first["path"], first["result_count"], first["exported"]) == (
        "/v1/completeness", 4, True,
    )  # fmt: skip
    assert (second["result_count"], second["target_event_ids"]) == (0, [])


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({"day": "2020-01-01"}, 404),
        ({"day": "yesterday"}, 422),
        ({"day": "2026-02-30"}, 422),
        ({}, 422),
        ({"day": "2020-01-01", "attempt": "a b"}, 422),
        ({"day": "2020-01-01", "attempt": "a\n"}, 422),
    ],
    ids=str,
)
def test_what_cannot_be_asked_is_refused(served, wanted, status):
    """A day that is not closed, and what is no day or no attempt's id."""
    assert ask(served, **wanted).status_code == status


def test_pipelines_and_strangers_see_nothing(served):
    """Not even how many attempts there were."""
    for path in (f"/v1/completeness?day={served.house.day}", "/v1/sources"):
        assert served.ask("GET", path, token=served.pipeline).status_code == 403
        assert served.ask("GET", path).status_code == 401


def test_sources_are_listed_with_what_is_missing(served):
    """The numbers below the largest one that was recorded."""
    told = served.get("/v1/sources").json()

    (source,) = told["sources"]
    assert (source["source"], source["missing"]) == ("gateway:1", 2)
    assert [(gap["from"], gap["to"]) for gap in source["gaps"]] == [(1, 2)]
    assert (told["after"], told["behind"]) == (None, 0)
    assert served.looks[-1]["body"]["path"] == "/v1/sources"


def test_sources_come_in_pages(served):
    """By name, each page beginning after the one before."""
    first = served.get("/v1/sources", params={"state": "all", "limit": 1}).json()
    rest = served.get("/v1/sources", params={"state": "all", "after": first["after"]}).json()

    assert first["after"] == "gateway:1"
    assert rest["sources"] == []
