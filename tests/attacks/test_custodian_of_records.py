# SPDX-License-Identifier: GPL-3.0-or-later
"""The custodian of the records: decides what is kept and for how long, and wants something gone.

Has the retention sweep's login, may publish policies, sets the host's clock, and reaches the
archive's directory. Lacks the keys that sign, and the time-stamp authority.
"""

import shutil
from pathlib import Path

import psycopg
import pytest
from administrator import administrator
from house import attempt
from retention_world import RUN, aged, expired, policed_in

from anchoring.sweep import RetentionSweep
from anchoring.sweep_desk import leaf_of
from anchoring.sweep_expiry import Expiry
from ledger import clock
from ledger.lookup import LOG_ID
from ledger.request import ledger_made
from ledger.retention.manifest import Manifest
from ledger.retention.policy import Claim
from ledger.retention.tiers import BodyExpired
from ledger.timekeeper import ClockJump

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def young(pattern, authority, tmp_path_factory):
    """A run of entries, two days old: nobody may take anything from it."""
    with policed_in(pattern, tmp_path_factory.mktemp("young"), authority) as world:
        yield world


@pytest.fixture
def world(pattern, authority, tmp_path):
    """The same, for those who succeed."""
    with policed_in(pattern, tmp_path, authority) as made:
        yield made


def login(world):
    """The sweep's own login and duty."""
    connection = psycopg.connect(world.house.app_url, autocommit=True)
    connection.execute(f"SET ROLE {world.house.schema}_retain")
    return connection


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT {b}.drop_bodies('entry_body_rest', ARRAY[10])",
        "SELECT {b}.drop_bodies('entry', ARRAY[10])",
        "SELECT {b}.drop_bodies('entry_body_rest', ARRAY[0])",
        "SELECT {b}.make_bodies(0, 256)",
        "DELETE FROM {b}.entry_body WHERE position = 10",
        "TRUNCATE {b}.entry_body_rest",
        "DELETE FROM {b}.manifest",
        "UPDATE {b}.tombstone SET what = 'entry'",
        "UPDATE {b}.bundle SET due = 0",
        "DELETE FROM {b}.moved",
        "INSERT INTO {b}.entry DEFAULT VALUES",
    ],
)
def test_drops_a_record_with_the_sweeps_login(young, statement):
    """Who: an operator with the sweep's database password.
    Tries: the sweep's own function on an entry of this week, or a plain DELETE.
    Caught by: the function, which runs as the owner and refuses what is neither in a recorded
    bundle and ninety days old, nor announced and anchored for seven; the role may delete nothing.
    Not caught: the owner of the tables, who can replace the function; fsck finds what he took.
    """
    with login(young) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.format(b=young.house.schema))
    assert young.bodies() == list(range(young.book.reader.head().size))


def test_forges_the_index_of_bundles_and_drops(world):
    """Who: the same operator, with patience: the entry is older than ninety days.
    Tries: rows that say a bundle holds it, under the id of a real TIER_MOVED; or a tombstone of
    it, under the id of a real announcement; then the function.
    Caught by: the function, which computes again what TIER_MOVED commits to and reads manifests,
    not their index; and fsck, which names the TIER_MOVED whose bundles are others now.
    Not caught: the owner of the tables, who can replace the function.
    """
    expired(world)
    (moved, *_) = world.book.reader.of_topic("TIER_MOVED/1")
    (outcome,) = world.house.post(attempt())
    victim = outcome.row.link.position
    aged(world, 100)
    run, bits = victim // RUN, "decode(repeat('ff', 32), 'hex')"
    columns = f"repeat('a', 64), {run}, {bits}, claim, not_before, due, content, key_name"
    bundle = f"INSERT INTO {{b}}.bundle SELECT {columns}, wrapped_key FROM {{b}}.bundle LIMIT 1"
    moving = f"INSERT INTO {{b}}.moved VALUES (repeat('a', 64), '{moved.entry.event_id}')"
    tomb = (
        f"INSERT INTO {{b}}.tombstone SELECT {run}, event_id, 'entry', {bits} FROM {{b}}.manifest"
    )
    tomb += " WHERE what = 'entry' ON CONFLICT DO NOTHING"
    with login(world) as connection:
        for statement in (bundle, moving, tomb):
            connection.execute(statement.format(b=world.house.schema))
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(
                    f"SELECT {world.house.schema}.drop_bodies('entry_body_rest', ARRAY[{victim}])"
                )
    assert victim in world.bodies()

    assert (moved.position, "bundle") in whats(world.fsck())


