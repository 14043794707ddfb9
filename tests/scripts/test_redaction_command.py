# SPDX-License-Identifier: GPL-3.0-or-later
"""`sealtrail-server redaction` as an operator types it, and what the scheduler does by itself."""

import json

import pytest
from house import attempt

from anchoring.key_sheet import open_sheet
from ledger import clock
from ledger.redaction.copies import Copies, terms_of
from ledger.request import Identity, prepare
from ledger.settings import Settings
from ledger.vault.ring import KeyRing
from scripts.assembly import open_ledger
from scripts.scheduler import Scheduler

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


@pytest.fixture
def opened(ledger, tmp_path):
    """The installation, opened as a scheduler opens it."""
    sheets = {"SEALTRAIL_KEY_SHEET_DIR": str(tmp_path / "sheets")}
    with open_ledger(Settings.from_environment({**ledger.environment, **sheets})) as made:
        yield made


@pytest.fixture
def scheduler(opened):
    made = Scheduler(opened.shelf, opened.settings, [], opened.settings.database_url)
    yield made
    made._leader.resign()


def ask(opened, prompt):
    identity = Identity(
        credential="cred_test", tenant="acme", role="pipeline", kind="pipeline", name="renderer"
    )
    request = attempt(sealed={"prompt.user": prompt})
    one = prepare(request, identity, received_ms=clock.now_ms(), pipelines=frozenset())
    opened.shelf.book("acme").record([one]).result(timeout=30)


def found(opened, query):
    row = opened.shelf.rows()["acme"]
    ring = KeyRing(opened.keys, schema=row.schema, origin=row.first_origin)
    copies = Copies(opened.database, ring)
    page = copies.search(terms_of(query), before=None, limit=10, budget_s=30)
    return [one.text for one in page.found]


def test_an_operator_publishes_rules_and_follows_until_nothing_is_missing(ledger, opened, tmp_path):
    """Rules get a version each, the same rules none; then all copies are by them."""
    ask(opened, "a heron for Project Nightingale")
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"v": 1, "terms": ["Project Nightingale"]}))

    made = ledger.here("redaction", "rules", str(rules), "--book=acme")
    again = ledger.here("redaction", "rules", str(rules), "--book=acme")
    before = ledger.here("redaction", "status", code=3)["books"]
    ledger.here("redaction", "follow")
    after = ledger.here("redaction", "status")["books"]

    assert made["version"] == again["version"] == 1
    assert (before[0]["version"], before[0]["behind"] > 0) == (1, True)
    assert (after[0]["behind"], after[0]["withheld"]) == (0, 0)
    assert found(opened, "heron") == ["a heron for [TERM]"]


def test_rules_that_break_a_rule_are_refused_by_name(ledger, tmp_path):
    """And nothing is published: for another Book, for a pattern without a bound."""
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"v": 1, "patterns": {"ALL": ".*"}}))

    refused = ledger.here("redaction", "rules", str(rules), "--book=acme", code=2)
    rules.write_text('{"v": 1}')
    elsewhere = ledger.here("redaction", "rules", str(rules), "--book=acme-access", code=2)

    rules.write_text('{"v": 1, "regions": ["DE", "UK"]}')
    nowhere = ledger.here("redaction", "rules", str(rules), "--book=acme", code=2)

    assert "/patterns/ALL" in refused["detail"]
    assert "main Book" in elsewhere["detail"]
    assert "/regions" in nowhere["detail"]


@pytest.mark.parametrize("command", ["status", "follow"])
def test_a_book_that_is_not_there_or_holds_no_prompts_is_no_success(ledger, command):
    """A name that was spelled wrongly is not a Book without work."""
    nobody = ledger.here("redaction", command, "--book=nobody", code=2)
    access = ledger.here("redaction", command, "--book=acme-access", code=2)

    assert (nobody["error"], access["error"]) == ("not-found", "refused")


def test_the_scheduler_makes_copies_by_itself(opened, scheduler):
    ask(opened, "a bittern at erika@example.org")

    scheduler._redact(opened.shelf.book("acme"))
    scheduler._tidy(opened.shelf.book("acme"))

    assert found(opened, "bittern") == ["a bittern at [EMAIL_ADDRESS]"]


def test_the_scheduler_writes_a_sheet_when_the_keys_have_moved_on_and_else_none(
    ledger, opened, scheduler, tmp_path
):
    """One at first, one after each move, nothing in between."""

    def sheets():
        scheduler._sheets()
        return sorted((tmp_path / "sheets").glob("keys-*"))

    first, again = sheets(), sheets()
    ledger.here("keys", "rotate", "wrapping", "--book=acme")
    moved = sheets()

    assert (len(first), again, len(moved)) == (1, first, 2)
    assert open_sheet(moved[-1], opened.keys).of("acme") is not None
