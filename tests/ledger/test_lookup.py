# SPDX-License-Identifier: GPL-3.0-or-later
"""What a writer knows before it decides: never older than the head that it builds on."""

import pytest
from administrator import administrator
from house import attempt, event_id, export, gen, ingest

from ledger.errors import EventConflict, IntegrityViolation, SourceConflict, Unavailable
from ledger.lifecycle import AssetUnknown, OutOfOrder
from ledger.lifecycle.references import LinkDiffers
from ledger.lookup import Lookup, States
from ledger.outcome import Recorded, Repeated


def test_a_refusal_is_never_older_than_what_another_process_acknowledged(house):
    """The asset was unknown here a moment ago, then ingested elsewhere; now its export is right.

    A batch that writes nothing swaps no head, so nothing but this look would notice.
    """
    other = house.second_process()
    house.post(attempt(), by=other)
    (before,) = house.post(export("asset"))
    assert isinstance(before, AssetUnknown)

    house.post(ingest("asset"), by=other)
    (after,) = house.post(export("asset"))

    assert isinstance(after, Recorded)


def test_a_state_that_another_process_changed_is_not_used(house):
    """Here the generation is open, elsewhere it was closed: the second outcome is refused."""
    other = house.second_process()
    start = attempt()
    house.post(start)

    house.post(gen(start["aggregate_id"]), by=other)
    (outcome,) = house.post(gen(start["aggregate_id"]))

    assert isinstance(outcome, OutOfOrder)


def test_ids_and_sources_of_another_process_are_known(house):
    """Both are looked up in the database, each time."""
    other = house.second_process()
    request = attempt(source={"id": "renderer", "n": 1})
    house.post(attempt())
    house.post(request, by=other)

    outcomes = house.post(
        request,
        attempt(event_id=request["event_id"]),
        attempt(source={"id": "renderer", "n": 1}),
        attempt(source={"id": "renderer", "n": 2}),
    )

    assert [type(one) for one in outcomes] == [Repeated, EventConflict, SourceConflict, Recorded]


def test_a_repeat_found_elsewhere_is_under_a_checkpoint_before_it_is_answered(house):
    """The other process committed and lost its store; whoever finds the entry signs first."""
    other = house.second_process()
    house.post(attempt())
    house.post(attempt(), by=other)
    request = attempt()
    away = house.directory / "unmounted"
    (house.directory / "checkpoints").rename(away)
    with pytest.raises(Unavailable):
        house.post(request, by=other)
    away.rename(house.directory / "checkpoints")

    (outcome,) = house.post(request)

    assert outcome == Repeated(position=2)
    assert house.book.notary.size == 3


def test_the_ledgers_own_stream_counts_on_across_processes(noon):
    """Both processes seal epochs; the Log stream's versions have no gap and no double."""
    other = noon.second_process()
    for shelf in (noon.shelf, other, other, noon.shelf):
        noon.now_ms.move(days=1)
        noon.post(attempt(), by=shelf)

    sealed = noon.book.reader.of_stream("Log/log")

    assert [one.entry.originator_version for one in sealed] == [1, 2, 3, 4]
    assert [one.entry.value["body"]["epoch"] for one in sealed] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE {b}.entry_body SET bytes = bytes || ' '::bytea WHERE position = 0",
        "DELETE FROM {b}.entry_body WHERE position = 0",
        "UPDATE {b}.entry SET version = 7 WHERE position = 0",
        "UPDATE {b}.entry SET topic = 'GEN/1' WHERE position = 0",
        "DELETE FROM {b}.entry WHERE position = 0",
    ],
    ids=["edited", "body gone", "version", "topic", "entry gone"],
)
def test_a_decision_is_never_built_on_a_damaged_stream(house, damage):
    """A stream is read back with its leaf, its columns and its versions held against each other."""
    start = attempt()
    house.post(start, {**moderation(), "aggregate_id": start["aggregate_id"]})
    house.reopen()
    with administrator(house) as admin:
        admin.do(damage)

    with pytest.raises(IntegrityViolation):
        house.post(gen(start["aggregate_id"]))


def moderation():
    judged = {"stage": "pre_prompt", "classifier": {"id": "filter", "version": "1"}}
    return {
        **attempt(),
        "event_id": event_id(),
        "type": "MODERATION",
        "body": {"mod": {**judged, "filter_action": "allow"}},
        "sealed": {},
    }


def test_the_memory_of_states_is_bounded():
    """The least used go first; what is asked for stays."""
    states = States(limit=3)
    states.keep({f"Asset/{n}": n for n in range(3)}, log_version=1, rows=())
    states.get("Asset/0")

    states.keep({"Asset/3": 3}, log_version=2, rows=())

    assert [states.get(f"Asset/{n}") for n in range(4)] == [0, None, 2, 3]
    assert states.log_version == 2
    states.forget()
    assert states.get("Asset/0") is None
    assert states.log_version is None


def test_an_entry_that_this_writer_made_is_linked_without_a_question(house):
    """Every outcome links its attempt. What is remembered goes, the oldest first, or all at once.

    A link to an entry that is not remembered, by whomever it was made, has to be asked for.
    """
    lookup, states = Lookup(house.schema), States(limit=1)
    start = attempt()
    (recorded, later) = house.post(start, attempt())
    leaf = f"sha256:{recorded.row.link.leaf.hex()}"
    link = {"rel": "attempt", "id": start["event_id"], "leaf": leaf}
    outcome = house.prepare(gen(start["aggregate_id"]) | {"links": [link]})

    states.keep({}, log_version=0, rows=[recorded.row])
    known = lookup.assume([outcome], states)
    states.keep({}, log_version=0, rows=[later.row])
    pushed_out = lookup.assume([outcome], states)
    states.keep({}, log_version=0, rows=[recorded.row])
    states.forget()
    states.keep({}, log_version=0, rows=())

    assert known is not None
    assert known.leaves == {start["event_id"]: recorded.row.link.leaf}
    assert pushed_out is None
    assert lookup.assume([outcome], states) is None


def test_a_link_with_another_leaf_is_refused_whoever_made_the_entry(house):
    """From memory or from the index: the same refusal, and the right leaf is taken."""
    other, start = house.second_process(), attempt()
    (recorded,) = house.post(start)
    right = f"sha256:{recorded.row.link.leaf.hex()}"

    for shelf in (house.shelf, other):
        wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
        link = {"rel": "attempt", "id": start["event_id"], "leaf": wrong}
        (refused,) = house.post(gen(start["aggregate_id"]) | {"links": [link]}, by=shelf)
        assert isinstance(refused, LinkDiffers)

    link = {"rel": "attempt", "id": start["event_id"], "leaf": right}
    (outcome,) = house.post(gen(start["aggregate_id"]) | {"links": [link]})
    assert isinstance(outcome, Recorded)
