# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading back: what is handed out is what was recorded, or nothing is."""

import pytest
from administrator import administrator
from house import Hand, attempt, event_id, gen, house_in, noon_before

from ledger import clock
from ledger.errors import EntryDamaged, NotFound


@pytest.fixture(scope="module")
def house(pattern, tmp_path_factory):
    """Six entries of two days: attempt, gen, attempt; then, sealed, attempt, attempt."""
    directory = tmp_path_factory.mktemp("reader")
    with house_in(pattern, directory, now_ms=Hand(noon_before(2))) as made:
        start = attempt(source={"id": "camera", "n": 1})
        made.post(start, gen(start["aggregate_id"]), attempt())
        made.now_ms.move(days=1)
        made.post(attempt(), attempt())
        with administrator(made) as admin:
            admin.save()
        yield made


@pytest.fixture
def admin(house):
    with administrator(house) as one:
        yield one
        one.restore()


def test_an_entry_is_found_by_position_id_stream_and_topic(house):
    """Four ways to the same bytes."""
    reader = house.book.reader
    first = reader.at(0)

    assert reader.find(first.entry.event_id) == first
    assert [one.position for one in reader.of_stream(first.entry.stream)] == [0, 1]
    assert [one.position for one in reader.between(1, 4)] == [1, 2, 3]
    assert [one.position for one in reader.of_topic("EPOCH_SEALED/1")] == [3]
    assert reader.of_topic("EPOCH_SEALED/1", begin=4) == []
    assert reader.between(6, 99) == []


def test_what_is_not_there_is_not_found(house):
    """A position beyond the end, and an id that nobody used."""
    for missing in (lambda: house.book.reader.at(6), lambda: house.book.reader.find(event_id())):
        with pytest.raises(NotFound):
            missing()


def test_times_are_found_by_halves(house):
    """The first entry at or after a moment: the edges of days and of ranges."""
    reader, early = house.book.reader, house.book.reader.at(0).entry.recorded_ms
    late = house.book.reader.at(5).entry.recorded_ms

    found = [
        reader.first_at_or_after(ms)
        for ms in (0, early, early + 1, late - clock.DAY_MS // 2, late, late + 1)
    ]

    assert found == [0, 0, 3, 3, 3, None]


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ("leaf = sha256('x')", "leaf"),
        ("event_id = gen_random_uuid()", "event_id"),
        ("stream = 'x/y'", "stream"),
        ("version = 9", "version"),
        ("topic = 'GEN/1'", "topic"),
        ("recorded_at = recorded_at - 1", "recorded_at"),
        ("source_id = 'other'", "source_id"),
        ("source_n = 2", "source_n"),
    ],
)
def test_a_row_whose_columns_say_something_else_is_not_handed_out(house, admin, change, column):
    """Not by position, not in a range; and the column is named."""
    admin.do(f"UPDATE {{b}}.entry SET {change} WHERE position = 0")

    with pytest.raises(EntryDamaged, match=column):
        house.book.reader.at(0)
    with pytest.raises(EntryDamaged, match=column):
        house.book.reader.between(0, 3)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM {b}.entry_body WHERE position = 0",
        "UPDATE {b}.entry_body SET bytes = 'null' WHERE position = 0",
        "UPDATE {b}.entry_body SET bytes = '{}' WHERE position = 0",
        "UPDATE {b}.entry_body SET bytes = bytes || ' ' WHERE position = 0",
    ],
)
def test_a_body_that_is_no_longer_the_entry_is_not_handed_out(house, admin, damage):
    """Gone, something else, or one byte longer."""
    admin.do(damage)

    with pytest.raises(EntryDamaged):
        house.book.reader.at(0)


def test_a_search_by_time_says_when_a_row_is_gone(house, admin):
    """It would otherwise cut a day in the wrong place."""
    admin.do("DELETE FROM {b}.entry WHERE position = 3")

    with pytest.raises(EntryDamaged):
        house.book.reader.first_at_or_after(house.now_ms())
