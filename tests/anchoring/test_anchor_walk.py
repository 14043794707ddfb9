# SPDX-License-Identifier: GPL-3.0-or-later
"""fsck and anchors: who takes away a token takes away the proof of time, and is found."""

import pytest
from administrator import administrator
from house import Hand, attempt, house_in, noon_before

from anchoring.fsck import Fsck
from anchoring.night import Night

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def anchored(pattern, authority, tmp_path_factory):
    """An interim anchor at size 3, and a day's anchor after it."""
    directory = tmp_path_factory.mktemp("anchored")
    with house_in(pattern, directory, now_ms=Hand(noon_before(2))) as house:
        night = Night(house.book, [authority.authority()])
        house.post(*[attempt() for _ in range(3)])
        night.interim()
        house.now_ms.move(days=1)
        list(night.catch_up(house.now_ms()))
        positions = [one.position for one in house.book.reader.of_topic("ANCHOR/1")]
        assert positions == [6, 3]
        with administrator(house) as admin:
            admin.save()
        yield house


@pytest.fixture
def admin(anchored):
    with administrator(anchored) as one:
        yield one
        one.restore()


def test_sound_anchors_are_sound(anchored):
    """Range, roots, bytes and tokens of both are what their entries name."""
    report = Fsck(anchored.book, first_key=anchored.first_key()).run()

    assert (report.damage, report.not_checked) == ([], [])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DELETE FROM {b}.token WHERE anchor_id = 'interim/3'", "token is gone"),
        ("UPDATE {b}.token SET reply = reply || 'x'", "token was changed"),
        ("UPDATE {b}.token SET authority = 'x'", "token is gone"),
        ("DELETE FROM {b}.anchor WHERE anchor_id = 'interim/3'", "row is gone"),
        ("UPDATE {b}.anchor SET stamped = 'x'", "bytes were changed"),
        ("UPDATE {b}.anchor SET day_root = sha256('x')", "kept root was changed"),
        ("UPDATE {b}.anchor SET to_size = 1", "range was changed"),
        ("UPDATE {b}.anchor SET day = day - 1", "day or kind was changed"),
        ("UPDATE {b}.anchor SET frontier = sha256('x')", "frontier was changed"),
        ("UPDATE {b}.token SET gen_time_ms = gen_time_ms - 1000", "kept time of a time-stamp"),
        ("UPDATE {b}.token SET query = 'x'", "query of a time-stamp"),
        ("UPDATE {b}.token SET gen_time_ms = 1::bigint << 62", "are not an anchor's"),
    ],
)
def test_whatever_is_missing_from_an_anchor_is_found_at_its_entry(anchored, admin, damage, said):
    """The ANCHOR entry names it by digest, and the entry is under later checkpoints."""
    admin.do(damage)

    report = Fsck(anchored.book).run()

    assert {one.what for one in report.damage} == {"anchor"}
    assert report.first.position == 3
    assert said in report.first.sentence


def test_a_changed_root_of_an_anchor_is_found_twice(anchored, admin):
    """By the ANCHOR entry and by the log's own root at that size."""
    admin.do("UPDATE {b}.anchor SET root = sha256('x') WHERE anchor_id = 'interim/3'")

    report = Fsck(anchored.book).run()

    assert {one.what for one in report.damage} == {"anchor", "store"}
    assert any("another root at size 3" in one.sentence for one in report.damage)


def test_an_anchor_over_more_entries_than_there_are_is_found(anchored, admin):
    """The log was cut, its anchors were not."""
    admin.do("UPDATE {b}.anchor SET size = 5000 WHERE anchor_id = 'interim/3'")

    assert any(
        "has signed 5000 entries" in one.sentence for one in Fsck(anchored.book).run().damage
    )