def announce(world, positions):
    """What a custodian records who knows our code and does not wait for it."""
    desk = RetentionSweep(world.book, world.archive)._desk()
    rows = desk.rows(positions)
    manifest = Manifest(
        origin=world.book.row.first_origin,
        what="entry",
        policy=desk.policies.versions[-1].ref(),
        leaves=[leaf_of(row, Claim(), desk.now_ms) for row in rows],
    )
    id_ = str(clock.new_id())
    Expiry(desk)._write_down(id_, manifest)
    body = manifest.body(holds_skipped=0)
    world.book.record_own(ledger_made("RETENTION_EXPIRED", LOG_ID, body, event_id=id_))
    return id_


def take(world, positions):
    """An administrator's DELETE: no function, no trigger."""
    with administrator(world.house) as admin:
        for at in positions:
            admin.do("DELETE FROM {b}.entry_body WHERE position = %s", at)


def whats(report):
    return {(one.position, one.what) for one in report.damage}


def test_announces_and_takes_in_the_same_night(world):
    """Who: a custodian who also administers the database.
    Tries: records a proper announcement and deletes the bytes at once.
    Caught by: fsck; an absence is lawful only if its announcement was anchored seven days ago and
    found sound by a check while the bytes were there, and if every floor of the policy is past.
    Not caught: that the bytes are gone; leaf, receipt and whoever kept the entry prove what it was.
    """
    announce(world, range(5, 8))
    take(world, range(5, 8))

    found = whats(world.fsck())

    assert found >= {(5, "body"), (6, "body"), (7, "body")}


def test_announces_what_is_not_due(world):
    """Who: a custodian who is in a hurry.
    Tries: an announcement of this week's entries, waits the seven days, and lets the sweep do it.
    Caught by: the check before the deed, which computes every floor again from the entries and
    records that they do not fit; the sweep never carries that announcement out, and fsck names it.
    Not caught: a policy that was published before the entry and lets it go that early.
    """
    announce(world, range(5, 8))
    for _ in range(3):
        aged(world, 5)
        done = world.done()

    assert "expired" not in done
    (check,) = world.book.reader.of_topic("INTEGRITY_CHECK/1")
    assert check.entry.value["body"]["damaged"] == 3
    assert set(range(5, 8)) <= set(world.bodies())
    assert {what for _, what in whats(world.fsck())} == {"manifest"}


def test_takes_first_and_announces_afterwards(world):
    """Who: a custodian who has already made a record disappear.
    Tries: a proper announcement of what is due, so that the gap looks lawful a week later.
    Caught by: the check, which finds nothing to compare with and records that; without a sound
    check no time makes the absence lawful.
    Not caught: who takes bytes after the check and before their day: from that day on it is lawful.
    """
    aged(world, 100)
    world.sweep()
    aged(world, 85)
    (bundle, *_) = world.cold.bundles("m.name IS NOT NULL")
    path = world.archive._path(bundle.name)
    path.unlink()
    for days in (8, 8, 8):
        world.done()
        aged(world, days)

    report = world.fsck(cold=world.cold)

    checks = [one.entry.value["body"] for one in world.book.reader.of_topic("INTEGRITY_CHECK/1")]
    assert max(check["damaged"] for check in checks) == len(bundle.positions)
    assert (bundle.positions[0], "cold") in whats(report)
    with pytest.raises(Exception, match="archive"):
        world.book.reader.at(bundle.positions[0])


def test_publishes_a_shorter_policy_tonight(world):
    """Who: a custodian who may publish policies.
    Tries: a version under which yesterday's entries are due at once.
    Caught by: versions: an entry is governed by the one in force when it was recorded and by every
    later one, and the longest counts. Classes of the law cannot be shortened at all.
    Not caught: what is recorded from tomorrow on is kept as short as the new version says.
    """
    short = {"class": "own", "entry_months": 0, "disclosure_months": 0, "artifact_months": 0}
    world.publish(version=2, classes=[short], rules=[{"type": "OTHERS", "classes": ["own"]}])
    world.house.post(attempt())
    aged(world, 9)

    planned = world.plan().to_announce["entry"]

    assert planned < 10  # The young ones alone; of the run before the policy nothing is due.
    (step,) = [one for one in world.sweep() if one.what == "announced" and "entry" in one.sentence]
    assert step.count == planned


