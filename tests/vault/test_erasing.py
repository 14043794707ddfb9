# SPDX-License-Identifier: GPL-3.0-or-later
"""Erasure and rotation: who is erased cannot be opened, everybody else can, whatever happens."""

import threading
from contextlib import closing, suppress

import psycopg
import pytest
from sealing import Sealer, item, vault_of

from ledger.errors import NotFound
from ledger.holds import Holds
from ledger.keys import KeyDestroyed
from ledger.vault.construction import index_key, wrapping_key
from ledger.vault.generations import ErasureImpossible, RotationRunning
from ledger.vault.opening import ValuesErased
from ledger.vault.statement import VaultMoved
from sealtrail.verify.disclosure import PERSON

ERASURE = "erasure-1"


@pytest.fixture
def house(emptied):
    """The house that all tests of this file share, its vault empty."""
    return emptied


@pytest.fixture
def holds(house):
    """The legal holds of the main Book."""
    return Holds.of(house.book)


@pytest.fixture
def vault(house):
    return vault_of(house)


def now(house):
    """The generation of keys in use."""
    with house.owner() as owner:
        return owner.execute(f"SELECT generation FROM {house.schema}.vault_state").fetchone()[0]


def asked(vault, name="alice", erasure=ERASURE):
    """Begin to erase a person; return the subject's random name."""
    ref = vault.subject_of(name).ref
    vault.begin_erasure(ref, erasure)
    return ref


def stored(house, generation):
    """Count what is still wrapped or indexed under a generation."""
    wrapped = "subject WHERE wrapped_key IS NOT NULL AND"
    with house.owner() as owner:
        return [
            owner.execute(
                f"SELECT count(*) FROM {house.schema}.{table} generation <= {generation}"
            ).fetchone()[0]
            for table in (wrapped, "subject_index WHERE", "blind WHERE")
        ]


def test_from_the_first_moment_nobody_can_read_it(vault, sealer):
    """Pending: 410 with the erasure's id, and not found by anything."""
    one = item("alice", prompt__user="a cat", actor__account_id="a-1")
    sealer.record(one)

    ref = asked(vault)
    opened = vault.open(one.event_id)

    assert (opened.disclosures, opened.erasures) == ({}, (ERASURE,))
    assert [gone.complete for gone in opened.gone] == [False]
    assert vault.find("actor.account_id", "a-1") == vault.find(PERSON, "alice") == []
    assert vault.subject_of("alice") is None
    with pytest.raises(ValuesErased):
        vault.wrap_for(ref, b"k", b"")


def test_after_the_night_the_keys_are_gone_and_everybody_else_is_there(house, vault, sealer, holds):
    """A person shares an event with another: the other's values open as before."""
    one = item("alice", prompt__user="a cat", subjects__depicted="bob", **{"inputs[0].sha256": "x"})
    two = item("bob", prompt__user="a dog", actor__account_id="b-1")
    sealer.record(one, two)
    origin, old = house.origin, now(house)
    ref = asked(vault)

    done = vault.finish_erasures(holds)

    assert done.erased == ((ref, ERASURE),)
    assert set(done.destroyed) == {wrapping_key(origin, old), index_key(origin, old)}
    assert done.generation == old + 1
    opened = vault.open(one.event_id)
    assert sorted(opened.values) == ["inputs[0].sha256", "subjects.depicted"]
    assert [gone.complete for gone in opened.gone] == [True]
    assert vault.open(two.event_id).disclosures == two.disclosures
    assert vault.find("actor.account_id", "b-1") == [two.event_id]
    assert vault.subject(ref).state == "erased"
    assert stored(house, old) == [0, 0, 0]
    with pytest.raises(KeyDestroyed):
        house.keys.unwrap(wrapping_key(origin, old), b"", b"")


def test_a_night_without_an_erasure_changes_no_key(house, vault, sealer, holds):
    """Generations move when somebody is erased, or when somebody says so."""
    sealer.record(item("alice"))
    old = now(house)

    assert vault.finish_erasures(holds).generation == old
    assert vault.finish_erasures(holds).destroyed == ()


def test_rotation_reaches_every_key_and_loses_nothing(house, vault, sealer, holds):
    """Twice: and everything opens, is found, and grows as before."""
    events = [item(f"person-{n}", net__ip=f"10.0.0.{n}") for n in range(20)]
    sealer.record(*events)
    steps, old = [], now(house)

    first = vault.rewrap(holds, lambda *step: steps.append(step))
    second = vault.rewrap(holds)

    assert (first.generation, second.generation, first.erased) == (old + 1, old + 2, ())
    assert ("rewrap", 20, 20) in steps
    assert ("reindex", 20, 20) in steps
    for n, event in enumerate(events):
        assert vault.open(event.event_id).disclosures == event.disclosures
        assert vault.find("net.ip", f"10.0.0.{n}") == [event.event_id]
        assert vault.find(PERSON, f"person-{n}") == [event.event_id]
    assert stored(house, old + 1) == [0, 0, 0]


