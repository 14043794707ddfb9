# SPDX-License-Identifier: GPL-3.0-or-later
"""`sealtrail-server completeness`: who asked is recorded first; the file verifies by itself."""

import dataclasses
import json
import stat

import pytest
from house import Hand, attempt, deny, house_in, noon_before

from anchoring.night import Night
from evidence.completeness import Question
from ledger import clock
from ledger.errors import NotFound, Refused
from ledger.settings import Settings
from scripts.assembly import Ledger
from scripts.completeness import ask
from sealtrail.verify import command
from sealtrail.verify.disclosure import check_disclosures

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

PERSON = "employee-4711"


@pytest.fixture(scope="module")
def closed(pattern, authority, tmp_path_factory):
    """A house with one closed day: one attempt that was refused."""
    directory = tmp_path_factory.mktemp("closed")
    with house_in(pattern, directory, now_ms=Hand(noon_before(2))) as house:
        start = attempt()
        house.attempt = start["aggregate_id"]
        house.post(start, deny(house.attempt))
        house.day = clock.day_of(house.now_ms())
        house.now_ms.move(days=1)
        list(Night(house.book, [authority.authority()]).catch_up(house.now_ms()))
        house.trust_file = directory / "trust.json"
        house.trust_file.write_bytes(house.trust(list(authority.authority().roots)).print())
        yield house


def asked(house, day=None, **changes):
    settings = dataclasses.replace(Settings.from_environment({}), trust_file=house.trust_file)
    ledger = Ledger(
        settings=settings,
        database=house.database,
        keys=house.keys,
        store=house.store,
        shelf=house.shelf,
    )
    question = Question(day=day or house.day, attempt_id=house.attempt)
    given = {"book": house.tenant, "person": PERSON, "purpose": "audit-2026"}
    return ask(ledger, question, **{**given, **changes})


def looks(house):
    head = house.access_book.reader.head()
    stored = house.access_book.reader.between(0, head.size)
    return [one.entry for one in stored if one.entry.value["type"] == "ACCESS"]


def test_the_statement_lies_where_it_was_asked_for_and_verifies(closed, tmp_path, capsys):
    """Readable by its owner only, and checked like any packet."""
    out = tmp_path / "refused.json"

    answer = asked(closed, out=out)

    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert command.main([str(out), "--trust", str(closed.trust_file)]) == 0
    assert "exactly one: deny" in capsys.readouterr().out
    assert answer.json()["attempt"]["state"] == "deny"
    assert json.loads(json.dumps(answer.json()))["statement"] == str(out)


def test_it_says_for_people_what_the_reports_say(closed):
    """Counts, the root, and how the attempt ended."""
    text = asked(closed).text()

    assert "1 attempts, 0 gen, 1 deny, 0 error (0 late), root sha256:" in text
    assert "deny, at position 1, attempted at 0" in text


def test_the_look_names_the_person_as_a_commitment(closed):
    """Whoever ran the command can show later that it was them; the entry has no name in clear."""
    answer = asked(closed)

    entry = looks(closed)[-1]
    assert entry.event_id == answer.look
    assert PERSON.encode() not in entry.data
    shown = check_disclosures([answer.person], entry.value["_sd"])
    assert shown == {"actor.subject_id": PERSON}


def test_what_has_to_be_changed_first_records_no_look(closed, tmp_path):
    """A file that is there, a purpose in prose, nobody who answers for it, no day."""
    there = tmp_path / "there.json"
    there.touch()
    before = len(looks(closed))

    for changes in (
        {"out": there},
        {"out": tmp_path / "no" / "where.json"},
        {"purpose": "because I can"},
        {"person": " "},
        {"day": "yesterday"},
    ):
        with pytest.raises(Refused):
            asked(closed, **changes)

    assert len(looks(closed)) == before


def test_a_day_that_is_not_closed_has_no_answer(closed):
    """It was asked all the same, and that is recorded."""
    before = len(looks(closed))

    with pytest.raises(NotFound):
        asked(closed, day="2020-01-01")

    assert len(looks(closed)) == before + 1


def test_the_command_has_its_exit_codes(ledger):
    """2 for a day without a report, in a ledger as it is installed."""
    arguments = ("completeness", "2020-01-01", "--book=acme", f"--person={PERSON}")

    said = ledger.here(*arguments, "--purpose=audit-2026", code=2)

    assert said["error"] == "not-found"
