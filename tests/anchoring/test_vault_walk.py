# SPDX-License-Identifier: GPL-3.0-or-later
"""Fsck and the vault: what was erased lawfully is in order, what was taken is damage."""

import pytest
from house import attempt, house_in

from anchoring.fsck import Fsck
from ledger import clock
from ledger.erasure.erasures import Erasures
from ledger.request import Identity
from sealtrail.verify.disclosure import PERSON, commit

TABLES = ("subject", "sealed", "vault_state")


@pytest.fixture(scope="module")
def kept(pattern, tmp_path_factory):
    """0 alice, 1 bob, 2 carol, who was erased, 3 a client that keeps its values; the rest ours."""
    with house_in(pattern, tmp_path_factory.mktemp("walk")) as house:
        for name in ("alice", "bob", "carol"):
            house.post(attempt(on_behalf_of=name, sealed={"prompt.user": "a cat"}))
        house.post(by_a_careful_client())
        erasures = Erasures.of(house.book)
        case = erasures.request(basis="gdpr-17-1-a", by=officer(house, "one"), person="carol")
        erasures.approve(case.erasure_id, by=officer(house, "two"), person="carol")
        erasures.complete()
        changed(house, *(f"CREATE TABLE {{b}}.old_{one} AS TABLE {{b}}.{one}" for one in TABLES))
        yield house


@pytest.fixture
def house(kept):
    """The same; what was done to its vault is undone afterwards."""
    yield kept
    for one in TABLES:
        changed(kept, f"DELETE FROM {{b}}.{one}", f"INSERT INTO {{b}}.{one} TABLE {{b}}.old_{one}")


def officer(house, name):
    return Identity(
        credential=f"cred_{name}", tenant=house.tenant, role="auditor", kind="person", name=name
    )


def by_a_careful_client():
    """A request with digests in place of values."""
    digests, _ = commit(clock.random_bytes(32), {PERSON: "zoe"})
    request = attempt()
    for name in ("on_behalf_of", "sealed", "record_key"):
        request.pop(name, None)
    return {**request, "_sd": digests, "person_digest": digests[0]}


def changed(house, *statements):
    """Do what the owner of the tables can, no trigger in the way."""
    with house.owner() as owner:
        owner.execute("SET session_replication_role = replica")
        for one in statements:
            owner.execute(one.format(b=house.schema))


def damage(house, *, full=True):
    report = Fsck(house.book, first_key=house.first_key(), full=full).run()
    return [(one.position, one.what) for one in report.damage], report.not_checked


def test_a_lawful_erasure_and_a_careful_client_are_in_order(house):
    """Nothing is damaged, and nothing is left unchecked."""
    assert damage(house) == ([], [])


def test_values_that_were_taken_are_missed_at_their_position(house):
    """Whose were never asked to go; a check that is not full does not look for them."""
    changed(
        house,
        "DELETE FROM {b}.sealed WHERE event_id ="
        " (SELECT event_id FROM {b}.entry WHERE position = 1)",
    )

    assert damage(house) == ([(1, "vault")], [])
    assert damage(house, full=False) == ([], [])


@pytest.mark.parametrize(
    ("statement", "position"),
    [
        ("UPDATE {b}.sealed SET blob = NULL, wrapped_key = NULL WHERE {one}", 0),
        ("UPDATE {b}.sealed SET subject_ref = gen_random_uuid() WHERE {one}", 0),
        ("UPDATE {b}.sealed SET blob = 'x', wrapped_key = 'x' WHERE {three}", 2),
        ("UPDATE {b}.sealed SET event_id = gen_random_uuid() WHERE {three}", None),
    ],
    ids=["emptied", "orphaned", "filled", "of no entry"],
)
def test_sealed_rows_that_contradict_the_rest_are_damage(house, statement, position):
    """Emptied without an erasure, of nobody, filled again, or of no entry."""
    at = "event_id = (SELECT event_id FROM {{b}}.entry WHERE position = {})"
    changed(house, statement.format(b="{b}", one=at.format(0), three=at.format(2)).format(b="{b}"))

    assert (position, "vault") in damage(house)[0]


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("erasure", ["theirs", "made up", "unrecoverable"])
def test_an_erasure_that_the_log_does_not_know_is_damage(house, erasure, full):
    """Also one that was of somebody else, and one that only a restore could have caused."""
    with house.owner() as owner:
        (theirs,) = owner.execute(
            f"SELECT erasure_id FROM {house.schema}.subject WHERE state = 'erased'"
        ).fetchone()
    id_ = theirs if erasure == "theirs" else erasure
    changed(
        house,
        "UPDATE {b}.subject SET state = 'erased', wrapped_key = NULL, identity = NULL,"
        f" erasure_id = '{id_}' WHERE state = 'live'",
    )

    found, _ = damage(house, full=full)

    assert found.count((None, "vault")) == 2


def test_entries_from_before_the_vault_are_left_open(house):
    """What was never sealed cannot be missed; the report says how far it looked."""
    changed(house, "UPDATE {b}.vault_state SET since = 2")
    changed(
        house,
        "DELETE FROM {b}.sealed WHERE event_id ="
        " (SELECT event_id FROM {b}.entry WHERE position = 1)",
    )

    found, left = damage(house)

    assert (found, left) == ([], ["sealed values of the 2 entries before there was a vault"])
