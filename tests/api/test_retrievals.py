# SPDX-License-Identifier: GPL-3.0-or-later
"""Old entries over HTTP: cold ones come back by a job, expired ones say so, proofs always work."""

import pytest
from retention_world import aged, expire, world_in
from served_house import serving

from anchoring.thaw import Retrievals
from sealtrail.verify.tlog_proof import check_tlog_proof

pytestmark = pytest.mark.once

RUN = 256


@pytest.fixture(scope="module")
def old(pattern, authority, tmp_path_factory):
    """One run that has expired, the next one cold, and a hot entry; behind a server."""
    with world_in(pattern, tmp_path_factory.mktemp("old"), authority, days=500) as world:
        world.publish()
        world.fill(RUN)
        aged(world, 2)
        expire(world)
        world.fill(RUN)
        aged(world, 9)
        world.sweep()
        aged(world, 92)
        world.sweep()
        size = world.book.reader.head().size
        with serving(world.house) as service:
            yield world, service, {"expired": 10, "cold": RUN + 40, "hot": size - 2}


def event_id(world, position):
    with world.house.owner() as owner:
        ((found,),) = owner.execute(
            f"SELECT event_id::text FROM {world.house.schema}.entry WHERE position = %s",
            (position,),
        ).fetchall()
    return found


def test_each_tier_has_its_answer(old):
    """200, 409 with what to do, and 410 with the announcement; each of them is a look."""
    world, service, at = old
    before = len(service.looks)

    answers = {
        name: service.get(f"/v1/events/{event_id(world, position)}")
        for name, position in at.items()
    }

    assert {name: one.status_code for name, one in answers.items()} == {
        "hot": 200, "cold": 409, "expired": 410,
    }  # fmt: skip
    assert answers["cold"].json()["code"] == "body-cold"
    gone = answers["expired"].json()
    assert gone["code"] == "body-expired"
    announced = service.get(f"/v1/events/{gone['facts']['expiry']}").json()["content"]
    assert announced["type"] == "RETENTION_EXPIRED"
    assert len(service.looks) == before + 4


def test_proofs_are_instant_in_every_tier(old):
    """By event id and by position: leaf, path and checkpoint need no body."""
    world, service, at = old

    for tier, position in at.items():
        proof = service.get(f"/v1/events/{event_id(world, position)}/proof").json()
        public = service.public(f"/proofs/{position}").json()

        assert proof["body"] == {"hot": "database"}.get(tier, tier)
        assert proof["leaf"] == public["leaf"]
        check_tlog_proof(
            proof["proof"].encode(),
            leaf=bytes.fromhex(proof["leaf"][7:]),
            origin=proof["origin"],
            keys=world.house.trust().origins[proof["origin"]],
        )


def test_a_bundle_with_an_expired_body_answers_410(old):
    """The tile of hashes stays public, the bundle of entries is gone."""
    world, service, _ = old

    assert service.get("/v1/tile/entries/000").status_code == 410
    assert service.public("/tile/0/000").status_code == 200
    assert world.fsck().damage == []


def test_a_cold_entry_is_asked_for_and_then_read(old):
    """202 with an id, a state that moves, and the very bytes of the receipt."""
    world, service, at = old
    id_ = event_id(world, at["cold"])

    asked = service.ask(
        "POST", "/v1/retrievals", token=service.auditor, json={"event_ids": [id_], "hours": 1}
    )
    path = f"/v1/retrievals/{asked.json()['id']}"
    waiting = service.get(path).json()
    Retrievals(world.book, world.archive).work_all()

    assert (asked.status_code, waiting["state"]) == (202, "waiting")
    assert service.get(path).json()["done"] == 1
    found = service.get(f"/v1/events/{id_}")
    assert (found.status_code, found.json()["position"]) == (200, at["cold"])


def test_only_an_auditor_asks_and_only_for_what_is_there(old):
    """A pipeline's token is refused; an unknown id is not found, and the look is recorded."""
    world, service, at = old
    order = {"event_ids": [event_id(world, at["cold"])]}
    nobody = "0190a5b0-0000-7000-8000-000000000000"

    by_pipeline = service.post(order, "/v1/retrievals")
    unknown = service.ask(
        "POST", "/v1/retrievals", token=service.auditor, json={"event_ids": [nobody]}
    )

    assert (by_pipeline.status_code, unknown.status_code) == (403, 404)
    assert service.get(f"/v1/retrievals/{nobody}").status_code == 404
    assert service.looks[-1]["body"]["path"] == "/v1/retrievals"