def test_a_pipeline_asks_for_less(world):
    """Who: a pipeline's owner who wants its traces to go soon.
    Tries: the shortest class there is, and a hint that it may go tomorrow.
    Caught by: floors only add up: the class of the type counts, too, and a hint shortens nothing.
    Not caught: a class that the policy itself gives to no type and makes longer than needed.
    """
    asked = attempt(retention={"class": "gdpr-min", "expires_hint": "2020-01-02T00:00:00.000Z"})
    (outcome,) = world.house.post(asked)
    aged(world, 60)

    assert world.plan().to_announce["entry"] == 0
    assert outcome.row.link.position in world.bodies()


def test_sets_the_clock_ten_years_forward(world):
    """Who: a custodian who is root on the sweep's host.
    Tries: a clock by which everything has expired.
    Caught by: the sweep, whose time is the log's own: the newest recorded entry; and the writer,
    which records nothing that far ahead without an operator's recorded word.
    Not caught: an operator who confirms the jump; the log shows it, and the anchors' real times.
    """
    before = world.plan()
    decade = world.house.now_ms() + 3_653 * clock.DAY_MS
    other = world.house.second_process(now_ms=lambda: decade, jump_ms=clock.DAY_MS)

    with pytest.raises(ClockJump):
        world.house.post(attempt(), by=other)

    assert world.plan() == before
    assert set(world.done()) <= {"partition"}


def test_rewrites_the_manifest_afterwards(world):
    """Who: a custodian with an administrator's help, after a lawful expiry.
    Tries: a manifest that names other entries, so that another gap is covered by it.
    Caught by: its digest in RETENTION_EXPIRED, which is in the tree, anchored and signed.
    Not caught: a manifest that was wrong from the start; that is what the check is for.
    """
    expired(world)
    assert world.fsck().damage == []
    with administrator(world.house) as admin:
        admin.do("UPDATE {b}.manifest SET bytes = replace(convert_from(bytes, 'UTF8'),"
                 " '\"GEN_ATTEMPT\"', '\"GEN\"')::bytea WHERE what = 'entry'")  # fmt: skip

    found = whats(world.fsck())

    assert {what for _, what in found} >= {"manifest", "body"}


def test_says_expired_of_what_was_stolen(world):
    """Who: an administrator who took a body and wants the API to call it expired.
    Tries: rows of tombstones that point at a real announcement.
    Caught by: fsck, which believes manifests and holds their index against them.
    Not caught: by the API, which believes the index and answers 410 until fsck has run.
    """
    expired(world)
    size = world.book.reader.head().size
    victim = size - 2
    take(world, [victim])
    rows = "SELECT %s, event_id, 'entry', decode(repeat('ff', 32), 'hex') FROM {b}.manifest"
    mark = "INSERT INTO {b}.expired SELECT number, event_id FROM {b}.tombstone WHERE number = %s"
    with administrator(world.house) as admin:
        admin.do("DELETE FROM {b}.expired")
        admin.do("DELETE FROM {b}.tombstone WHERE number = %s", victim // RUN)
        admin.do(f"INSERT INTO {{b}}.tombstone {rows}", victim // RUN)
        admin.do(mark, victim // RUN)
    with pytest.raises(BodyExpired):
        world.book.reader.at(victim)

    assert {what for _, what in whats(world.fsck())} == {"body", "manifest"}


def test_spoils_and_removes_bundles(world):
    """Who: a custodian with a shell on the archive's host.
    Tries: another byte in one bundle, and removes another one.
    Caught by: the name, which is the digest of the bytes; fsck asks for each bundle every night and
    with --cold reads them. In a bucket with a compliance lock both are refused.
    Not caught: in a directory, the loss itself; put the archive where nobody can delete.
    """
    world.fill(256)
    aged(world, 100)
    world.sweep()
    first, second = world.cold.bundles("m.name IS NOT NULL")[:2]
    path: Path = world.archive._path(first.name)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    shutil.move(world.archive._path(second.name), path.with_name("elsewhere"))

    nightly, full = (
        whats(world.fsck(cold=world.cold)),
        whats(world.fsck(cold=world.cold, read_cold=True)),
    )

    assert nightly == {(second.positions[0], "cold")}
    assert full == {(first.positions[0], "cold"), (second.positions[0], "cold")}
