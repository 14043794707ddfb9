# SPDX-License-Identifier: GPL-3.0-or-later
"""fsck: whatever was changed is found, at its exact position; whatever was not is not accused."""

import json

import pytest
from administrator import administrator
from house import Hand, attempt, export, gen, house_in, ingest, noon_before

from anchoring.fsck import Fsck
from sealtrail.verify import canonical
from sealtrail.verify.merkle import leaf_hash

SIZE = 303


@pytest.fixture(scope="module")
def house(pattern, tmp_path_factory):
    """Two epochs, a full tile, every kind of client's entry; damaged and repaired by each test.

    0 attempt   1 gen (asset "made")   2 EPOCH_SEALED   3 ingest "taken", with a source
    4 export of "made"   5 a late night's attempt …
    """
    directory = tmp_path_factory.mktemp("fsck")
    with house_in(pattern, directory, now_ms=Hand(noon_before(2))) as made:
        start = attempt()
        made.post(start, gen(start["aggregate_id"], "made"))
        made.now_ms.move(days=1)
        made.post(ingest("taken", source={"id": "camera", "n": 1}))
        made.post(export("made"), *[attempt() for _ in range(SIZE - 5)])
        assert made.book.reader.head().size == SIZE
        with administrator(made) as admin:
            admin.save()
        yield made


@pytest.fixture
def admin(house):
    """The administrator; what he did is undone afterwards."""
    with administrator(house) as one:
        yield one
        one.restore()


def check(house, *, key=True):
    return Fsck(house.book, first_key=house.first_key() if key else None).run()


def test_a_sound_log_is_sound(house):
    """Everything is checked with the escrowed key; the root is the one that was signed."""
    steps = []

    fsck = Fsck(house.book, first_key=house.first_key(), full=True)
    report = fsck.run(lambda *done: steps.append(done))

    assert (report.damage, report.not_checked, report.first) == ([], [], None)
    assert (report.size, steps) == (SIZE, [(SIZE, SIZE)])
    assert report.root == f"sha256:{house.book.notary.latest()[1].root.hex()}"


def test_without_the_escrowed_key_older_epochs_are_said_to_be_unchecked(house, admin):
    """Their keys are destroyed. A forged MAC of that time is found with the escrow, not without."""
    admin.do("UPDATE {b}.entry SET mac = sha256('x') WHERE position = 0")

    without, with_key = check(house, key=False), check(house)

    assert without.damage == []
    assert without.not_checked == ["MACs of 1 older epochs (0 to 0): escrow key needed"]
    assert (with_key.first.position, with_key.first.what) == (0, "mac")
    assert with_key.not_checked == []


def test_what_epoch_sealed_says_is_compared_without_any_key(house, admin):
    """It names the MAC of the entry before it: that one cannot be changed unnoticed."""
    admin.do("UPDATE {b}.entry SET mac = sha256('x') WHERE position = 1")

    report = check(house, key=False)

    assert (report.first.position, report.first.what) == (2, "epoch")


def test_two_implementations_that_disagree_are_reported(house):
    """With `full`, pymerkle computes the root from all leaf hashes; here it is given one more."""
    fsck = Fsck(house.book, full=True)
    fsck._second.extend_hashes([bytes(32)])

    assert {one.what for one in fsck.run().damage} == {"tree"}


# Bodies

BODIES = {
    "edited": "UPDATE {b}.entry_body SET bytes = replace(convert_from(bytes, 'UTF8'),"
    " 'painter', 'forgery')::bytea WHERE position = %s",
    "not canonical": "UPDATE {b}.entry_body SET bytes = ' '::bytea || bytes WHERE position = %s",
    "not an entry": "UPDATE {b}.entry_body SET bytes = '{}' WHERE position = %s",
    "empty": "UPDATE {b}.entry_body SET bytes = '' WHERE position = %s",
    "deleted body": "DELETE FROM {b}.entry_body WHERE position = %s",
    "deleted entry": "DELETE FROM {b}.entry WHERE position = %s",
}


@pytest.mark.parametrize("position", [0, 5, 256, SIZE - 1])
@pytest.mark.parametrize("damage", BODIES)
def test_a_damaged_body_is_found_where_it_lies(house, admin, damage, position):
    """In an old epoch and the present one, in a full tile and the ragged edge, without escrow."""
    admin.do(BODIES[damage], position)

    report = check(house, key=False)

    assert report.first.position == position
    assert report.first.what == ("entry" if damage == "deleted entry" else "body")


