# SPDX-License-Identifier: GPL-3.0-or-later
"""The sweep: copies before it drops, announces before it lets go, goes on where it was killed."""

import pytest
from house import attempt, ingest
from retention_world import RUN, aged, expire, policed_in, world_in

from anchoring.sweep import RetentionSweep, SweepBusy, publish_policy
from ledger import clock
from ledger.errors import MalformedEvent
from ledger.holds import Holds
from ledger.retention.policy import Claim, PolicyConflict
from ledger.retention.published import end_turn, take_turn
from ledger.retention.tiers import BodyCold

pytestmark = pytest.mark.once


@pytest.fixture
def world(pattern, tmp_path, authority):
    with policed_in(pattern, tmp_path, authority) as made:
        yield made


def test_nothing_moves_or_expires_without_a_policy(pattern, tmp_path, authority):
    """Nobody said how long: then everything stays where it is."""
    with world_in(pattern, tmp_path, authority) as world:
        world.fill(RUN + 1)
        aged(world, 700)

        done = world.done()

        assert set(done) <= {"partition"}
        assert world.plan().policy is None
        assert len(world.bodies()) == world.book.reader.head().size


def test_nothing_moves_without_an_archive(world):
    """A body leaves the database for a place, never for none."""
    aged(world, 100)

    steps = list(RetentionSweep(world.book, None).run())

    assert {step.what for step in steps} <= {"partition"}
    assert len(world.bodies()) == world.book.reader.head().size


def test_the_plan_is_what_the_sweep_does(world):
    """Before it happens an operator sees what would, and afterwards that it did."""
    aged(world, 100)
    planned = world.plan()

    done = world.done()

    assert (planned.runs, planned.to_cold) == (1, RUN - 1)
    assert done["moved"] == done["dropped"] == RUN - 1  # The policy itself never moves.
    assert world.plan().runs == world.plan().to_drop == 0


def test_the_plan_knows_of_holds_and_locks(world):
    """What is held neither drops nor expires; after the release its lock may have to end first."""
    holds, ids = Holds.of(world.book), [world.book.reader.at(7).entry.event_id]
    hold = holds.apply({"event_ids": ids}, matter="m-1", authority="court-1")
    aged(world, 100)
    world.sweep()
    cold = world.plan()
    aged(world, 80)
    due = world.plan()
    world.sweep()
    holds.release(hold.hold_id, authority="court-1")
    world.sweep()
    rounds = []
    for days in (0, 1, 9, 91):
        aged(world, days)
        planned = world.plan()
        rounds.append((planned.to_expire, planned.kept, world.done().get("expired", 0)))

    assert (cold.to_drop, cold.to_warm) == (0, 0)
    assert (due.held["entry"], due.held["disclosures"]) == (RUN - 1, 1)
    assert all(planned == done for planned, _, done in rounds)
    assert [kept for _, kept, _ in rounds] == [0, 0, RUN - 1, 0]
    assert rounds[-1][0] >= RUN - 1
    assert world.plan().to_expire == 0
    assert world.fsck().damage == []


def test_a_hold_on_one_entry_keeps_nobody_elses_values(pattern, tmp_path, authority):
    """Values go one entry at a time: a neighbour's time is not made longer by somebody's matter."""
    with world_in(pattern, tmp_path, authority) as world:
        world.publish(disclosures=3)
        world.fill(8)
        held, other = (world.book.reader.at(at).entry.event_id for at in (3, 4))
        holds = Holds.of(world.book)
        hold = holds.apply({"event_ids": [held]}, matter="m-1", authority="court-1")
        for days in (95, 8, 8):
            aged(world, days)
            world.sweep()
        before = [one in sealed_in(world) for one in (held, other)]
        holds.release(hold.hold_id, authority="court-1")
        for days in (1, 1, 8):
            aged(world, days)
            world.sweep()

        assert before == [True, False]
        assert held not in sealed_in(world)
        assert world.fsck().damage == []


def sealed_in(world):
    """The events of which sealed values are left."""
    with world.house.owner() as owner:
        rows = owner.execute(f"SELECT event_id FROM {world.house.schema}.sealed").fetchall()
    return {str(event_id) for (event_id,) in rows}


def test_the_log_says_what_moved_before_anything_is_dropped(world):
    """TIER_MOVED names the bundles by digest; the archive has them under lock."""
    aged(world, 100)

    world.sweep()

    (moved,) = world.book.reader.of_topic("TIER_MOVED/1")
    body = moved.entry.value["body"]
    assert (body["from"], body["to"], body["verified"]) == ("warm", "cold", "read-back")
    (bundle,) = world.cold.bundles("m.event_id = %s::uuid", moved.entry.event_id)
    locked = world.archive.stat(bundle.name).until
    assert locked >= clock.from_ms(world.house.now_ms()).replace(microsecond=0)
    assert world.fsck().damage == []
    with pytest.raises(BodyCold):
        world.book.reader.at(10)


