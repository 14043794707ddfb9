# SPDX-License-Identifier: GPL-3.0-or-later
"""The cold tier on a real S3 with Object Lock, and artifacts that expire with their entries."""

from contextlib import suppress

import pytest
from archiving import gallery_in, picture
from house import ingest
from retention_world import RUN, aged, expired, policed_in, world_in

from anchoring.sweep import RetentionSweep
from anchoring.sweep_desk import cold_of
from ledger.archive.directory import DirectoryArchive
from ledger.archive.s3 import BucketArchive
from ledger.archive.store import ArchiveLocked, ArchiveUnreachable
from ledger.holds import Holds
from ledger.readmodel.follower import catch_up
from ledger.retention.classes import add_months
from ledger.retention.tiers import BodyCold

pytestmark = pytest.mark.once


@pytest.mark.slow
def test_bundles_lie_in_a_bucket_under_a_lock_that_nobody_opens(
    pattern, tmp_path, authority, bucket
):
    """Locked until the last of their entries is due; our own account deletes none of them."""
    with world_in(pattern, tmp_path, authority, days=100) as world:
        world.archive = BucketArchive(bucket.client, bucket.name)
        world.archive.check()
        world.publish()
        world.fill(RUN)
        newest = world.house.now_ms()
        aged(world, 95)

        done = world.done()

        cold = cold_of(world.book, world.archive)
        (bundle,) = cold.bundles("m.name IS NOT NULL")
        stored = world.archive.stat(bundle.name)
        assert done["moved"] == done["dropped"] == RUN - 1
        assert stored.until.timestamp() * 1000 >= add_months(newest, 6)
        with pytest.raises(ArchiveLocked):
            world.archive.delete(bundle.name)
        with pytest.raises(BodyCold):
            world.book.reader.at(10)
        report = world.fsck(cold=cold, read_cold=True)
        assert (report.damage, report.absent.cold) == ([], RUN - 1)


class Flaky(DirectoryArchive):
    """An archive whose host goes away after so many calls."""

    left = 10**9

    def _call(self):
        self.left -= 1
        if self.left < 0:
            raise ArchiveUnreachable

    def put(self, *arguments, **options):
        self._call()
        return super().put(*arguments, **options)

    def get(self, *arguments):
        self._call()
        return super().get(*arguments)

    def stat(self, *arguments):
        self._call()
        return super().stat(*arguments)

    def delete(self, *arguments):
        self._call()
        return super().delete(*arguments)


def until_it_is_done(world, wanted):
    """Sweep again and again, each time the archive answers one call more; what was done in all."""
    done = []
    for calls in range(40):
        world.archive.left = calls
        with suppress(ArchiveUnreachable):
            for step in RetentionSweep(world.book, world.archive).run():
                done.append(step.what)  # noqa: PERF401 - what was done before it went away counts
        if wanted in done:
            break
    world.archive.left = 10**9
    return done


def test_an_archive_that_goes_away_at_any_call_costs_nothing_but_time(pattern, tmp_path, authority):
    """Moving, checking, expiring begin again where they were cut; nothing is called damage."""
    with policed_in(pattern, tmp_path, authority) as world:
        world.archive = Flaky(tmp_path / "archive", now_ms=world.house.now_ms)
        aged(world, 100)
        assert "dropped" in until_it_is_done(world, "dropped")
        assert world.fsck(cold=world.cold, read_cold=True).damage == []
        aged(world, 80)
        assert "announced" in until_it_is_done(world, "announced")
        aged(world, 8)
        assert "checked" in until_it_is_done(world, "checked")
        aged(world, 8)

        done = until_it_is_done(world, "expired")

        assert "expired" in done
        assert "refused" not in done
        report = world.fsck(cold=world.cold, read_cold=True)
        assert (report.damage, report.absent.cold) == ([], 0)


def test_artifacts_expire_by_a_clock_of_their_own(pattern, tmp_path, authority):
    """A week after the announcement object, key and preview are gone; the digest stays."""
    with world_in(pattern, tmp_path, authority) as world:
        gallery = gallery_in(world.house)
        world.archive = gallery.archive
        world.publish(months=12, artifacts=6)
        image = picture(300, 200)
        one = gallery.stored(image)
        event = one.event_id
        for days in (190, 8, 8):
            assert gallery.archive.stat(one.object) is not None
            aged(world, days)
            world.sweep()

        assert gallery.archive.stat(one.object) is None
        (gone,) = gallery.artifacts.rows.of_events([str(event)])
        assert (gone.state, gone.wrapped_key) == ("expired", None)
        assert world.book.reader.find(str(event)).entry.value["type"] == "GEN"
        assert world.fsck().damage == []


def test_artifacts_of_one_run_go_together_or_not_at_all(pattern, tmp_path, authority):
    """One that came late is locked for longer: until then its neighbours are not half gone."""
    with world_in(pattern, tmp_path, authority) as world:
        gallery = gallery_in(world.house)
        world.archive = gallery.archive
        world.publish(months=12, artifacts=6)
        early, late = gallery.stored(picture()), gallery.announced(picture(seed=2))
        aged(world, 30)
        late = gallery.artifacts.append(late.artifact_id, 0, [picture(seed=2)])
        for days in (160, 8, 8):
            aged(world, days)
            world.sweep()
        waiting = [gallery.archive.stat(one.object) is not None for one in (early, late)]
        planned = world.plan()
        aged(world, 30)
        world.sweep()

        assert waiting == [True, True]
        assert (planned.to_expire, planned.kept) == (0, 2)
        assert [gallery.archive.stat(one.object) for one in (early, late)] == [None, None]
        assert world.fsck().damage == []


def test_a_persons_hold_keeps_content_that_never_came_when_its_values_have_expired(
    pattern, tmp_path, authority
):
    """The row of what was announced is kept, too, and the sweep of everything else goes on."""
    with world_in(pattern, tmp_path, authority) as world:
        gallery = gallery_in(world.house)
        world.archive = gallery.archive
        world.publish(months=12, disclosures=3, artifacts=6)
        one = gallery.announced(picture())
        for days in (95, 8, 8):
            aged(world, days)
            world.sweep()
        holds = Holds.of(world.book)
        hold = holds.apply({"subjects": [str(one.subject_ref)]}, matter="m-1", authority="court-1")
        for days in (80, 8, 8):
            aged(world, days)
            world.sweep()
        held = gallery.artifacts.rows.find(one.artifact_id).state
        holds.release(hold.hold_id, authority="court-1")
        aged(world, 1)
        world.sweep()

        assert (held, gallery.artifacts.rows.find(one.artifact_id).state) == (
            "announced",
            "expired",
        )


def test_an_entry_that_has_expired_leaves_no_hash_of_its_pictures_behind(
    pattern, tmp_path, authority
):
    """Neither to be read in the index, nor in the way of what is still there."""
    with world_in(pattern, tmp_path, authority) as world:
        house = world.house
        world.publish()
        request = ingest()
        hashed = {"alg": "phash", "value": "9c3b6ae10f5794d2"}
        request["body"]["asset"]["fingerprints"] = [hashed]
        house.post(request)
        world.fill(RUN)
        aged(world, 2)
        catch_up(house.database, house.schema, ["similar"])
        before = hashes(world)
        expired(world)

        assert (before, hashes(world)) == (1, 0)
        assert world.fsck().damage == []


def hashes(world):
    with world.house.owner() as owner:
        (count,) = owner.execute(f"SELECT count(*) FROM {world.house.schema}.similar").fetchone()
        return count
