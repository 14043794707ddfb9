# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealing in the writer's statement: whose value goes under whose key, and what races it."""

from contextlib import closing

import psycopg
import pytest
from house import house_in
from sealing import Sealer, item, vault_of

from ledger.keys import KeyMissing
from ledger.vault.statement import Sealings, VaultMoved
from ledger.vault.subjects import SubjectIndexDamaged


@pytest.fixture
def house(emptied):
    """The house that all tests of this file share, its vault empty."""
    return emptied


def rows(house, query):
    with house.owner() as owner:
        return owner.execute(query.format(b=house.schema)).fetchall()


def persons(house):
    return rows(house, "SELECT ref FROM {b}.subject WHERE kind = 'person'")


def move(house):
    """What an erasure or a rotation does to writers."""
    with house.owner() as owner:
        owner.execute(f"UPDATE {house.schema}.vault_state SET serial = serial + 1")


def test_each_person_of_an_event_gets_a_blob_and_a_key(house, sealer):
    """Prompter, depicted person and tenant: one row each, under three names that say nothing."""
    one = item(
        "alice",
        prompt__user="a cat",
        prompt__system="be kind",
        subjects__depicted="bob",
        **{"inputs[0].sha256": "sha256:" + "0" * 64},
    )

    sealed = sealer.record(one)

    assert len({blob.ref for blob in sealed.blobs}) == 3
    assert rows(house, "SELECT count(*) FROM {b}.sealed") == [(3,)]
    assert rows(house, "SELECT kind, count(*) FROM {b}.subject GROUP BY kind ORDER BY kind") == [
        ("person", 2),
        ("tenant", 1),
    ]


def test_one_person_in_two_roles_is_one_data_subject(house, sealer):
    """Whoever uploads a picture of herself goes as a whole when she goes."""
    sealer.record(item("alice", subjects__depicted="alice", prompt__user="me"))

    assert rows(house, "SELECT count(*) FROM {b}.sealed") == [(1,)]


def test_two_spellings_of_one_name_are_one_person(house, sealer):
    """Composed and decomposed letters look the same, and are erased together."""
    sealer.record(item("ren\u00e9"), item("rene\u0301"))
    sealer.record(item("rene\u0301"))

    assert len(persons(house)) == 1


def test_a_person_without_a_named_role_holder_owns_the_value(house, sealer):
    """A digest of an input belongs to the user unless the request says who is depicted."""
    sealer.record(item("alice", **{"inputs[0].sha256": "sha256:" + "0" * 64}))

    assert rows(house, "SELECT count(*) FROM {b}.sealed") == [(1,)]


def test_a_person_who_comes_again_keeps_the_key(house, sealer):
    """In this process, after a restart, and in another process."""
    sealer.record(item("alice"))
    sealer.record(item("alice"))
    sealer.vault.forget()
    sealer.record(item("alice"))
    other = Sealer(house, shelf=house.second_process())
    other.vault.doubt()
    other.record(item("alice"))
    other.close()

    assert len(persons(house)) == 1


def test_the_tenant_is_nobodys_namesake(house, sealer):
    """A person whose id is that of the tenant's subject does not get the tenant's key."""
    sealer.record(item("tenant", prompt__user="x", prompt__system="y"))

    assert len(rows(house, "SELECT 1 FROM {b}.subject")) == 2


def test_a_new_person_is_remembered_only_once_committed(house, sealer):
    """A batch that was lost leaves no key in memory that the database does not know."""
    sealer.vault.seal(sealer.connection, [item("alice")])
    sealer.record(item("alice"))

    assert len(persons(house)) == 1


def test_two_processes_that_meet_a_person_at_once_make_one_key(house, sealer):
    """The slower one's whole statement is refused, and goes through with the faster one's key."""
    other = Sealer(house, shelf=house.second_process())
    late = other.vault.seal(other.connection, [item("alice"), item("carol")])
    sealer.record(item("alice"))

    with pytest.raises(psycopg.errors.UniqueViolation):
        other.write(late)
    other.vault.doubt()
    other.record(item("alice"), item("carol"))
    other.close()

    assert len(persons(house)) == 2


def test_what_was_sealed_before_an_erasure_is_not_written_after_it(house, sealer):
    """The gate: the vault has moved on, so nothing of the statement is kept."""
    sealed = sealer.vault.seal(sealer.connection, [item("alice")])
    move(house)

    with pytest.raises(VaultMoved):
        sealer.write(sealed)
    assert rows(house, "SELECT count(*) FROM {b}.sealed") == [(0,)]
    sealer.vault.forget()
    sealer.record(item("alice"))

    assert rows(house, "SELECT count(*) FROM {b}.sealed") == [(1,)]


def test_a_batch_without_values_passes_the_gate(house, sealer):
    """Producer custody and the ledger's own entries are not the vault's business."""
    sealer.write(Sealings())

    assert rows(house, "SELECT count(*) FROM {b}.sealed") == [(0,)]


def test_identifiers_are_indexed_and_prompts_are_not(house, sealer):
    """A guess of a prompt can be confirmed by no index, whoever holds its key."""
    sealer.record(item("alice", prompt__user="1234", actor__account_id="a-1", net__ip="::1"))

    assert rows(house, "SELECT field FROM {b}.blind ORDER BY field") == [
        ("actor.account_id",),
        ("net.ip",),
    ]


def test_a_keystore_without_the_vaults_keys_makes_no_new_ones(pattern, tmp_path):
    """Or everything that was sealed before would be lost, and nobody would notice."""
    with house_in(pattern, tmp_path) as house, closing(Sealer(house)) as sealer:
        sealer.record(item("alice"))
        for path in (tmp_path / "keystore").glob("subjects*"):
            path.unlink()

        other = Sealer(house, shelf=house.second_process())
        with closing(other), pytest.raises(KeyMissing):
            other.vault.seal(other.connection, [item("bob")])


def test_an_index_row_that_leads_to_somebody_else_is_noticed(house, sealer):
    """An administrator who swaps two rows would have one person's words erased with another."""
    sealer.record(item("alice"), item("bob"))
    with house.owner() as owner:
        owner.execute(
            f"UPDATE {house.schema}.subject_index SET ref ="
            f" (SELECT ref FROM {house.schema}.subject_index o WHERE o.ref <> subject_index.ref)"
        )
    fresh = Sealer(house, vault=vault_of(house))

    with pytest.raises(SubjectIndexDamaged):
        fresh.record(item("alice"))
    fresh.close()


def test_a_small_memory_forgets_the_oldest_and_asks(house, sealer):
    """Bounded: whoever is not remembered is looked up."""
    small = sealer.vault._subjects
    small._limit, small._whole = 2, 3
    for name in ("a", "b", "c", "d", "e", "a"):
        sealer.record(item(name))

    assert len(small._known) == 2
    assert small._rows is None
    assert len(persons(house)) == 5