@pytest.mark.parametrize("after", range(1, 5))
def test_a_sweep_that_is_killed_is_simply_started_again(world, after):
    """Wherever it stopped, the next one ends with the same entries cold and nothing lost."""
    aged(world, 100)
    steps = RetentionSweep(world.book, world.archive).run()
    for _ in range(after):
        next(steps, None)
    steps.close()
    before = world.fsck()

    world.sweep()

    assert before.damage == world.fsck(cold=world.cold, read_cold=True).damage == []
    assert world.fsck().absent.cold == RUN - 1


def test_what_was_written_down_and_not_recorded_is_finished(world):
    """Killed between the mark and its entry: the same bundle is recorded under the same id."""
    aged(world, 100)
    rows = RetentionSweep(world.book, world.archive)._desk().stored(range(1, 9))
    made, sealed = world.cold.make(
        [one.position for one in rows], [one.entry.data for one in rows], Claim(), None
    )
    world.cold.write_down(made)
    world.cold.upload(made, sealed, clock.from_ms(world.house.now_ms() + clock.DAY_MS))
    id_ = str(clock.new_id())
    world.cold.mark_moved([made], id_)
    assert world.fsck().damage == []

    world.sweep()

    assert world.book.reader.find(id_).entry.value["type"] == "TIER_MOVED"
    assert world.fsck(cold=world.cold, read_cold=True).damage == []


def test_one_sweep_at_a_time(world):
    """The second one says so and changes nothing."""
    with world.book.database.connection() as connection:
        assert take_turn(connection, world.house.schema)
        with pytest.raises(SweepBusy):
            world.sweep()
        end_turn(connection, world.house.schema)

    world.sweep()


def test_who_reads_the_log_is_waited_for_by_the_sweep_and_by_no_writer(world):
    """TRUNCATE knows no snapshots; so the sweep comes back, and ingest goes on meanwhile."""
    aged(world, 100)
    with world.book.database.duty(world.house.schema, "read") as reading:
        reading.execute("BEGIN")
        reading.execute(f"LOCK TABLE {world.house.schema}.entry_body IN ACCESS SHARE MODE")

        done = world.done()
        world.house.post(attempt())

        assert (done["busy"] > 0, "dropped" in done) == (True, False)
        reading.execute("ROLLBACK")

    assert world.done()["dropped"] == RUN - 1


def test_what_is_held_is_copied_and_stays_until_it_is_released(world):
    """A hold freezes the drop, not the copy; after the release the sweep goes on."""
    aged(world, 100)
    ids = [world.book.reader.at(at).entry.event_id for at in (7, 9)]
    hold = Holds.of(world.book).apply({"event_ids": ids}, matter="m-1", authority="court-1")

    held = world.done()
    kept = [at for at in (7, 9) if at in world.bodies()]
    Holds.of(world.book).release(hold.hold_id, authority="court-1")

    assert (held["moved"], held["dropped"], kept) == (RUN - 1, RUN - 3, [7, 9])
    assert world.done()["dropped"] == 2
    assert world.fsck().damage == []


def test_nothing_goes_before_it_was_announced_anchored_checked_and_a_week_old(world):
    """Six days later all is there; eight days later it is leaf only, and the object is gone."""
    announced, checked = expire(world)
    aged(world, 6)
    early = world.done()
    objects = len(list(world.archive.names()))
    aged(world, 2)

    late = world.done()

    assert announced["announced"] >= RUN - 1
    assert (checked["checked"], "refused" in checked, "expired" in early) == (0, False, False)
    assert objects > 0
    assert late["expired"] >= RUN - 1
    assert list(world.archive.names()) == []
    report = world.fsck()
    assert (report.damage, report.absent.cold) == ([], 0)
    assert report.absent.expired >= RUN - 1
    bodies = [one.entry.value["body"] for one in world.book.reader.of_topic("RETENTION_EXPIRED/1")]
    told = {(body["what"], *map(tuple, body["leaf_ranges"])) for body in bodies}
    assert {what for what, *_ in told} == {"entry", "disclosures"}
    assert {ranges[0][0] for _, *ranges in told} >= {1}


def test_what_is_announced_and_then_held_stays_until_the_release(world):
    """A court's letter in the seven days is in time."""
    expire(world)
    everything = {"query": {"recorded_from": "1970-01-01T00:00:00.000Z"}}
    hold = Holds.of(world.book).apply(everything, matter="m-1", authority="court-1")
    aged(world, 9)

    while_held = world.done()
    objects = len(list(world.archive.names()))
    Holds.of(world.book).release(hold.hold_id, authority="court-1")

    assert "expired" not in while_held
    assert objects > 0
    assert world.done()["expired"] >= RUN - 1
    assert world.fsck().damage == []


