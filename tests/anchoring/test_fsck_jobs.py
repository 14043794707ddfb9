# SPDX-License-Identifier: GPL-3.0-or-later
"""fsck in several processes: ranges are checked apart, and nothing falls between them."""

import json

import pytest
from administrator import administrator
from house import attempt, export, gen, ingest

from anchoring import range_jobs
from anchoring.fsck import Fsck
from anchoring.range_walk import RangeWalk
from sealtrail.verify import canonical
from sealtrail.verify.merkle import leaf_hash

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


@pytest.fixture(autouse=True)
def _narrow(monkeypatch):
    """Ranges of 256 entries, so that a small log has several."""
    monkeypatch.setattr(range_jobs, "LEAST", 256)
    monkeypatch.setattr(range_jobs, "MOST", 256)


def fill(house):
    """Streams that cross the ranges: an attempt at 0 and its outcome at 600, an old asset, a day.

    0 attempt   1 ingest "old" … 599   600 gen "made" of the attempt at 0   601 export of "old" …
    """
    first = attempt()
    house.post(first, ingest("old"), *[attempt() for _ in range(598)])
    house.post(gen(first["aggregate_id"], "made"), export("old"), export("made"))
    house.now_ms.move(days=1)
    house.post(*[attempt() for _ in range(200)])


def test_several_processes_find_what_one_finds(noon):
    """On a sound log: nothing. On a damaged one: the same, in the same order."""
    fill(noon)
    sound = [Fsck(noon.book, first_key=noon.first_key(), jobs=jobs).run() for jobs in (1, 2)]
    with administrator(noon) as admin:
        admin.do("UPDATE {b}.entry SET mac = sha256('x') WHERE position = 255")
        admin.do("UPDATE {b}.entry SET version = 7 WHERE position = 600")
        admin.do("DELETE FROM {b}.entry WHERE position = 511")
        admin.do("UPDATE {b}.entry_body SET bytes = '{{}}' WHERE position = 700")

    damaged = [Fsck(noon.book, first_key=noon.first_key(), jobs=jobs).run() for jobs in (1, 2)]

    assert [(one.damage, one.not_checked, one.size) for one in sound] == [([], [], 804)] * 2
    assert sound[0].root == sound[1].root
    assert damaged[0].damage == damaged[1].damage
    positions = {one.position for one in damaged[0].damage}
    assert {255, 256, 511, 512, 600, 700} <= positions


def test_a_stream_that_begins_again_in_another_range_is_found(noon):
    """Nobody remembers all streams of a long log; so they are counted."""
    fill(noon)
    with administrator(noon) as admin:
        ((data,),) = admin.do("SELECT bytes FROM {b}.entry_body WHERE position = 2")
        ((other,),) = admin.do("SELECT bytes FROM {b}.entry_body WHERE position = 400")
        forged = {**json.loads(other), "aggregate": json.loads(data)["aggregate"]}
        admin.do("ALTER TABLE {b}.entry DROP CONSTRAINT entry_stream_version_key")
        admin.do(
            "UPDATE {b}.entry_body SET bytes = %s WHERE position = 400", canonical.encode(forged)
        )
        admin.do(
            "UPDATE {b}.entry SET leaf = %s, stream = (SELECT stream FROM {b}.entry"
            " WHERE position = 2) WHERE position = 400",
            leaf_hash(canonical.encode(forged)),
        )
    fsck = Fsck(noon.book, jobs=1)
    with noon.database.duty(noon.book.row.schema, "read") as connection:
        apart = RangeWalk(noon.book.reader, noon.book.row.schema)
        found = [apart.check(connection, begin, begin + 256) for begin in (256, 0, 512)]
        twice = list(fsck._streams.begun_twice(connection, sum(one.begun for one in found)))

    assert not any(what == "lifecycle" for one in found for _, what, _ in one.damage)
    assert twice == [(400, "at position 400 a stream begins that had begun before")]
    assert (400, "lifecycle") in {(one.position, one.what) for one in fsck.run().damage}


COLUMNS = {
    "event_id": "gen_random_uuid()",
    "stream": "stream || 'x'",
    "version": "version + 7",
    "topic": "'EXPORT/2'",
    "recorded_at": "recorded_at + 1",
    "request_digest": "sha256('x')",
    "source_id": "'other'",
    "source_n": "700",
}


def test_columns_of_entries_that_are_only_skimmed_are_compared_all_the_same(noon):
    """Most entries match an outline and are never parsed; each of their columns counts."""
    noon.post(*[attempt(source={"id": "camera", "n": n}) for n in range(len(COLUMNS) + 20)])
    with administrator(noon) as admin:
        for position, (column, value) in enumerate(COLUMNS.items(), 10):
            admin.do(f"UPDATE {{b}}.entry SET {column} = {value} WHERE position = {position}")

    report = Fsck(noon.book).run()

    assert [one.sentence for one in report.damage] == [
        f"at position {position} the column {column} was changed"
        for position, column in enumerate(COLUMNS, 10)
    ]


def test_a_gap_in_the_log_stream_is_found_where_ranges_meet(noon):
    """The ledger's own entries lie far apart; the first of a range follows the last before it."""
    fill(noon)
    with administrator(noon) as admin:
        ((position, data),) = admin.do(
            "SELECT position, bytes FROM {b}.entry_body JOIN {b}.entry USING (position)"
            " WHERE topic = 'EPOCH_SEALED/1'"
        )
        value = json.loads(data)
        value["aggregate"]["version"] = 2
        forged = canonical.encode(value)
        admin.do("UPDATE {b}.entry_body SET bytes = %s WHERE position = %s", forged, position)
        admin.do(
            "UPDATE {b}.entry SET leaf = %s, version = 2 WHERE position = %s",
            leaf_hash(forged),
            position,
        )

    found = {(one.position, one.what) for one in Fsck(noon.book).run().damage}

    assert (position, "lifecycle") in found
