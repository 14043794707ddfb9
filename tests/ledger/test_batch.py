# SPDX-License-Identifier: GPL-3.0-or-later
"""One batch: each event stands or falls alone, and what is refused leaves nothing behind."""

import json

import pytest
from house import attempt, event_id, export, gen, ingest

from anchoring.fsck import Fsck
from ledger.errors import EventConflict, SourceConflict, TooLarge
from ledger.lifecycle import AssetExists, AssetUnknown, AssetWithdrawn, OutOfOrder
from ledger.outcome import Recorded, Repeated
from sealtrail.verify.entry import ENTRY_MAX, check_entry
from sealtrail.verify.merkle import check_inclusion
from sealtrail.verify.note import Checkpoint, Note

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def withdrawn(asset_id):
    return {
        **ingest(asset_id),
        "event_id": event_id(),
        "type": "ASSET_WITHDRAWN",
        "body": {"reason_code": "consent-revoked"},
    }


def kinds(outcomes):
    return [type(outcome) for outcome in outcomes]


def test_the_neighbours_of_a_refused_event_are_recorded(house):
    """Ten events, three of them impossible: seven entries, without a gap in the positions."""
    one, other = attempt(), attempt()
    batch = [
        one,
        gen(event_id()),  # an outcome for an attempt that never was
        gen(one["aggregate_id"], "asset-1"),
        gen(one["aggregate_id"]),  # a second outcome
        other,
        export("asset-1"),
        export("asset-2"),  # of an asset that nobody knows
        ingest("asset-3"),
        withdrawn("asset-3"),
        export("asset-3"),
    ]

    outcomes = house.post(*batch)

    refused = {1: OutOfOrder, 3: OutOfOrder, 6: AssetUnknown, 9: AssetWithdrawn}
    assert kinds(outcomes) == [refused.get(at, Recorded) for at in range(10)]
    positions = [one.row.link.position for one in outcomes if isinstance(one, Recorded)]
    assert positions == [0, 1, 2, 3, 4, 5]
    assert Fsck(house.book).run().damage == []


def test_one_id_twice_in_a_batch_is_recorded_once(house):
    """The same request is a repeat of the first, another request a conflict with it."""
    request = attempt()
    other = attempt(event_id=request["event_id"])

    first, again, conflict, next_ = house.post(request, request, other, attempt())

    assert isinstance(first, Recorded)
    assert again == Repeated(position=first.row.link.position)
    assert isinstance(conflict, EventConflict)
    assert next_.row.link.position == first.row.link.position + 1


def test_the_first_of_two_equal_ids_may_be_refused_and_the_second_recorded(house):
    """What was refused has used up nothing: no id, no number, no version of its stream."""
    generation, id_ = event_id(), event_id()
    too_early = gen(generation, event_id=id_, source={"id": "renderer", "n": 1})
    start = attempt(generation)

    outcomes = house.post(too_early, start, too_early)

    assert kinds(outcomes) == [OutOfOrder, Recorded, Recorded]
    assert outcomes[2].row.entry.originator_version == 2


def test_a_sources_number_is_used_once_in_a_batch_and_across_batches(house):
    """(source, n) finds gaps, so two events never share one; other sources count for themselves."""
    source = {"id": "renderer-1", "n": 7}
    first = attempt(source=source)

    outcomes = house.post(
        first, attempt(source=source), attempt(source={"id": "renderer-2", "n": 7})
    )
    later = house.post(attempt(source=source), first)

    assert kinds(outcomes) == [Recorded, SourceConflict, Recorded]
    assert kinds(later) == [SourceConflict, Repeated]


def test_one_asset_is_born_once_in_a_batch(house):
    """Two generations claim one output, and an ingest claims it, too: the first has it."""
    one, other = attempt(), attempt()
    batch = (
        one,
        other,
        gen(one["aggregate_id"], "the-asset"),
        gen(other["aggregate_id"], "the-asset"),
        ingest("the-asset"),
        gen(other["aggregate_id"], "another-asset"),
    )

    outcomes = house.post(*batch)

    assert kinds(outcomes) == [Recorded, Recorded, Recorded, AssetExists, AssetExists, Recorded]
    assert Fsck(house.book).run().damage == []


def test_every_receipt_of_a_batch_leads_to_the_one_checkpoint(house):
    """One signature for the commit, a path for each entry."""
    outcomes = house.post(*[attempt() for _ in range(9)])

    (note,) = {outcome.checkpoint for outcome in outcomes}
    checkpoint = Checkpoint.parse(Note.parse(note).text)
    assert checkpoint.size == 9
    for outcome in outcomes:
        check_inclusion(
            leaf=outcome.row.link.leaf,
            index=outcome.row.link.position,
            size=9,
            path=outcome.path,
            root=checkpoint.root,
        )


def test_the_ledgers_own_members_are_in_the_entry(house):
    """Tenant, version, recorded time and credential are the ledger's word, whatever was sent."""
    (outcome,) = house.post(attempt(time={"producer": "2001-01-01T00:00:00.000Z"}))

    entry = check_entry(outcome.row.entry.data)
    assert entry["tenant"] == house.tenant
    assert entry["aggregate"]["version"] == 1
    assert entry["actor"]["credential"] == house.identity.credential
    assert entry["time"]["producer"] == "2001-01-01T00:00:00.000Z"
    assert entry["time"]["recorded"] >= entry["time"]["request_received"]
    assert "position" not in json.dumps(entry)


def test_an_entry_larger_than_16_kib_is_refused_alone(house):
    """What is larger is an artifact with a digest."""
    first, large, last = (house.prepare(attempt()) for _ in range(3))
    large = large._replace(frame=large.frame._replace(behind=b" " * ENTRY_MAX))

    outcomes = house.book.record([first, large, last]).result(timeout=30)

    assert kinds(outcomes) == [Recorded, TooLarge, Recorded]
    assert [outcomes[at].row.link.position for at in (0, 2)] == [0, 1]


@pytest.mark.parametrize("kind", ["repeat", "refusal"])
def test_a_batch_that_comes_to_nothing_writes_nothing(house, kind):
    """No empty commit, no new checkpoint."""
    request = attempt()
    house.post(request)
    before = house.book.reader.head()

    house.post(request if kind == "repeat" else gen(event_id()))

    assert house.book.reader.head() == before
