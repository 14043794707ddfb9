# SPDX-License-Identifier: GPL-3.0-or-later
"""`packet` at the ledger itself: who asked is recorded before an entry is read, and never clear."""

import dataclasses
import json
import stat

import pytest
from house import attempt

from anchoring.fsck import Fsck
from ledger.errors import MalformedEvent, Refused, Unavailable
from ledger.settings import Settings
from scripts import packet as command
from scripts.assembly import Ledger
from sealtrail.verify.disclosure import check_disclosures

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

PERSON = "employee-4711"


def ledger_of(world):
    settings = dataclasses.replace(Settings.from_environment({}), trust_file=world.trust_file)
    house = world.house
    return Ledger(
        settings=settings,
        database=house.database,
        keys=house.keys,
        store=house.store,
        shelf=house.shelf,
    )


@pytest.fixture(scope="module")
def house(world):
    return world.house


@pytest.fixture(scope="module")
def sent(world):
    """One anchored entry."""
    return world.anchored(1)[0]


@pytest.fixture
def build(world, sent, tmp_path):
    """Run the command; each test changes what it is about."""

    def run(**changes):
        given = {
            "book": world.house.tenant,
            "event_ids": [sent.event_id],
            "disclosures": None,
            "person": PERSON,
            "purpose": "incident-42",
            "out": tmp_path / "packet.zip",
        }
        return command.build(ledger_of(world), **{**given, **changes})

    return run


def looks(house):
    """What the access Book says about looks, oldest first."""
    head = house.access_book.reader.head()
    stored = house.access_book.reader.between(0, head.size)
    return [one.entry for one in stored if one.entry.value["type"] == "ACCESS"]


def test_the_packet_lies_where_it_was_asked_for_and_only_its_owner_can_read_it(
    build, world, sent, tmp_path, capsys
):
    """It is the packet that `packet verify` then verifies."""
    disclosures = tmp_path / "disclosures.json"
    disclosures.write_text(json.dumps({sent.event_id: dict(sent.disclosures)}))

    delivered = build(disclosures=disclosures)

    told = delivered.json()
    assert told["verdict"] == "verified"
    assert told["records"] == 1
    assert told["size"] == delivered.out.stat().st_size
    assert stat.S_IMODE(delivered.out.stat().st_mode) == 0o600
    assert command.verify(delivered.out, trust=world.trust_file) == 0
    assert "VERIFIED" in capsys.readouterr().out
    assert command.verify(delivered.out, trust=world.trust_file, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "verified"


def test_who_ran_the_command_is_committed_to_and_nowhere_clear(build, house, sent):
    """The access Book holds a digest; the disclosure that opens it is the person's own."""
    delivered = build()

    look = looks(house)[-1]
    access = delivered.json()["access"]
    opened = check_disclosures(access["disclosures"].values(), look.value["_sd"])
    assert look.event_id == access["event_id"]
    assert opened == {"actor.subject_id": PERSON}
    assert look.value["actor"] == {"kind": "human", "credential": "cli"}
    assert look.value["body"]["purpose"] == "incident-42"
    assert look.value["body"]["target_event_ids"] == [sent.event_id]
    assert look.value["body"]["exported"] is True
    assert PERSON.encode() not in look.data + delivered.packet.data
    assert PERSON not in repr(delivered)
    assert Fsck(house.access_book).run().damage == []


def test_two_looks_by_one_person_cannot_be_told_to_be_of_one(build, house, tmp_path):
    """Each commitment has a key of its own, which nobody keeps."""
    build()
    build(out=tmp_path / "second.zip")

    first, second = (look.value["_sd"] for look in looks(house)[-2:])
    assert set(first).isdisjoint(second)


@pytest.mark.parametrize(
    "change",
    [
        {"person": ""},
        {"person": "two\nlines"},
        {"person": "test-pipeline"},
        {"purpose": "Because I want to"},
        {"book": "no-such-book"},
        {"event_ids": ["not an id"]},
        {"event_ids": []},
    ],
    ids=str,
)
def test_what_the_operator_must_change_is_refused_before_anything_is_recorded(
    build, house, tmp_path, change
):
    """No look, no file, and no message that repeats a name."""
    house.token(name="test-pipeline")
    before = looks(house)

    with pytest.raises(Refused) as refused:
        build(**change)

    assert looks(house) == before
    assert not (tmp_path / "packet.zip").exists()
    assert not change.get("person") or change["person"] not in str(refused.value)


def test_a_file_that_is_there_is_never_overwritten(build, house, tmp_path):
    """Evidence that was delivered stays what it was."""
    (tmp_path / "packet.zip").write_bytes(b"older evidence")
    before = looks(house)

    with pytest.raises(Refused, match="exists already"):
        build()
    with pytest.raises(Refused):
        build(out=tmp_path / "nowhere" / "packet.zip")

    assert (tmp_path / "packet.zip").read_bytes() == b"older evidence"
    assert looks(house) == before


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"a": {"b": 1}}', '{"a": {}, "a": {}}'])
def test_a_file_of_disclosures_has_one_form(build, tmp_path, content):
    """An object of objects of strings, strictly parsed."""
    disclosures = tmp_path / "disclosures.json"
    disclosures.write_text(content)

    with pytest.raises(Refused, match="of the form"):
        build(disclosures=disclosures)
    with pytest.raises(Refused, match="cannot be read"):
        build(disclosures=tmp_path / "none.json")


def test_a_look_that_ends_in_a_refusal_is_recorded_all_the_same(build, house, sent, tmp_path):
    """Whether an entry commits to a guess is an answer, so the question is entered first."""
    disclosures = tmp_path / "disclosures.json"
    name = "prompt.user"
    wrong = house.prepare(attempt()).disclosures[name]
    disclosures.write_text(json.dumps({sent.event_id: {name: wrong}}))

    with pytest.raises(MalformedEvent):
        build(disclosures=disclosures)

    look = looks(house)[-1]
    assert look.value["body"]["fields_disclosed"] == [name]


def test_nothing_is_packed_when_the_look_cannot_be_recorded(fresh, tmp_path):
    """The access Book does not write any more: no entry leaves."""
    (sent,) = fresh.anchored(1)
    fresh.house.access_book.writer.close()

    with pytest.raises(Unavailable):
        command.build(
            ledger_of(fresh),
            book=fresh.house.tenant,
            event_ids=[sent.event_id],
            disclosures=None,
            person=PERSON,
            purpose="incident-42",
            out=tmp_path / "packet.zip",
        )

    assert not (tmp_path / "packet.zip").exists()


def test_the_exit_code_says_what_came_of_the_check(build, world, tmp_path):
    """1 for a packet that is refuted, 3 for one that lacks something, 4 for what is no packet."""
    delivered = build()
    foreign, keys_only, twice = (tmp_path / name for name in ("foreign", "keys-only", "twice"))
    keys = world.trust.origins[world.house.origin]
    foreign.write_bytes(
        dataclasses.replace(world.trust, origins={"ledger.test/else": keys}).print()
    )
    keys_only.write_bytes(dataclasses.replace(world.trust, tsa_roots=()).print())
    twice.write_bytes(delivered.packet.data * 2)

    assert command.verify(delivered.out, trust=foreign) == 1
    assert command.verify(delivered.out, trust=keys_only) == 3
    assert command.verify(delivered.out, trust=None) == 3
    assert command.verify(twice, trust=world.trust_file) == 4
