# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening what was sealed: whole, by field, by identifier; what was tampered with is noticed."""

from uuid import UUID

import pytest
from sealing import item, vault_of

from ledger.errors import IntegrityViolation
from ledger.vault.construction import SealedValueDamaged
from sealtrail.verify.disclosure import PERSON, digest

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


@pytest.fixture
def house(emptied):
    """The house that all tests of this file share, its vault empty."""
    return emptied


@pytest.fixture
def sealed(sealer):
    """Two events of two persons, and the vault as another part of the process has it."""
    first = item("alice", prompt__user="a cat", actor__account_id="a-1", subjects__depicted="bob")
    second = item("bob", prompt__user="a dog", actor__account_id="a-1", net__ip="::1")
    sealer.record(first, second)
    return first, second


def test_all_that_was_sealed_opens_to_the_same_text(house, sealed):
    """Byte for byte the disclosures that the client has, each under its owner."""
    opened = vault_of(house).open(sealed[0].event_id)

    assert opened.disclosures == sealed[0].disclosures
    assert opened.values["prompt.user"] == "a cat"
    assert opened.owners["subjects.depicted"] != opened.owners[PERSON]
    assert (opened.gone, opened.erasures) == ([], ())


def test_many_events_open_as_each_of_them_alone(house, sealed):
    """By one query, and one without sealed values among them; each is held against its `_sd`."""
    vault = vault_of(house)
    none = "01945f00-0000-7000-8000-000000000000"
    sd = {one.event_id: [digest(text) for text in one.disclosures.values()] for one in sealed}

    opened = vault.open_all({**sd, none: ()})

    assert list(opened) == [*sd, none]
    assert [opened[one.event_id] for one in sealed] == [vault.open(one.event_id) for one in sealed]
    assert opened[none].disclosures == {}
    assert vault.open_all({}) == {}
    with pytest.raises(SealedValueDamaged):
        vault.open_all({sealed[0].event_id: sd[sealed[1].event_id]})


def test_only_the_fields_asked_for_are_opened(house, sealed):
    """Whoever needs an address does not get the prompt."""
    opened = vault_of(house).open(sealed[1].event_id, ["net.ip", "no.such"])

    assert dict(opened.values) == {"net.ip": "::1"}
    assert "a dog" not in repr(opened)


@pytest.mark.usefixtures("sealed")
def test_an_event_whose_client_keeps_its_values_opens_to_nothing(house):
    """Nothing is sealed for it, and that is no error."""
    assert vault_of(house).open("01890000-0000-7000-8000-000000000000").disclosures == {}


def test_events_are_found_by_identifier_and_by_person(house, sealed):
    """In order of their ids; by the person in whatever role."""
    vault = vault_of(house)
    both = sorted(one.event_id for one in sealed)

    assert vault.find("actor.account_id", "a-1") == both
    assert vault.find("actor.account_id", "a-1", limit=1) == both[:1]
    assert vault.find("net.ip", "::1") == [sealed[1].event_id]
    assert vault.find(PERSON, "bob") == both
    assert vault.find(PERSON, "nobody") == vault.find("net.ip", "10.0.0.1") == []


@pytest.mark.usefixtures("sealed")
def test_a_prompt_is_found_by_nothing(house):
    """There is no index of it under any key."""
    assert vault_of(house).find("prompt.user", "a cat") == []


def test_a_disclosure_that_the_entry_does_not_commit_to_is_not_shown(house, sealed):
    """Whoever has the keys, too, cannot put words into somebody's mouth."""
    vault, one = vault_of(house), sealed[0]
    committed = [digest(text) for text in one.disclosures.values()]

    assert vault.open(one.event_id, sd=committed).disclosures == one.disclosures
    with pytest.raises(SealedValueDamaged, match="commits"):
        vault.open(one.event_id, sd=committed[1:])


OF_ANOTHER_EVENT = """
UPDATE {b}.sealed a SET blob = b.blob FROM {b}.sealed b
 WHERE b.event_id <> a.event_id AND b.subject_ref = a.subject_ref
"""
OF_ANOTHER_PERSON = """
UPDATE {b}.subject a SET wrapped_key = b.wrapped_key FROM {b}.subject b WHERE b.ref <> a.ref
"""
TO_ANOTHER_PERSON = """
UPDATE {b}.sealed a SET subject_ref = b.ref FROM {b}.subject b WHERE b.ref <> a.subject_ref
   AND NOT EXISTS (
       SELECT 1 FROM {b}.sealed c WHERE c.event_id = a.event_id AND c.subject_ref = b.ref)
"""
NO_PERSON = "ALTER TABLE {b}.subject DISABLE TRIGGER USER; DELETE FROM {b}.subject"


@pytest.mark.parametrize(
    "change",
    [
        OF_ANOTHER_EVENT,
        OF_ANOTHER_PERSON,
        TO_ANOTHER_PERSON,
        NO_PERSON,
        "UPDATE {b}.sealed SET blob = set_byte(blob, 3, get_byte(blob, 3) # 1)",
        "UPDATE {b}.sealed SET wrapped_key = substr(wrapped_key, 1, 50)",
        "UPDATE {b}.sealed SET blob = NULL, wrapped_key = NULL",
    ],
)
def test_what_an_administrator_altered_is_an_alarm(house, sealed, change):
    """Moved to another event or person, altered, or emptied without an erasure: never a value."""
    with house.owner() as owner:
        owner.execute(change.format(b=house.schema))
    vault = vault_of(house)

    with pytest.raises(IntegrityViolation):
        _ = [vault.open(one.event_id) for one in sealed]


@pytest.mark.usefixtures("sealed")
def test_another_key_goes_with_its_subject(house):
    """An artifact's key opens under the same person and name only."""
    vault = vault_of(house)
    alice = vault.subject_for("alice")
    wrapped = vault.wrap_for(alice, b"k" * 32, b"artifact 1")

    assert vault.unwrap_for(alice, wrapped, b"artifact 1") == b"k" * 32
    for ref, aad in ((vault.subject_for("bob"), b"artifact 1"), (alice, b"artifact 2")):
        with pytest.raises(SealedValueDamaged):
            vault.unwrap_for(ref, wrapped, aad)
    with pytest.raises(IntegrityViolation):
        vault.unwrap_for(UUID(int=1), wrapped, b"artifact 1")


def test_a_subject_made_outside_of_a_batch_is_the_writers_too(house, sealer):
    """The archive and the writer seal for one person under one key; the tenant has its own."""
    vault = vault_of(house)
    carol, tenant = vault.subject_for("carol"), vault.subject_for(None)

    sealed = sealer.record(item("carol", prompt__user="x", prompt__system="y"))

    assert {blob.ref for blob in sealed.blobs} == {carol.bytes, tenant.bytes}
    assert vault.subject_for("carol") == carol
    assert vault.subject_for(None) == tenant
    assert vault.subject_of("carol").state == "live"
    assert vault.subject(tenant).kind == "tenant"
