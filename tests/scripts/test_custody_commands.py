# SPDX-License-Identifier: GPL-3.0-or-later
"""`hold` and `erase` as an operator types them, with auditors' tokens from files."""

import json
from types import SimpleNamespace

import pytest
from house import event_id
from installation import record

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

COURT = ("--matter=2026-CV-01234", "--authority=court-order")


PERSON = "employee-4711-of-the-night-shift"


@pytest.fixture(scope="module")
def desk(ledger, tmp_path_factory):
    """Two events of a person of this module's own, and two auditors' tokens in files."""
    directory = tmp_path_factory.mktemp("desk")
    made = SimpleNamespace(here=ledger.here, directory=directory)
    made.ids = [one["event_id"] for one in record(ledger, on_behalf_of=PERSON)]
    for name in ("erin", "sam"):
        issue = ("token", "issue", "--tenant=acme", "--role=auditor", "--person", f"--name={name}")
        (directory / name).write_text(ledger.here(*issue)["token"] + "\n")
        setattr(made, name, f"--token-file={directory / name}")
    (directory / "program").write_text(ledger.said["token"]["token"])
    made.subject = f"--subject-file={directory / 'subject.json'}"
    (directory / "subject.json").write_text(json.dumps({"person": PERSON}))
    made.scope = f"--scope={directory / 'scope.json'}"
    (directory / "scope.json").write_text(json.dumps({"event_ids": made.ids}))
    return made


def test_a_hold_from_the_shell(desk):
    """Placed by an auditor's token, listed by anybody at the shell, rebuilt by the owner."""
    apply = ("hold", "apply", *COURT, desk.scope, desk.erin)
    holds = [desk.here(*apply), desk.here(*apply, f"--hold-id={event_id()}")]
    listed = {one["hold_id"]: one for one in desk.here("hold", "list")["holds"]}
    rebuilt = desk.here("hold", "rebuild")
    released = [
        desk.here("hold", "release", one["hold_id"], "--authority=court-order", desk.sam)
        for one in holds
    ]

    assert holds[0]["matter"] == "2026-CV-01234"
    assert [listed[one["hold_id"]]["entries"] for one in holds] == [2, 2]
    assert rebuilt == {"parts": {"acme": 2, "acme-access": 0}}
    assert all("released" in one for one in released)


def test_an_erasure_from_the_shell(desk):
    """Planned, asked for, held up, approved by another, released, completed."""
    plan = desk.here("erase", "plan", desk.subject, desk.erin)
    case = desk.here("erase", "request", desk.subject, "--basis=gdpr-17-1-b", desk.erin)
    hold = desk.here("hold", "apply", *COURT, desk.scope, desk.erin)
    approve = ("erase", "approve", case["erasure_id"], desk.subject)
    alone = desk.here(*approve, desk.erin, code=2)
    approved = desk.here(*approve, desk.sam)
    desk.here("hold", "release", hold["hold_id"], "--authority=court-order", desk.sam)
    done = desk.here("erase", "complete", "--book=acme")
    (listed,) = desk.here("erase", "status")["erasures"]

    assert (plan["goes"]["events"], plan["held_by"]) == (2, [])
    assert alone["error"] == "second-person-needed"
    assert (approved["state"], approved["hold_ids"]) == ("deferred", [hold["hold_id"]])
    assert len(done["books"][0]["keys_destroyed"]) == 2
    assert (listed["state"], listed["erased"]["events"]) == ("complete", 2)
    assert PERSON not in json.dumps([plan, case, approved, done, listed])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[]", "one subject"),
        ("{", "one subject"),
        ('{"person": 7}', "one subject"),
        ('{"person": "a", "subject_ref": "b"}', "one subject"),
        ('{"person": "nobody-4711"}', "no values"),
        ('{"subject_ref": "x"}', "no values"),
        (r'{"person": "4711 \ud800"}', "one subject"),
        ('{"person": "4711", "person": "4711"}', "one subject"),
    ],
)
def test_a_subject_is_read_from_a_file_and_repeated_nowhere(desk, content, sentence):
    """A command line is read by everybody on the machine."""
    file = desk.directory / "wrong.json"
    file.write_text(content)

    said = desk.here("erase", "plan", f"--subject-file={file}", desk.erin, code=2)

    assert sentence in said["detail"]
    assert "4711" not in json.dumps(said)


def test_who_may_not(desk):
    """A pipeline's token, nobody's, and scopes that are none."""
    apply = ("hold", "apply", *COURT, desk.scope)
    program = desk.here(*apply, f"--token-file={desk.directory / 'program'}", code=2)
    nobody = desk.here(*apply, f"--token-file={desk.directory / 'scope.json'}", code=2)
    for content in ("[]", "{}", "{", r'{"persons": ["\ud800"]}'):
        file = desk.directory / "scope-wrong.json"
        file.write_text(content)
        desk.here("hold", "apply", *COURT, f"--scope={file}", desk.erin, code=2)

    assert (program["error"], nobody["error"]) == ("forbidden", "unauthenticated")