def test_swapped_bodies_are_both_found(house, admin):
    """Two entries that exchanged their bytes."""
    admin.do(
        "UPDATE {b}.entry_body b SET bytes = o.bytes FROM {b}.entry_body o"
        " WHERE (b.position, o.position) IN ((30, 290), (290, 30))"
    )

    report = check(house)

    assert (report.first.position, report.first.what) == (30, "body")
    assert {30, 290} <= {found.position for found in report.damage}


def test_reordered_rows_are_found(house, admin):
    """Both rows move whole, leaf and MAC and all: the chain knows their places."""
    for table in ("entry", "entry_body"):
        admin.do(f"UPDATE {{b}}.{table} SET position = -1 WHERE position = 270")
        admin.do(f"UPDATE {{b}}.{table} SET position = 270 WHERE position = 290")
        admin.do(f"UPDATE {{b}}.{table} SET position = 290 WHERE position = -1")

    report = check(house)

    assert (report.first.position, report.first.what) == (270, "mac")


def test_an_inserted_entry_is_found_where_it_was_put(house, admin):
    """Everything after it has moved up by one; or it lies beyond the end, or before the start."""
    for table in ("entry", "entry_body"):
        admin.do(f"UPDATE {{b}}.{table} SET position = position + 100000 WHERE position >= 280")
        admin.do(f"UPDATE {{b}}.{table} SET position = position - 99999 WHERE position >= 100000")
    admin.do(
        "INSERT INTO {b}.entry SELECT 280, leaf, mac, gen_random_uuid(), 'x/y', 1, topic,"
        " recorded_at, request_digest FROM {b}.entry WHERE position = 279"
    )
    admin.do(
        "INSERT INTO {b}.entry_body SELECT 280, bytes FROM {b}.entry_body WHERE position = 279"
    )

    assert check(house).first.position == 280


@pytest.mark.parametrize("position", [-1, SIZE, SIZE + 70])
def test_a_body_or_an_entry_that_no_head_covers_is_found(house, admin, position):
    """Rows beside the log are no part of it, and somebody put them there."""
    admin.do("INSERT INTO {b}.entry_body VALUES (%s, 'x')", position)
    report = check(house)
    assert [(one.position, one.what) for one in report.damage] == [(position, "body")]

    admin.do(
        "INSERT INTO {b}.entry SELECT %s, leaf, mac, gen_random_uuid(), 'x/y', 1, topic,"
        " recorded_at, request_digest FROM {b}.entry WHERE position = 0",
        position,
    )
    report = check(house)
    assert {(one.position, one.what) for one in report.damage} == {
        (position, "body"),
        (position, "entry"),
    }


def test_two_rows_of_one_position_are_found(house, admin):
    """The administrator dropped the primary key first."""
    admin.do("ALTER TABLE {b}.entry DROP CONSTRAINT entry_pkey")
    admin.do(
        "INSERT INTO {b}.entry SELECT 200, leaf, mac, gen_random_uuid(), 'x/y', 1, topic,"
        " recorded_at, request_digest FROM {b}.entry WHERE position = 200"
    )

    report = check(house)

    admin.restore()
    admin.do("ALTER TABLE {b}.entry ADD PRIMARY KEY (position)")
    assert report.first.position == 200
    assert "entry" in {one.what for one in report.damage}


@pytest.mark.parametrize(
    "body",
    [
        {"outputs": 7},
        {},
        {"outputs": [{"asset_id": 7}]},
        {"outputs": [7]},
    ],
)
def test_a_body_of_another_shape_is_a_finding_and_no_crash(house, admin, body):
    """The forger has rehashed everything and hopes that the checker stumbles."""
    ((data,),) = admin.do("SELECT bytes FROM {b}.entry_body WHERE position = 1")
    forged = canonical.encode({**json.loads(data), "body": body})
    admin.do("UPDATE {b}.entry_body SET bytes = %s WHERE position = 1", forged)
    admin.do("UPDATE {b}.entry SET leaf = %s WHERE position = 1", leaf_hash(forged))

    report = check(house)

    assert report.first.position == 1
    assert "bytes" in {one.what for one in report.damage if one.position == 1}


def test_a_time_before_the_clock_began_is_a_finding(house, admin):
    """A recorded time that this ledger cannot print must not end the check."""
    ((data,),) = admin.do("SELECT bytes FROM {b}.entry_body WHERE position = 4")
    entry = json.loads(data)
    entry["time"]["recorded"] = "1969-12-31T23:59:59.999Z"
    admin.do("UPDATE {b}.entry_body SET bytes = %s WHERE position = 4", canonical.encode(entry))

    assert check(house).first.position == 4


# Columns, head, tiles, births

