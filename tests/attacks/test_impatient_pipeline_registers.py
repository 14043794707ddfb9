# SPDX-License-Identifier: GPL-3.0-or-later
"""The impatient pipeline, and what it says of models, policies, consents and recalls."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from house import attempt, event_id, export, gen, ingest
from registering import PAINTER, D, E, consent, model, published, revoked, said

from anchoring.fsck import Fsck
from ledger.lifecycle import (
    ConsentRevoked,
    DigestDiffers,
    NotQuarantined,
    TakedownDiffers,
    VersionExists,
    VersionNotNewer,
    VersionUnknown,
)
from ledger.lifecycle.references import LinkDiffers
from ledger.outcome import Recorded

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def call(*consents, **changes):
    one = attempt(**changes)
    return one | {"body": one["body"] | {"consent_ids": list(consents)}}


def test_goes_on_generating_while_a_consent_is_revoked(house):
    """Who: a pipeline with two servers, one of which hears of a revocation first.
    Tries: forty calls under the consent through both, while it is taken back through one of them.
    Caught by: the writer, which looks the consent up under the very head that it builds on: what
    is recorded behind the revocation rests on nothing. Fsck finds no such call.
    Not caught: a call before it, whose output comes afterwards; a call that names no consent.
    """
    shelves = [house.shelf, house.second_process()]
    house.post(consent("consent/9"))
    for shelf in shelves:  # Both remember it alive.
        house.post(call("consent/9"), by=shelf)
    calls = [(call("consent/9"), shelves[n % 2]) for n in range(40)]

    with ThreadPoolExecutor(16) as pool:
        tries = [pool.submit(house.post, one, by=shelf) for one, shelf in calls[:20]]
        (end,) = house.post(revoked("consent/9"))
        tries += [pool.submit(house.post, one, by=shelf) for one, shelf in calls[20:]]
        outcomes = [outcome for one in tries for outcome in one.result()]

    recorded = [one for one in outcomes if isinstance(one, Recorded)]
    assert all(one.row.link.position < end.row.link.position for one in recorded)
    assert all(isinstance(one, ConsentRevoked) for one in outcomes[20:])
    assert {type(one) for one in outcomes} <= {Recorded, ConsentRevoked}
    assert Fsck(house.book).run().damage == []


def test_names_a_revoked_consent_by_a_link_alone(house):
    """Who: a pipeline whose calls are refused since a consent was taken back.
    Tries: to leave the consent out of `consent_ids` and to name it as a link, alone, beside a
    leaf that is made up, and beside the link to another entry.
    Caught by: a link `under-consent` is looked up as `consent_ids` are, whatever its leaf says.
    Not caught: a link to the event that gave the consent; a call that names no consent.
    """
    one = {"rel": "under-consent", "id": "consent/9"}
    house.post(consent("consent/9"))
    (covered,) = house.post(attempt(links=[one]))
    house.post(revoked("consent/9"))

    tries = [[one], [one | {"leaf": E}], [{"rel": "incident", "id": "x"}, one]]
    refused = [house.post(attempt(links=links))[0] for links in tries]

    assert isinstance(covered, Recorded)
    assert [type(one) for one in refused] == [ConsentRevoked] * 3
    assert [one.errors[0].pointer for one in refused] == [
        "/links/0/id",
        "/links/0/id",
        "/links/1/id",
    ]


def test_registers_a_version_again_with_another_manifest(house):
    """Who: a pipeline that exchanged the weights and kept the name.
    Tries: the same version with another manifest, here and there, alone and beside a new one.
    Caught by: the model's stream: a version's digest never changes: 409 digest-differs.
    Not caught: weights that are exchanged and never registered; what the provider answers may
    tell (docs/registers.md).
    """
    other = house.second_process()
    house.post(model("3", D))

    again = house.post(model("3", E), model("3", D))
    there = house.post(model("4", D), model("4", E), model("3", E), by=other)

    assert [type(one) for one in again] == [DigestDiffers, VersionExists]
    assert [type(one) for one in there] == [Recorded, DigestDiffers, DigestDiffers]


def test_makes_up_the_leaf_of_a_parent(house):
    """Who: a pipeline that lost a receipt, or wants a call to look like another one's child.
    Tries: the parent's id with a leaf of its own making; another entry's leaf; its own id.
    Caught by: the index: the id is in the ledger with another leaf: 409 link-differs.
    Not caught: a parent that is not in this ledger; it is recorded as sent, unless the house
    refuses what it does not know.
    """
    parent, stranger = house.post(attempt(), attempt())
    leaves = [E, f"sha256:{stranger.row.link.leaf.hex()}"]
    links = [{"rel": "parent-call", "id": parent.row.event_id, "leaf": leaf} for leaf in leaves]
    own = event_id()
    mine = {"rel": "parent-call", "id": own, "leaf": D}

    outcomes = house.post(*(attempt(links=[one]) for one in links))
    (itself,) = house.post(attempt(event_id=own, links=[mine]))

    assert [type(one) for one in outcomes] == [LinkDiffers] * 2
    assert isinstance(itself, Recorded)  # Nobody knows one's own leaf: such a link leads nowhere.


def test_publishes_an_older_version_of_a_policy(house):
    """Who: a pipeline whose deployment was rolled back, with its policy.
    Tries: a version below the newest, the newest again, and an old one under another spelling.
    Caught by: the policy's stream: each version is above the last, and stays what it is.
    Not caught: a new version whose words are the old ones; its digest shows that.
    """
    house.post(published("POLICY", "safety", "7.9"), published("POLICY", "safety", "7.10", E))

    outcomes = house.post(
        published("POLICY", "safety", "7.8"),
        published("POLICY", "safety", "7.9", E),
        published("POLICY", "safety", "7.10", E),
        published("POLICY", "safety", "7.010", D),
        published("POLICY", "safety", "7.10-rc1", D),
    )

    refusals = [VersionNotNewer, DigestDiffers, VersionExists, VersionNotNewer, VersionNotNewer]
    assert [type(one) for one in outcomes] == refusals


def test_deploys_what_nobody_registered(house):
    """Who: a pipeline in a hurry.
    Tries: a deployment before its registration, of another version, of a retired one.
    Caught by: the model's stream: only what is registered and not retired goes into use.
    Not caught: a model that is called without a deployment; a call names what it names.
    """
    use = {"model": {"version": "3"}}
    before = house.post(said("MODEL_DEPLOYED", PAINTER, use))
    house.post(model("3"), said("MODEL_RETIRED", PAINTER, {"reason_code": "end-of-life"}))

    after = house.post(said("MODEL_DEPLOYED", PAINTER, use), said("MODEL_PINNED", PAINTER, use))

    assert isinstance(before[0], VersionUnknown)
    assert [one.problem for one in after] == ["version-retired"] * 2


def test_releases_what_was_never_held_back(house):
    """Who: a pipeline that cleans up its records afterwards.
    Tries: a release of a delivered output, of another generation's, and a second release.
    Caught by: the generation's stream: only what its outcome holds in quarantine, once.
    Not caught: an output that should have been held back and was delivered.
    """
    calls = [attempt(), attempt()]
    house.post(*calls)
    for one, fate in zip(calls, ("quarantined", "delivered"), strict=True):
        outcome = gen(one["aggregate_id"], f"picture-{fate}")
        outcome["body"]["outputs"][0]["disposition"] = fate
        house.post(outcome)
    house.reopen()

    def release(one, asset):
        body = {"asset_id": asset, "reason_code": "reviewed"}
        return said("OUTPUT_RELEASED", one["aggregate_id"], body)

    held, free = calls
    outcomes = house.post(
        release(free, "picture-delivered"),
        release(free, "picture-quarantined"),
        release(held, "picture-quarantined"),
        release(held, "picture-quarantined"),
    )

    assert [type(one) for one in outcomes] == [
        NotQuarantined, NotQuarantined, Recorded, NotQuarantined,
    ]  # fmt: skip


def test_turns_back_the_clock_of_a_takedown(house):
    """Who: a house that is late with a picture somebody asked to have removed.
    Tries: the same request with a later receipt, and an answer after the answer.
    Caught by: the delivery's stream: a request comes in once, and ends once.
    Not caught: a request that is recorded late, or under another id; the person has a letter.
    """
    house.post(ingest("picture"))
    sent = export("picture")
    house.post(sent)

    def takedown(received, **more):
        body = {"request_id": "td-1", "received_at": f"2026-01-{received}T18:23:45.123Z", **more}
        return said("TAKEDOWN", sent["aggregate_id"], {"takedown": body})

    done = takedown("14", removed_at="2026-01-15T08:00:00.000Z")
    outcomes = house.post(takedown("14"), takedown("15"), done, done | {"event_id": event_id()})

    assert [type(one) for one in outcomes] == [
        Recorded, TakedownDiffers, Recorded, TakedownDiffers,
    ]  # fmt: skip
