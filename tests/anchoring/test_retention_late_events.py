# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes after its stream's bytes have left: exports, withdrawals, late outcomes, retries."""

import pytest
from house import attempt, export, gen, ingest
from retention_world import RUN, aged, expire, world_in

from anchoring.overdue import Sweep
from anchoring.receipt import receipt_of
from ledger.lifecycle import AssetWithdrawn, OutOfOrder
from ledger.outcome import Recorded, Repeated

pytestmark = pytest.mark.once


@pytest.fixture(params=["cold", "expired"])
def old(request, postgres, authority, tmp_path):
    """Streams whose entries are cold, or gone for good; and a process that remembers nothing."""
    with world_in(postgres, tmp_path, authority, days=500) as world:
        world.publish()
        made, timed_out = attempt(), attempt()
        requests = [ingest("taken"), made, gen(made["aggregate_id"], "made"), timed_out]
        requests.append(ingest("withdrawn"))
        world.house.post(*requests)
        world.house.post(withdrawal("withdrawn"))
        world.house.now_ms.move(days=1)
        Sweep(world.book).run(world.house.now_ms())
        world.fill(RUN)
        expire(world)
        aged(world, 9)
        if request.param == "expired":
            assert world.done()["expired"] > 0
        world.house.reopen()
        yield world, requests, request.param


def withdrawal(asset):
    request = ingest(asset)
    return {**request, "type": "ASSET_WITHDRAWN", "body": {"reason_code": "consent-revoked"}}


def test_the_lives_of_old_things_go_on(old):
    """As if every byte were there: what may follow follows, what may not is refused."""
    world, requests, _ = old
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