COLUMNS = {
    "leaf": "sha256('x')",
    "mac": "sha256('x')",
    "event_id": "gen_random_uuid()",
    "stream": "stream || 'x'",
    "version": "version + 7",
    "topic": "'EXPORT/2'",
    "recorded_at": "recorded_at + 1",
    "request_digest": "sha256('x')",
    "source_id": "'other'",
    "source_n": "2",
}


@pytest.mark.parametrize("column", COLUMNS)
def test_each_changed_index_column_is_found_and_named(house, admin, column):
    """Position 3 is in the present epoch, so also its MAC can be recomputed."""
    admin.do(f"UPDATE {{b}}.entry SET {column} = {COLUMNS[column]} WHERE position = 3")

    report = check(house, key=False)

    assert report.first.position == 3
    assert report.first.what == ("mac" if column == "mac" else "column")
    assert column == "mac" or f"the column {column} " in report.first.sentence


def test_a_source_that_was_taken_away_is_found(house, admin):
    """Without it a missing number of the producer would not be missed."""
    admin.do("UPDATE {b}.entry SET source_id = NULL, source_n = NULL WHERE position = 3")

    assert "the column source_id was changed" in check(house).first.sentence


HEADS = {
    "epoch": "epoch + 1",
    "size": "size - 3",
    "frontier": "sha256('x') || substring(frontier from 33)",
    "mac": "sha256('x')",
    "last_time": "last_time + 1",
    "tag": "sha256('x')",
}


@pytest.mark.parametrize("column", HEADS)
def test_each_changed_column_of_the_head_row_is_found(house, admin, column):
    """The tag fails; and each column but the tag itself is named. No entry is accused."""
    admin.do(f"UPDATE {{b}}.head SET {column} = {HEADS[column]}")

    report = check(house)

    assert {one.what for one in report.damage} == {"head"}
    named = [one for one in report.damage if f"head row's {column} is not" in one.sentence]
    assert len(named) == (0 if column in ("tag", "size") else 1)
    assert report.size == SIZE


def test_a_head_row_that_is_gone_or_misshapen_is_found(house, admin):
    """Then the size is what rows there are, and everything else is checked all the same."""
    admin.do("UPDATE {b}.head SET frontier = ''")
    assert {one.what for one in check(house).damage} == {"head"}

    admin.do("DELETE FROM {b}.head")
    admin.do("DELETE FROM {b}.entry WHERE position = 77")
    report = check(house)
    assert report.first.position == 77
    assert "head" in {one.what for one in report.damage}


@pytest.mark.parametrize(
    ("damage", "position", "what"),
    [
        ("SET hashes = overlay(hashes placing sha256('x') from 32 * 44 + 1)", 44, "changed"),
        ("SET hashes = hashes || 'x'", 0, "more hashes"),
        ("SET root = sha256('x')", 0, "another root"),
    ],
)
def test_a_changed_tile_is_found_at_its_first_wrong_hash(house, admin, damage, position, what):
    """Hash 44 of the first tile stands for position 44."""
    admin.do("ALTER TABLE {b}.tile DROP CONSTRAINT tile_hashes_check")
    admin.do(f'UPDATE {{b}}.tile {damage} WHERE level = 0 AND "index" = 0')

    report = check(house)

    admin.restore()
    admin.do("ALTER TABLE {b}.tile ADD CONSTRAINT tile_hashes_check CHECK"
             " (octet_length(hashes) = 8192)")  # fmt: skip
    (found,) = report.damage
    assert (found.position, found.what) == (position, "tile")
    assert what in found.sentence


def test_missing_and_extra_tiles_are_found(house, admin):
    """One is gone and another was made up: the count alone is right."""
    admin.do('UPDATE {b}.tile SET level = 1, "index" = 3 WHERE level = 0 AND "index" = 0')

    report = check(house)

    sentences = [one.sentence for one in report.damage]
    assert sentences == ["tile 0/0 is gone", "tile 1/3 was never completed by the log"]
    assert report.first.position == 0


@pytest.mark.parametrize(
    ("damage", "position"),
    [
        ("UPDATE {b}.asset_birth SET position = 4 WHERE asset_id = 'taken'", 3),
        ("DELETE FROM {b}.asset_birth WHERE asset_id = 'made'", 1),
        ("INSERT INTO {b}.asset_birth VALUES ('phantom', 5)", 5),
        ("UPDATE {b}.asset_birth SET asset_id = 'other' WHERE asset_id = 'made'", 1),
    ],
)
def test_the_index_of_births_is_compared_with_the_entries(house, admin, damage, position):
    """Without its birth an asset could be exported by nobody, or ingested twice."""
    admin.do(damage)

    report = check(house)

    assert {one.what for one in report.damage} == {"birth"}
    assert report.first.position == position
