# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking for a CAP pack, over HTTP and at the ledger itself: a look first, then the file."""

import dataclasses
import json
import stat

import cap_checker
import pytest
from cap_story import days, these_days
from house import attempt, gen
from served_house import serving

from ledger.errors import MalformedEvent, Refused
from ledger.settings import Settings
from scripts import cap_pack as command
from scripts.assembly import Ledger

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

FIRST, LAST = "the first day", "the last day"  #: Of what was recorded; which, is known later.


@pytest.fixture(scope="module")
def service(pattern, tmp_path_factory):
    from house import house_in

    with house_in(pattern, tmp_path_factory.mktemp("served")) as house, serving(house) as made:
        one = attempt()
        house.post(one, gen(one["aggregate_id"]))
        yield made


def ask(service, body, **options):
    known = dict(zip((FIRST, LAST), days(), strict=True))
    body = {name: known.get(value, value) for name, value in body.items()}
    return service.ask("POST", "/v1/cap-packs", token=service.auditor, json=body, **options)


def test_a_pack_is_asked_for_and_fetched_by_an_auditor(service):
    """It is one that a stranger with the published key finds nothing wrong with."""
    asked = ask(service, {"from": FIRST, "to": LAST}, headers={"sealtrail-purpose": "audit-2026"})
    told = asked.json()
    fetched = service.get(f"/v1/packets/{told['id']}")

    assert asked.status_code == 201, told
    assert told["events"] == 2
    assert told["complete"] is True
    assert told["sha256"] == "sha256:" + cap_checker.hashlib.sha256(fetched.content).hexdigest()
    trust = json.loads((service.house.directory / "trust.json").read_bytes())
    (vkey,) = trust["packet_keys"][0]["vkeys"]
    key = cap_checker.base64.b64decode(vkey.split("+", 2)[2])[1:]
    assert cap_checker.check(fetched.content, key) == []


def test_the_look_names_the_days_and_how_many_entries(service):
    """It is in the access Book before an entry is read; an export."""
    ask(service, {"from": FIRST, "to": LAST, "part": 1})

    body = service.looks[-1]["body"]
    assert body["path"] == "/v1/cap-packs?from={}&to={}&part=1".format(*days())
    assert body["result_count"] == 2
    assert body["exported"] is True


@pytest.mark.parametrize(
    "body",
    [{}, {"from": FIRST}, {"from": "2026-02-30", "to": LAST},
     {"from": FIRST, "to": LAST, "part": 2}, {"from": FIRST, "to": LAST, "book": "x"},
     {"from": 1, "to": LAST}],
    ids=str,
)  # fmt: skip
def test_a_request_that_makes_no_sense_is_refused_and_no_look(service, body):
    """422 with the member and the rule."""
    before = len(service.looks)

    answer = ask(service, body)

    assert answer.status_code == 422
    assert answer.json()["errors"]
    assert len(service.looks) == before


def test_a_pipeline_gets_none(service):
    """It can append, and nothing else."""
    answer = service.post({"from": FIRST, "to": LAST}, "/v1/cap-packs")

    assert answer.status_code == 403


@pytest.fixture
def build(service, tmp_path):
    """Run the command; each test changes what it is about."""
    house = service.house
    settings = dataclasses.replace(
        Settings.from_environment({}), trust_file=house.directory / "trust.json"
    )
    ledger = Ledger(
        settings=settings,
        database=house.database,
        keys=house.keys,
        store=house.store,
        shelf=house.shelf,
    )

    def run(**changes):
        given = {
            "book": house.tenant,
            "request": these_days(),
            "person": "employee-4711",
            "purpose": "audit-2026",
            "out": tmp_path / "pack.zip",
        }
        return command.build(ledger, **{**given, **changes})

    return run


def test_the_command_writes_the_same_pack(build, service):
    """Readable by its owner only; who ran it is committed to in the access Book."""
    seen = []

    delivered = build(progress=lambda done, whole: seen.append((done, whole)))

    look = service.looks[-1]
    told = delivered.json()
    assert stat.S_IMODE(delivered.out.stat().st_mode) == 0o600
    assert told["events"] == 2
    assert "each attempt has its outcome" in delivered.text()
    assert seen[-1] == (2, 2)
    assert look["event_id"] == told["access"]["event_id"]
    assert look["actor"] == {"kind": "human", "credential": "cli"}
    assert "employee-4711" not in json.dumps(look) + repr(delivered)


@pytest.mark.parametrize("change", [{"person": ""}, {"purpose": "Because"}, {"book": "nobody"}])
def test_what_the_operator_must_change_is_refused_before_a_look(build, service, change):
    before = len(service.looks)

    with pytest.raises(Refused):
        build(**change)
    with pytest.raises(MalformedEvent):
        build(request=command.CapRequest(first=days()[0], last="never"))

    assert len(service.looks) == before