def test_the_same_person_comes_back_as_somebody_new(vault, sealer, holds):
    """What happens after the request is not erased with it, and nothing links the two."""
    sealer.record(item("alice"))
    ref = asked(vault)
    later = item("alice", prompt__user="again")

    with pytest.raises(VaultMoved):
        sealer.record(later)
    sealer.vault.forget()
    sealer.record(later)
    vault.finish_erasures(holds)

    assert vault.open(later.event_id).disclosures == later.disclosures
    assert vault.subject_of("alice").ref != ref


def test_an_old_copy_of_every_row_opens_nothing_of_the_erased(house, vault, sealer, holds):
    """What WAL and backups keep: yesterday's rows, put back under today's keys."""
    one, two = item("alice", prompt__user="1234"), item("bob", prompt__user="a dog")
    sealer.record(one, two)
    with house.owner() as owner:
        for table in ("sealed", "subject", "subject_index", "blind"):
            owner.execute(
                f"CREATE TABLE {house.schema}.old_{table} AS TABLE {house.schema}.{table}"
            )
    asked(vault)
    vault.finish_erasures(holds)

    with house.owner() as owner:
        owner.execute("SET session_replication_role = replica")  # No trigger is in the way.
        for table in ("sealed", "subject", "subject_index", "blind"):
            owner.execute(f"DELETE FROM {house.schema}.{table}")
            owner.execute(
                f"INSERT INTO {house.schema}.{table} SELECT * FROM {house.schema}.old_{table}"
            )

    with pytest.raises(KeyDestroyed):
        vault.open(one.event_id)


@pytest.mark.parametrize("step", ["rewrap", "reindex"])
def test_an_interrupted_night_is_finished_by_the_next(house, vault, sealer, holds, step):
    """Wherever it stopped: the next run goes on there, and no key is destroyed too early."""
    events = [item(f"person-{n}", net__ip=f"10.0.0.{n}") for n in range(5)]
    sealer.record(*events, item("alice"))
    ref, old = asked(vault), now(house)

    def stop(name, done, _total):
        if name == step and done:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        vault.finish_erasures(holds, stop)
    assert house.keys.has(wrapping_key(house.origin, old))
    for event in events:
        assert vault.open(event.event_id).disclosures == event.disclosures
        assert vault.find("net.ip", event_ip(event)) == [event.event_id]
    done = vault.finish_erasures(holds)

    assert (done.erased, done.generation) == (((ref, ERASURE),), old + 1)
    assert stored(house, old) == [0, 0, 0]
    for event in events:
        assert vault.find("net.ip", event_ip(event)) == [event.event_id]


def event_ip(event):
    from ledger.vault.owners import value_of

    return value_of(event.disclosures["net.ip"])


def test_one_who_asks_during_an_unfinished_night_goes_with_a_generation_of_their_own(
    house, vault, sealer, holds
):
    """Wrapped under the new generation already, so that one has to end as well."""
    sealer.record(item("alice"), item("bob", net__ip="::1"), item("carol"))
    asked(vault)
    old = now(house)

    def stop(name, done, _total):
        if name == "rewrap" and done:
            raise InterruptedError

    with suppress(InterruptedError):
        vault.finish_erasures(holds, stop)
    bob = asked(vault, "bob", "erasure-2")
    done = vault.finish_erasures(holds)

    assert done.generation == old + 2
    assert {erasure for _, erasure in done.erased} == {ERASURE, "erasure-2"}
    assert vault.subject(bob).state == "erased"
    assert stored(house, old + 1) == [0, 0, 0]


def test_a_crash_before_the_keys_are_destroyed_is_made_good(house, vault, sealer, holds):
    """The rows say erased, the key is still there: the next run destroys it first."""
    sealer.record(item("alice"))
    asked(vault)
    old = now(house)
    ring = vault._generations._ring
    whole, ring.destroy_before = ring.destroy_before, lambda _oldest: ()
    vault.finish_erasures(holds)
    assert house.keys.has(wrapping_key(house.origin, old))
    ring.destroy_before = whole

    done = vault.finish_erasures(holds)

    assert wrapping_key(house.origin, old) in done.destroyed
    assert not house.keys.has(wrapping_key(house.origin, old))


