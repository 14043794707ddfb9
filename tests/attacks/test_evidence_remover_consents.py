# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody who wants evidence gone and finds that the ledger itself asks for erasures.

A consent that is revoked has the ledger ask for an erasure, or place a hold. They revoke what is
not theirs to revoke, guess ids, and lie about what was promised and done.
"""

import pytest
from custody_desk import BASIS, Desk
from desk_world import granted, revoked, text
from house import attempt, event_id, house_in

from anchoring.alerts import alerts
from anchoring.consent_effects import begin_effects, effect_id
from ledger.erasure.deciding import NotAskedSo, OneEye
from ledger.lifecycle import OutOfOrder

#: What is tried here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def world(pattern, tmp_path_factory):
    with house_in(pattern, tmp_path_factory.mktemp("consents")) as house:
        made = Desk(house)
        house.post(text("words", on_revocation="erase"))
        yield made


def consented(world, person):
    """A person's attempt and consent; returns the consent's id."""
    consent = event_id()
    world.house.post(attempt(on_behalf_of=person), granted(consent, "words", person))
    return consent


def test_a_pipeline_and_one_auditor(world):
    """Who: somebody with a stolen pipeline's token, and one auditor.
    Tries: to revoke the person's consent, so that the ledger asks, and one auditor approves.
    Caught by: what the ledger asks for is approved by two persons; the first takes it up.
    Not caught: two auditors who conspire. Watch ERASURE_REQUESTED and the alert erasure-to-approve.
    """
    consent = consented(world, "victim-1")
    world.house.post(revoked(consent, "attacker"))
    (begun,) = begin_effects(world.house.book)
    case = world.erasures.get(begun.ref)

    world.approve(case, "victim-1", by=world.clerk)
    with pytest.raises(OneEye):
        world.approve(case, "victim-1", by=world.clerk)
    same = world.auditor(" ERIN ")
    with pytest.raises(OneEye):
        world.approve(case, "victim-1", by=same)

    assert world.erasures.get(begun.ref).state == "requested"
    assert world.vault.subject_of("victim-1") is not None
    assert [one.about for one in alerts(world.house.book, code="erasure-to-approve")] == [
        f"Erasure/{begun.ref}"
    ]


def test_an_erasure_that_waits_under_a_guessed_id(world):
    """Who: an auditor who knows which revocation will come, and so the id of what it will begin.
    Tries: to ask for the erasure of a witness under that id beforehand, so that the second person
    believes to approve what a consent promised.
    Caught by: the ledger takes another id; who approves names the subject anew.
    Not caught: a second person who approves without looking whom they name.
    """
    consent, end = consented(world, "victim-2"), revoked("x", "victim-2")
    end["aggregate_id"] = consent
    consented(world, "witness")
    trap = world.ask("witness", erasure_id=effect_id(end["event_id"]))
    world.house.post(end)
    (begun,) = begin_effects(world.house.book)

    assert begun.ref != trap.erasure_id
    with pytest.raises(NotAskedSo):
        world.approve(trap, "victim-2", by=world.second)
    subject = world.erasures.get(begun.ref).subject_ref
    assert subject == str(world.vault.subject_of("victim-2").ref)


def test_a_promise_that_is_changed_afterwards(world):
    """Who: an operator who wants the words to have promised nothing.
    Tries: to publish the same version of the text again with another promise.
    Caught by: a version is published once, and the log's own entry is asked, not a table.
    Not caught: a text that never promised anything.
    """
    consent = consented(world, "victim-3")
    (outcome,) = world.house.post(text("words", on_revocation="none"))
    world.house.post(revoked(consent, "victim-3"))

    (begun,) = begin_effects(world.house.book)

    assert isinstance(outcome, OutOfOrder)
    assert begun.started == "erasure"


def test_a_table_that_says_it_was_done(world):
    """Who: an administrator who writes into the table of consents that an effect was begun.
    Tries: to have the ledger forget a revocation.
    Caught by: the table is made anew from the log, and the effect is begun then; the revocation
    and the missing CONSENT_EFFECTED stand in the log for whoever looks.
    Not caught: until somebody rebuilds the read model.
    """
    from ledger.desk.consents import ConsentProjection
    from ledger.readmodel.follower import catch_up, rebuild

    house = world.house
    consent = consented(world, "victim-4")
    house.post(revoked(consent, "victim-4"))
    catch_up(house.database, house.schema, ["consents"])
    with house.owner() as owner:
        owner.execute(
            f"UPDATE {house.schema}.consent SET effected = 0, effected_at = 0, effect = '{{}}'"
            " WHERE consent_id = %s",
            (consent,),
        )
    silenced = begin_effects(house.book)

    rebuild(house.database, house.schema, [ConsentProjection()])
    found = begin_effects(house.book)

    assert silenced == []
    assert [one.consent_id for one in found] == [consent]


def test_a_hold_against_an_erasure(world):
    """Who: somebody who wants nobody to be erased, with a pipeline's token.
    Tries: to hold everything of a person for ever with a pipeline's token.
    Caught by: the hold names the revocation as its matter, and an auditor releases it by name.
    Not caught: the time until somebody looks. Holds that consents placed are listed with the rest.
    """
    world.house.post(text("holding", on_revocation="hold"))
    consent = event_id()
    world.house.post(
        attempt(on_behalf_of="victim-5"), granted(consent, "holding", "victim-5"),
        revoked(consent, "attacker"),
    )  # fmt: skip
    (begun,) = begin_effects(world.house.book)

    case = world.erasures.request(person="victim-5", basis=BASIS, by=world.clerk)
    deferred = world.approve(case, "victim-5")
    world.holds.release(begun.ref, authority="data-protection-officer")
    world.erasures.advance()

    assert (deferred.state, deferred.hold_ids) == ("deferred", (begun.ref,))
    assert world.holds.get(begun.ref).authority == "consent-revocation"
    assert world.erasures.get(case.erasure_id).state == "pending"
