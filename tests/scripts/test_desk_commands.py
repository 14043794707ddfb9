# SPDX-License-Identifier: GPL-3.0-or-later
"""`alerts`, `reviews` and `takedowns` as an operator types them."""

import json

import pytest
from desk_world import at, delivered, escalated, takedown
from house import attempt
from installation import record
from typer.testing import CliRunner

from anchoring.alerts import raise_alert
from ledger import clock
from ledger.request import Identity, prepare
from ledger.settings import Settings
from scripts import cli
from scripts.assembly import open_ledger

pytestmark = pytest.mark.once


class Poster:
    """Posts to the installation's Book, as far as the desk's events need it."""

    def __init__(self, book):
        self.book = book

    def post(self, *requests):
        identity = Identity(
            credential="cred_test", tenant="acme", role="pipeline", kind="pipeline", name="renderer"
        )
        prepared = [
            prepare(one, identity, received_ms=clock.now_ms(), pipelines=frozenset())
            for one in requests
        ]
        self.book.record(prepared).result(timeout=30)


@pytest.fixture(scope="module")
def desk(ledger, tmp_path_factory):
    """An alert, a case that is overdue and a request that is not, and an auditor's token."""
    record(ledger)
    with open_ledger(Settings.from_environment(ledger.environment)) as opened:
        book = opened.shelf.book("acme")
        first = attempt()
        late = at(clock.now_ms() - 1_000)
        poster = Poster(book)
        poster.post(first, escalated(first["aggregate_id"], "case-1", deadline=late))
        poster.post(takedown(delivered(poster), "request-1", clock.now_ms()))
        raise_alert(book, "seen-at-the-shell", "thing-1", {"n": 1})
    token = tmp_path_factory.mktemp("desk") / "token"
    issue = ("token", "issue", "--tenant=acme", "--role=auditor", "--person", "--name=olga")
    token.write_text(ledger.here(*issue)["token"])
    ledger.token_file = f"--token-file={token}"
    return ledger


def test_cases_and_takedowns_at_the_shell(desk):
    """As over HTTP, of every Book or of one."""
    (case,) = desk.here("reviews", "--overdue", "--book=acme")["reviews"]
    (request,) = desk.here("takedowns", "--state=open")["takedowns"]

    assert (case["case_id"], case["queue"], case["overdue"]) == ("case-1", "safety", True)
    assert request["request_id"] == "request-1"
    assert desk.here("reviews", "--queue=legal")["reviews"] == []
    assert desk.here("takedowns", "--state=late")["takedowns"] == []


def test_an_alert_is_listed_answered_and_rebuilt(desk):
    """Answered by the person whose token lies in the file; a second answer changes nothing."""
    (alert,) = [one for one in desk.here("alerts")["alerts"] if one["code"] == "seen-at-the-shell"]
    ack = ("alerts", "ack", alert["event_id"], desk.token_file)
    answered = desk.here(*ack, "--reason=handled")
    again = desk.here(*ack, "--reason=other")
    left = desk.here("alerts", "--book=acme")["alerts"]
    made = desk.here("alerts", "rebuild")["alerts"]

    assert answered["acknowledged"]["reason"] == "handled"
    assert again == answered
    assert alert["event_id"] not in {one["event_id"] for one in left}
    assert made["acme"] == len(desk.here("alerts", "--all", "--book=acme")["alerts"])
    assert "olga" not in json.dumps(answered)


def test_no_alert_is_answered_by_mistake(desk):
    """An id that is none, and prose for a reason."""
    (alert,) = [
        one for one in desk.here("alerts", "--all")["alerts"] if one["code"] == "seen-at-the-shell"
    ]

    assert desk.here("alerts", "ack", "nonsense", desk.token_file, code=2)["error"] == "not-found"
    prose = ("alerts", "ack", alert["event_id"], desk.token_file, "--reason=a <b>word</b>")
    assert "/reason" in desk.here(*prose, code=2)["detail"]


def test_people_read_lines(desk):
    """Without --json each line is one thing."""
    lines = CliRunner().invoke(cli.app, ["reviews", "--book=acme"], env=desk.environment).stdout

    assert "safety: waiting" in lines
    assert "OVERDUE" in lines
