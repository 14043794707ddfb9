# SPDX-License-Identifier: GPL-3.0-or-later
"""Legal holds: what they mean, that they are durable, and that the log alone decides."""

import threading

import pytest
from house import Hand, attempt, event_id, gen, house_in, ingest, noon_before

from ledger import clock
from ledger.errors import MalformedEvent, NotFound
from ledger.holds import IDS, HoldExists, HoldReleased, Holds, HoldsBusy

ANY_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
COURT = {"matter": "2026-CV-01234", "authority": "court-order"}


@pytest.fixture(scope="module")
def house(pattern, tmp_path_factory):
    """Noon three days ago: an attempt, its GEN; a day later an INGEST and an attempt."""
    with house_in(pattern, tmp_path_factory.mktemp("holds"), now_ms=Hand(noon_before(3))) as made:
        made.start, made.other, made.asset = attempt(), attempt(), ingest()
        made.outcome = gen(made.start["aggregate_id"])
        made.post(made.start, made.outcome)
        made.now_ms.move(days=1)
        made.post(made.asset, made.other)
        yield made


@pytest.fixture
def holds(house):
    """The holds of a Book that has none; what a test places is released after it."""
    holds = Holds.of(house.book)
    yield holds
    for hold in holds.all():
        holds.release(hold.hold_id, authority="end-of-test")


def positions(holds):
    return [at for at, _ in holds.on_positions(0, 5)]


def day(house, offset):
    return clock.day_of(house.now_ms.ms + offset * clock.DAY_MS)


@pytest.mark.parametrize(
    ("query", "meant"),
    [
        ({"types": ["GEN"]}, [1]),
        ({"types": ["GEN", "INGEST"]}, [1, 3]),
        ({"types": ["NOTHING"]}, []),
        ({"streams": ["Generation/{start}"]}, [0, 1]),
        ({"streams": ["Generation/{start}"], "types": ["GEN_ATTEMPT"]}, [0]),
        ({"recorded_from": "{noon}"}, [2, 3, 4]),
        ({"recorded_until": "{noon}"}, [0, 1]),
        ({"recorded_from": "{noon}", "recorded_until": "{noon}"}, []),
        ({"recorded_from": "1970-01-01T00:00:00.000Z"}, [0, 1, 2, 3, 4]),
        ({"subjects": ["0b9d3a52-7f11-4c0e-9a44-6d2f0c1e8b77"]}, []),
    ],
    ids=str,
)
def test_a_query_means_the_entries_that_meet_every_member_of_it(house, holds, query, meant):
    """Types, things and times; the end of a time span is not part of it."""
    words = {"start": house.start["aggregate_id"], "noon": clock.rfc3339(house.now_ms.ms)}
    filled = {
        name: value.format(**words)
        if isinstance(value, str)
        else [one.format(**words) for one in value]
        for name, value in query.items()
    }

    holds.apply({"query": filled}, **COURT)

    assert positions(holds) == meant


def test_ids_mean_entries_recorded_already_or_not(house, holds):
    """A hold on an event that is still to come meets it when it comes."""
    late = attempt()

    hold = holds.apply({"event_ids": [house.start["event_id"], late["event_id"]]}, **COURT)
    before = holds.on_events([house.start["event_id"], late["event_id"], event_id()])
    house.post(late)

    assert before == dict.fromkeys((house.start["event_id"], late["event_id"]), (hold.hold_id,))
    size = house.book.reader.head().size
    assert [at for at, _ in holds.on_positions(0, size)] == [0, size - 1]


def test_a_query_means_entries_to_come(house, holds):
    """Nobody has to place the hold again for what is recorded after it."""
    holds.apply({"query": {"types": ["INGEST"]}}, **COURT)

    house.post(ingest())

    size = house.book.reader.head().size
    assert [at for at, _ in holds.on_positions(0, size)] == [3, size - 1]