def test_a_hold_takes_its_subject_out_again(vault, sealer, holds):
    """Placed after the request, before the night: readable again, and erased after the release."""
    one = item("alice", prompt__user="a cat", actor__account_id="a-1")
    sealer.record(one, item("bob"))
    ref = asked(vault)
    asked(vault, "bob", "erasure-2")
    hold = holds.apply({"subjects": [str(ref)]}, matter="2026-14", authority="court")

    done = vault.finish_erasures(holds)

    assert done.deferred == ((ref, ERASURE),)
    assert [erasure for _, erasure in done.erased] == ["erasure-2"]
    assert vault.subject(ref).state == "held"
    assert vault.open(one.event_id).disclosures == one.disclosures
    assert vault.find("actor.account_id", "a-1") == [one.event_id]
    holds.release(hold.hold_id, authority="court")
    vault.begin_erasure(ref, ERASURE)
    assert vault.finish_erasures(holds).erased == ((ref, ERASURE),)
    assert vault.open(one.event_id).disclosures == {}


def test_a_hold_that_comes_in_the_middle_still_counts(house, vault, sealer, holds):
    """After the others were wrapped anew, before anything is destroyed."""
    one = item("alice", prompt__user="a cat")
    sealer.record(one, item("bob"))
    ref, old = asked(vault), now(house)

    def place(name, _done, _total):
        if name == "reindex" and not holds.any():
            holds.apply({"subjects": [str(ref)]}, matter="2026-14", authority="court")

    done = vault.finish_erasures(holds, place)

    assert (done.erased, done.deferred) == ((), ((ref, ERASURE),))
    assert vault.open(one.event_id).disclosures == one.disclosures
    assert not house.keys.has(wrapping_key(house.origin, old))


def test_only_a_living_person_can_be_erased(vault, sealer, holds):
    """Not the tenant, not twice for two reasons, not somebody who is not there."""
    sealer.record(item("alice", prompt__system="x"))
    ref = asked(vault)
    vault.begin_erasure(ref, ERASURE)

    with pytest.raises(ErasureImpossible):
        vault.begin_erasure(ref, "another")
    with pytest.raises(ErasureImpossible):
        vault.begin_erasure(vault.subject_for(None), ERASURE)
    with pytest.raises(NotFound):
        vault.begin_erasure(type(ref)(int=5), ERASURE)
    vault.finish_erasures(holds)
    with pytest.raises(ErasureImpossible):
        vault.begin_erasure(ref, ERASURE)


def test_erased_stays_erased_also_for_the_owner(house, vault, sealer, holds):
    """The row does not come back to life by an UPDATE, whoever sends it."""
    sealer.record(item("alice"))
    asked(vault)
    vault.finish_erasures(holds)

    with house.owner() as owner, pytest.raises(psycopg.errors.InsufficientPrivilege):
        owner.execute(f"UPDATE {house.schema}.subject SET state = 'live'")


def test_two_processes_do_not_move_one_vault(house, vault, sealer, holds):
    """The second is told so, and the first finishes."""
    sealer.record(item("alice"))
    asked(vault)
    other = vault_of(house, shelf=house.second_process())

    def both(name, _done, _total):
        if name == "rewrap":
            with pytest.raises(RotationRunning):
                other.finish_erasures(holds)

    assert len(vault.finish_erasures(holds, both).erased) == 1


def test_another_process_lets_go_of_destroyed_keys(house, vault, holds):
    """Its memory holds them until it looks at the vault again."""
    other = house.second_process()
    with closing(Sealer(house, shelf=other)) as theirs:
        theirs.record(item("alice"))
        asked(vault)
        old = now(house)
        vault.finish_erasures(holds)
        theirs.vault.forget()
        theirs.record(item("bob"))

        with pytest.raises(KeyDestroyed):
            other.keys.mac(index_key(house.origin, old), b"")


def test_a_writer_that_slept_through_rotations_goes_on(house, vault, sealer, holds):
    """The keys that it knew are gone from its own keystore; it reads where the vault stands."""
    sealer.record(item("alice"))
    vault.rewrap(holds)
    vault.rewrap(holds)

    sealed = sealer.record(item("bob", net__ip="::1"))

    assert sealed.generation == now(house)


def test_writers_go_on_through_rotations(house, vault, sealer, holds):
    """Nothing that was sealed meanwhile is lost, and no person gets two keys."""
    written, stop, old = [], threading.Event(), now(house)

    def write():
        while not stop.is_set():
            batch = [item(f"person-{n}", net__ip=f"10.0.0.{n}") for n in range(7)]
            try:
                sealer.record(*batch)
            except VaultMoved:
                sealer.vault.forget()
            else:
                written.extend(batch)

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(4):
        vault.rewrap(holds)
    stop.set()
    writer.join()
    generation = vault.finish_erasures(holds).generation

    assert generation == old + 4
    for event in written:
        assert vault.open(event.event_id).disclosures == event.disclosures
    for n in range(7):
        found = vault.find("net.ip", f"10.0.0.{n}")
        assert found == sorted(one.event_id for one in written[n::7])[:1000]
    with house.owner() as owner:
        assert owner.execute(f"SELECT count(*) FROM {house.schema}.subject").fetchone() == (7,)
