# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes after its stream's bytes have left: exports, withdrawals, late outcomes, retries."""

import pytest
from house import attempt, export, gen, ingest
from registering import PAINTER, D, E, consent, model, published, revoked, said
from retention_world import RUN, aged, expire, world_in

from anchoring.overdue import Sweep
from anchoring.receipt import receipt_of
from ledger.lifecycle import AssetWithdrawn, OutOfOrder
from ledger.outcome import Recorded, Repeated

pytestmark = pytest.mark.once


@pytest.fixture(params=["cold", "expired"])
def old(request, pattern, authority, tmp_path):
    """Streams whose entries are cold, or gone for good; and a process that remembers nothing."""
    with world_in(pattern, tmp_path, authority, days=500) as world:
        world.publish()
        made, timed_out = attempt(), attempt()
        requests = [ingest("taken"), made, gen(made["aggregate_id"], "made"), timed_out]
        requests.append(ingest("withdrawn"))
        world.house.post(*requests)
        world.house.post(withdrawal("withdrawn"), *registered(), *held_back())
        world.house.now_ms.move(days=1)
        Sweep(world.book).run(world.house.now_ms())
        world.fill(RUN)
        expire(world)
        aged(world, 9)
        if request.param == "expired":
            assert world.done()["expired"] > 0
        world.house.reopen()
        yield world, requests, request.param


def registered():
    """Registers with a version that is retired, and consents of which one was taken back."""
    yield from (model("3"), model("4", E), published("POLICY", "safety", "2"))
    yield said("MODEL_RETIRED", PAINTER, {"model": {"version": "4"}, "reason_code": "replaced"})
    yield from (consent("consent/9"), revoked("consent/9"), consent("consent/8"))
    yield consent("consent/7", action="opt_out")
    yield said("WRITER_STARTED", "renderer-1", {"last_n": 7})


def held_back():
    """A generation with an output in quarantine, and a delivery that somebody complained of."""
    yield attempt("held")
    outcome = gen("held", "picture")
    outcome["body"]["outputs"][0]["disposition"] = "quarantined"
    yield outcome
    yield export("taken", aggregate_id="delivery")
    yield takedown("2026-01-14T18:23:45.123Z")


def takedown(received):
    asked = {"request_id": "td-1", "received_at": received}
    return said("TAKEDOWN", "delivery", {"takedown": asked})


def covered(*consents, **changes):
    one = attempt()
    return one | {"body": one["body"] | {"consent_ids": list(consents)} | changes}


def release():
    body = {"asset_id": "picture", "reason_code": "reviewed"}
    return said("OUTPUT_RELEASED", "held", body)


def withdrawal(asset):
    request = ingest(asset)
    return {**request, "type": "ASSET_WITHDRAWN", "body": {"reason_code": "consent-revoked"}}


def registers_and_consents_hold(world):
    """What was registered and taken back is not forgotten with the bytes that said so."""
    world.house.strict = True

    outcomes = world.house.post(
        model("3", E),
        published("POLICY", "safety", "1"),
        covered("consent/9"),
        covered("consent/7"),
        covered("consent/8", model={"provider": "acme", "name": "painter", "version": "4"}),
        takedown("2026-01-15T18:23:45.123Z"),
    )
    allowed = world.house.post(
        covered("consent/8"),
        said("MODEL_DEPLOYED", PAINTER, {"model": {"version": "3", "manifest": D}}),
        release(),
        takedown("2026-01-14T18:23:45.123Z"),
        said("WRITER_HEARTBEAT", "renderer-1", {"last_n": 8}),
    )

    assert [one.problem for one in outcomes] == [
        "digest-differs", "version-not-newer", "consent-revoked", "consent-withheld",
        "link-retired", "takedown-differs",
    ]  # fmt: skip
    assert [type(one) for one in allowed] == [Recorded] * 5


def test_the_lives_of_old_things_go_on(old):
    """As if every byte were there: what may follow follows, what may not is refused."""
    world, requests, _ = old
    registers_and_consents_hold(world)
    late = gen(requests[3]["aggregate_id"], "late")

    exported, output, outcome, withdrawn, again, twice = world.house.post(
        export("taken"),
        export("made"),
        late,
        export("withdrawn"),
        gen(requests[1]["aggregate_id"], "again"),
        ingest("taken"),
    )

    assert isinstance(exported, Recorded)
    assert isinstance(output, Recorded)
    assert outcome.row.topic == "OUTCOME_LATE/1"
    assert isinstance(withdrawn, AssetWithdrawn)
    assert isinstance(again, OutOfOrder)
    assert isinstance(twice, OutOfOrder)
    assert world.fsck().damage == []


def test_a_retry_of_an_old_request_gets_the_proof_and_is_told_where_the_body_is(old):
    """Same position, same leaf, no bytes: that is a repeat, and no error."""
    world, requests, tier = old

    (outcome,) = world.house.post(requests[0])
    receipt = receipt_of(world.book, outcome, {})

    assert isinstance(outcome, Repeated)
    assert (receipt.repeat, receipt.json()["body"]) == (True, tier)
    assert "entry" not in receipt.json()
    assert receipt.proof.leaf == world.book.reader.locate_at(outcome.position).leaf