def test_two_holds_keep_until_both_are_released(house, holds):
    """Each release takes away its own hold only."""
    one, two = (holds.apply({"event_ids": [house.start["event_id"]]}, **COURT) for _ in range(2))

    both = holds.on_positions(0, 1)
    holds.release(one.hold_id, authority="court-order")
    left = holds.on_positions(0, 1)
    holds.release(two.hold_id, authority="court-order")

    assert both == sorted([(0, one.hold_id), (0, two.hold_id)])
    assert left == [(0, two.hold_id)]
    assert holds.on_positions(0, 1) == []
    assert not holds.any()


def test_artifacts_keys_subjects_and_anchors_are_held_by_name(house, holds):
    """By exact name; an artifact with or without the name of its hash."""
    subject, today = "0b9d3a52-7f11-4c0e-9a44-6d2f0c1e8b77", day(house, -1)
    scope = {
        "artifacts": ["sha256:" + "ab" * 32],
        "keys": ["subjects/ledger.test/x/1"],
        "subjects": [subject],
        "anchors": [today],
    }

    hold = holds.apply(scope, **COURT)

    wanted = (hold.hold_id,)
    assert holds.on_artifact("ab" * 32) == holds.on_artifact("sha256:" + "ab" * 32) == wanted
    assert holds.on_key("subjects/ledger.test/x/1") == wanted
    assert holds.on_subject(subject) == wanted
    assert holds.on_anchor(today) == wanted
    assert holds.on_artifact("cd" * 32) == holds.on_key("subjects/ledger.test/x") == ()
    assert holds.on_subject(event_id()) == holds.on_anchor(day(house, 0)) == ()


def test_the_anchors_of_a_held_entrys_day_are_held(house, holds):
    """A proof of a time is no use without its token."""
    hold = holds.apply({"event_ids": [house.start["event_id"]]}, **COURT)

    assert holds.on_anchor(day(house, -1)) == (hold.hold_id,)
    assert holds.on_anchor(day(house, 0)) == ()


def test_a_long_list_is_placed_in_parts(house, holds):
    """Each part is an entry; all of them are one hold, and one release ends them."""
    ids = [event_id() for _ in range(2 * IDS)] + [house.start["event_id"]]

    hold = holds.apply({"event_ids": ids, "query": {"types": ["GEN"]}}, **COURT)

    assert (hold.parts, len(hold.scopes), hold.complete) == (4, 4, True)
    assert positions(holds) == [0, 1]
    assert set(holds.on_events(ids)) == set(ids)
    holds.release(hold.hold_id, authority="court-order")
    assert holds.on_events(ids) == {}


def test_a_hold_that_was_interrupted_is_completed_by_its_repetition(holds, monkeypatch):
    """The parts that were recorded hold; the same request again adds the others."""
    ids, hold_id = [event_id() for _ in range(2 * IDS)], event_id()
    record, sent = holds._record, []

    def stumble(prepared):
        if sent:
            raise RuntimeError("the process dies here")
        sent.append(record(prepared))

    monkeypatch.setattr(holds, "_record", stumble)
    with pytest.raises(RuntimeError):
        holds.apply({"event_ids": ids}, hold_id=hold_id, **COURT)
    monkeypatch.undo()
    halfway = holds.get(hold_id)

    assert (len(halfway.scopes), halfway.complete) == (1, False)
    assert set(holds.on_events(ids)) == set(ids[:IDS])
    assert holds.apply({"event_ids": ids}, hold_id=hold_id, **COURT).complete
    assert set(holds.on_events(ids)) == set(ids)


def test_placing_and_releasing_are_safe_to_repeat(house, holds):
    """The same hold twice is one; the same id for another hold is refused; so is a released one."""
    hold_id, scope = event_id(), {"query": {"types": ["GEN"]}}
    size = house.book.reader.head().size

    first = holds.apply(scope, hold_id=hold_id, **COURT)
    assert holds.apply(scope, hold_id=hold_id, **COURT) == first
    for other in ({"query": {"types": ["INGEST"]}}, {"event_ids": [hold_id]}):
        with pytest.raises(HoldExists):
            holds.apply(other, hold_id=hold_id, **COURT)
    with pytest.raises(HoldExists):
        holds.apply(scope, hold_id=hold_id, matter="another", authority="court-order")
    released = holds.release(hold_id, authority="court-order", reason="settled")
    assert holds.release(hold_id, authority="court-order") == released
    with pytest.raises(HoldReleased):
        holds.apply(scope, hold_id=hold_id, **COURT)

    assert house.book.reader.head().size == size + 2
    with pytest.raises(NotFound):
        holds.release(event_id(), authority="court-order")


