# SPDX-License-Identifier: GPL-3.0-or-later
"""The follower: every entry once, in order, a place for each projection, and again from nothing."""

import pytest
from house import attempt, ingest

from ledger.readmodel.follower import Follower, catch_up, rebuild

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


class Seen:
    """A projection that keeps nothing but what it was given, in this process."""

    tables = ()

    def __init__(self, name, *, fails=False):
        self.name, self.fails = name, fails
        self.items = []

    def write(self, connection, schema, items):
        assert connection.execute("SELECT current_user").fetchone() == (f"{schema}_append",)
        if self.fails:
            raise ZeroDivisionError
        self.items += items

    @property
    def positions(self):
        return [item.position for item in self.items]


def test_each_entry_is_given_once_in_the_order_of_the_log(house):
    """What an item says is what the entry says, whatever the batches were."""
    sent = [attempt() for _ in range(3)] + [ingest()]
    house.post(*sent)
    seen = Seen("seen")

    done = Follower(house.database, house.schema, [seen], batch=3).run()

    assert (done.entries, done.behind) == (4, 0)
    assert [item.event_id for item in seen.items] == [one["event_id"] for one in sent]
    assert [item.type for item in seen.items] == ["GEN_ATTEMPT"] * 3 + ["INGEST"]
    for item, stored in zip(seen.items, house.book.reader.between(0, 4), strict=True):
        assert item.entry == stored.entry.value
        assert (item.position, item.leaf) == (stored.position, stored.leaf)
        assert item.recorded_ms == stored.entry.recorded_ms


def test_a_new_projection_catches_up_alone(house):
    """What the others have read is not read again by them, and the rest is read once for both."""
    first, second = Seen("first"), Seen("second")
    house.post(*[attempt() for _ in range(4)])
    Follower(house.database, house.schema, [first]).run()
    house.post(*[attempt() for _ in range(4)])

    done = Follower(house.database, house.schema, [first, second], batch=2).run()

    assert first.positions == second.positions == list(range(8))
    assert done.entries == 8


def test_a_projection_that_fails_stays_behind_alone(house):
    """Its fault is told, and costs the others nothing; mended, it goes on from where it was."""
    good, bad = Seen("good"), Seen("bad", fails=True)
    house.post(attempt())
    follower = Follower(house.database, house.schema, [bad, good])

    with pytest.raises(ZeroDivisionError):
        follower.run()
    house.post(attempt())
    bad.fails = False
    follower.run()

    assert good.positions == bad.positions == [0, 1]


def test_catching_up_says_how_far_it_came(house):
    """An entry that was acknowledged before the call is read before it ends, if time allows."""
    seen = Seen("seen")
    house.post(*[attempt() for _ in range(3)])

    as_of = catch_up(house.database, house.schema, projections=[seen])
    house.post(attempt())
    late = catch_up(house.database, house.schema, projections=[seen], budget_s=-1)

    assert (as_of.position, as_of.behind) == (3, 0)
    assert (late.position, late.behind) == (3, 1)
    assert seen.positions == [0, 1, 2]


def test_while_another_follower_works_this_one_waits_or_says_so(house):
    """One turn at a time: two that wrote the same rows would meet in a unique key."""
    seen = Seen("seen")
    house.post(attempt())
    Follower(house.database, house.schema, [seen]).run()
    house.post(attempt())
    with house.owner() as other, other.transaction():
        other.execute(f"SELECT 1 FROM {house.schema}.readmodel WHERE name = 'seen' FOR UPDATE")

        done = Follower(house.database, house.schema, [seen]).run()
        as_of = catch_up(house.database, house.schema, projections=[seen], budget_s=0.05)

    assert done.busy
    assert as_of == (1, 1)
    assert catch_up(house.database, house.schema, projections=[seen]) == (2, 0)


@pytest.mark.parametrize("change", ["leaf = decode(repeat('00', 32), 'hex')", "position = 9"])
def test_another_log_than_the_one_that_was_read_is_read_from_the_start(house, change):
    """A database that went back, or on another way, leaves no row of the old one."""
    seen = Seen("seen")
    house.post(attempt(), attempt())
    Follower(house.database, house.schema, [seen]).run()
    with house.owner() as owner:
        owner.execute(f"UPDATE {house.schema}.readmodel SET {change} WHERE name = 'seen'")

    catch_up(house.database, house.schema, projections=[seen])

    assert seen.positions == [0, 1, 0, 1]


def test_what_the_head_does_not_cover_is_not_read(house):
    """Rows that somebody put behind the head are no entries."""
    house.post(attempt())
    seen = Seen("seen")
    with house.owner() as owner:
        owner.execute(
            f"INSERT INTO {house.schema}.entry (position, leaf, mac, event_id, stream, version,"
            " topic, recorded_at, request_digest) SELECT 1, leaf, mac, gen_random_uuid(), 'A/b', 1,"
            f" topic, recorded_at, request_digest FROM {house.schema}.entry"
        )

    assert catch_up(house.database, house.schema, projections=[seen]) == (1, 0)
    assert seen.positions == [0]


def test_a_rebuild_shows_its_progress(house):
    """Each step says how many entries are read and how many there are."""
    seen, told = Seen("seen"), []
    house.post(*[attempt() for _ in range(3)])
    Follower(house.database, house.schema, [seen]).run()

    read = rebuild(
        house.database,
        house.schema,
        [seen],
        progress=lambda done, whole: told.append((done, whole)),
    )

    assert (read, told) == (3, [(3, 3)])
    assert seen.positions == [0, 1, 2, 0, 1, 2]
