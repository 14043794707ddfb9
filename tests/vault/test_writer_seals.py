# SPDX-License-Identifier: GPL-3.0-or-later
"""The writer's commits: what is recorded is sealed in the same statement, and nothing else is."""

import threading

import pytest
from house import attempt, gen

from anchoring.fsck import Fsck
from ledger.errors import Conflict
from ledger.holds import Holds
from ledger.keys import KeyMissing
from ledger.outcome import Recorded, Repeated
from sealtrail.verify.disclosure import PERSON


@pytest.fixture
def house(emptied):
    return emptied


def counted(house, table="sealed"):
    with house.owner() as owner:
        return owner.execute(f"SELECT count(*) FROM {house.schema}.{table}").fetchone()[0]


def test_what_is_refused_or_repeated_is_not_sealed(house):
    """One batch with a new event, its repeat, and an outcome that may not follow."""
    first = attempt(on_behalf_of="alice", sealed={"prompt.user": "a cat"})
    stray = gen("01a1fd54-3a05-7000-8000-000000000000", "nothing", on_behalf_of="mallory")

    done = house.post(first, first, stray)

    assert [type(one) for one in done[:2]] == [Recorded, Repeated]
    assert isinstance(done[2], Conflict)
    assert counted(house) == 1
    assert house.book.vault.subject_of("mallory") is None


def test_two_processes_that_meet_the_same_persons_agree(house):
    """Each person gets one key, whoever was first; no batch is refused for it."""
    other = house.second_process()
    people = [f"person-{n}" for n in range(12)]

    def record(shelf, names):
        for name in names:
            (outcome,) = house.post(attempt(on_behalf_of=name), by=shelf)
            assert isinstance(outcome, Recorded)

    threads = [
        threading.Thread(target=record, args=(house.shelf, people)),
        threading.Thread(target=record, args=(other, people)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counted(house) == 24
    assert counted(house, "subject") == 12
    assert all(len(house.book.vault.find(PERSON, name)) == 2 for name in people)


def test_an_erasure_between_two_commits_is_noticed_by_the_writer(house):
    """The same process, and another that has the person's key in its memory."""
    other = house.second_process()
    for shelf in (house.shelf, other):
        house.post(attempt(on_behalf_of="alice"), by=shelf)
    vault = house.book.vault
    ref = vault.subject_of("alice").ref
    vault.begin_erasure(ref, "erasure-1")
    requests = [attempt(on_behalf_of="alice"), attempt(on_behalf_of="alice")]

    for shelf, request in zip((house.shelf, other), requests, strict=True):
        assert isinstance(house.post(request, by=shelf)[0], Recorded)
    vault.finish_erasures(Holds.of(house.book))

    assert vault.find(PERSON, "alice") == sorted(one["event_id"] for one in requests)
    assert len(vault.events_of(ref)) == 2


def test_without_the_vaults_keys_nothing_is_recorded(house):
    """Fail closed: 503, and the entry is not there; with the keys it is recorded."""
    house.post(attempt(on_behalf_of="alice"))
    request = attempt(on_behalf_of="somebody-new", sealed={"prompt.user": "x"})
    size = house.book.reader.head().size
    files = list((house.directory / "keystore").glob("subjects*.key"))
    away = [path.rename(path.with_suffix(".away")) for path in files]
    other = house.second_process()

    with pytest.raises(KeyMissing):
        house.post(request, by=other)
    assert house.book.reader.head().size == size
    for path in away:
        path.rename(path.with_suffix(".key"))
    (outcome,) = house.post(request, by=other)

    assert isinstance(outcome, Recorded)
    assert house.book.vault.open(request["event_id"]).values["prompt.user"] == "x"


def test_the_whole_check_finds_every_value_where_it_belongs(house):
    """After all of this: each commitment of this file's entries has its sealed value."""
    with house.owner() as owner:
        since = house.book.reader.head().size
        owner.execute(f"UPDATE {house.schema}.vault_state SET since = {since}")
    house.post(attempt(on_behalf_of="alice", sealed={"prompt.user": "a cat"}), attempt())

    report = Fsck(house.book, first_key=house.first_key(), full=True).run()

    assert [(one.position, one.sentence) for one in report.damage if one.what == "vault"] == []