@pytest.mark.parametrize(
    ("scope", "pointer"),
    [
        ({}, "/body/scope"),
        ({"query": {}}, "/body/scope/query"),
        ({"query": {"types": []}}, "/body/scope/query/types"),
        ({"event_ids": ["x"]}, "/body/scope/event_ids/0"),
        ({"event_ids": "x"}, "/body/scope/event_ids"),
        ({"anything": 1}, "/body/scope"),
        ({"keys": ["chain/ledger.test/x/0"]}, "/scope/keys/0"),
        ({"event_ids": [ANY_ID] * (IDS * 256 + 1)}, "/scope/event_ids"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_scope_that_keeps_nothing_or_cannot_be_kept_is_refused(holds, scope, pointer):
    """Chain keys, too: they go with their epoch, whoever asks, and their escrow stays."""
    with pytest.raises(MalformedEvent) as refused:
        holds.apply(scope, **COURT)

    assert refused.value.errors[0].pointer == pointer
    assert not holds.any()


def test_a_hold_waits_for_whoever_is_destroying(house, holds, monkeypatch):
    """What was acknowledged is obeyed: placing comes after the block, or not at all."""
    monkeypatch.setattr("ledger.holds._WAIT_S", 1)
    placed = threading.Event()

    def place():
        holds.apply({"event_ids": [house.start["event_id"]]}, **COURT)
        placed.set()

    with holds.frozen() as held:
        with pytest.raises(HoldsBusy):
            Holds.of(house.book).apply({"query": {"types": ["GEN"]}}, **COURT)
        monkeypatch.setattr("ledger.holds._WAIT_S", 30)
        worker = threading.Thread(target=place)
        worker.start()
        assert not held.on_events([house.start["event_id"]])
        assert not placed.is_set()
    worker.join(timeout=30)

    assert positions(holds) == [0]


def test_destroyers_do_not_wait_for_each_other(holds):
    """Two sweeps and an erasure may run at once."""
    with holds.frozen() as one, holds.frozen() as two:
        assert one.any() == two.any() is False


def test_the_table_follows_from_the_log(house, holds):
    """After a crash between entry and row, or from nothing, the table is the same."""
    query = f"SELECT * FROM {house.schema}.hold ORDER BY hold_id, part"
    kept = holds.apply({"query": {"types": ["GEN"]}}, **COURT)
    gone = holds.apply({"event_ids": [house.start["event_id"]]}, **COURT)
    holds.release(gone.hold_id, authority="court-order")

    with house.owner() as owner:
        before = owner.execute(query).fetchall()
        owner.execute(f"ALTER TABLE {house.schema}.hold DISABLE TRIGGER kept")
        owner.execute(f"DELETE FROM {house.schema}.hold")
        owner.execute(f"ALTER TABLE {house.schema}.hold ENABLE TRIGGER kept")
        noticed = Holds.of(house.book).on_positions(0, 5)
        assert owner.execute(query).fetchall() == before
        assert holds.rebuild(owner) == len(before)
        assert owner.execute(query).fetchall() == before

    assert noticed == [(1, kept.hold_id)]


def test_another_process_sees_a_hold_at_once(house, holds):
    """Nothing about holds is remembered that the log could contradict."""
    other = Holds.of(house.second_process().book(house.tenant))
    assert not other.any()

    hold = holds.apply({"query": {"types": ["GEN"]}}, **COURT)
    seen = other.on_positions(0, 5)
    other.release(hold.hold_id, authority="court-order")

    assert seen == [(1, hold.hold_id)]
    assert not holds.any()