def test_sealed_values_expire_by_a_clock_of_their_own(pattern, tmp_path, authority):
    """Three months later the prompts are gone for good; the entries stay, and so do the proofs."""
    with world_in(pattern, tmp_path, authority) as world:
        world.publish(disclosures=3)
        world.fill(8)
        first = world.book.reader.at(3).entry.event_id
        for days in (95, 8, 8):
            aged(world, days)
            world.sweep()

        with world.house.owner() as owner:
            ((left,),) = owner.execute(
                f"SELECT count(*) FROM {world.house.schema}.sealed WHERE event_id = %s", (first,)
            ).fetchall()
        assert left == 0
        assert world.book.reader.find(first).position == 3
        assert world.fsck().damage == []


def test_the_index_shrinks_from_tier_to_tier(pattern, tmp_path, authority):
    """Hot: every identifier. Warm: digests alone. Cold: none; date, type and event stay."""
    with world_in(pattern, tmp_path, authority) as world:
        world.publish()
        picture = ingest(sealed={"asset.sha256": "sha256:" + "cd" * 32})
        picture["body"] = {"asset": {"type": "image"}, "rights": {"basis": "OWNED"}}
        world.house.post(attempt(sealed={"prompt.user": "dusk", "net.ip": "192.0.2.7"}), picture)
        world.fill(RUN)
        tiers = []
        for days in (2, 35, 60):
            aged(world, days)
            world.sweep()
            tiers.append(fields(world))

        assert tiers == [{"net.ip", "asset.sha256"}, {"asset.sha256"}, set()]
        moves = [one.entry.value["body"] for one in world.book.reader.of_topic("TIER_MOVED/1")]
        assert {(move["from"], move["to"]) for move in moves} == {("hot", "warm"), ("warm", "cold")}
        assert world.fsck().damage == []


def fields(world):
    """The fields by which entries of the first run can be found."""
    with world.house.owner() as owner:
        rows = owner.execute(f"SELECT DISTINCT field FROM {world.house.schema}.blind")
        return {field for (field,) in rows}


def test_partitions_are_made_ahead_and_take_what_comes(world):
    """New bodies go into the partition of their month; none is in the rest for long."""
    world.sweep()
    world.fill(3 * RUN)

    with world.house.owner() as owner:
        rows = owner.execute(
            f"SELECT tableoid::regclass::text, count(*) FROM {world.house.schema}.entry_body"
            " GROUP BY 1"
        ).fetchall()

    assert len(rows) > 1
    assert world.fsck().damage == []


def partitions(world):
    with world.house.owner() as owner:
        rows = owner.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass",
            (f"{world.house.schema}.entry_body",),
        )
        return {name.partition(".")[2] for (name,) in rows}


def test_a_partition_that_is_empty_but_for_the_logs_own_words_is_dropped(world):
    """What stays for ever moves into the rest; so a Book of many years has few partitions."""
    world.sweep()
    world.fill(3 * RUN)
    before = partitions(world)
    aged(world, 100)

    done = world.done()

    assert done["folded"] >= 1
    assert not before <= partitions(world)
    assert "entry_body_rest" in partitions(world)
    report = world.fsck(cold=world.cold, read_cold=True)
    assert (report.damage, report.not_checked) == ([], [])
    world.fill(RUN)
    assert world.fsck().damage == []


def test_a_policy_goes_on_from_the_one_before(world):
    """Numbered without gaps, one id, and never below the law."""
    with pytest.raises(PolicyConflict):
        world.publish(version=3)
    with pytest.raises(MalformedEvent) as below:
        world.publish(version=2, months=5)
    with pytest.raises(MalformedEvent):
        publish_policy(world.book, {"id": "x"})

    world.publish(version=2, months=12)

    assert [error.rule for error in below.value.errors] == ["below-floor"]
    assert world.plan().policy == "acme-retention/2"


def test_locks_follow_a_longer_policy_and_a_hold(world):
    """Whoever decides to keep longer locks for longer, before the old lock ends."""
    aged(world, 100)
    world.sweep()
    (bundle, *_) = world.cold.bundles("m.name IS NOT NULL")
    first = world.archive.stat(bundle.name).until
    aged(world, 50)
    Holds.of(world.book).apply(
        {"event_ids": [world.book.reader.locate_at(9).event_id]}, matter="m-1", authority="court-1"
    )
    world.sweep()
    held = world.archive.stat(bundle.name).until
    world.publish(version=2, months=24)
    world.move(1)

    world.sweep()

    assert first < held < world.archive.stat(bundle.name).until
    assert world.plan().to_announce["entry"] == 0
