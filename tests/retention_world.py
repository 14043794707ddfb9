# SPDX-License-Identifier: GPL-3.0-or-later
"""A ledger with an archive and a policy, whose time a test moves."""

from contextlib import contextmanager

from house import Hand, attempt, house_in, noon_before

from anchoring.fsck import Fsck
from anchoring.night import Night
from anchoring.sweep import RetentionSweep, publish_policy
from anchoring.sweep_desk import cold_of
from ledger import clock
from ledger.archive.directory import DirectoryArchive

FAR = 10**11  #: A jump of the clock that needs no operator, in ms.


def policy(version=1, months=6, disclosures=None, artifacts=None, **more):
    """A policy with one class for all types."""
    one = {
        "class": "aiact-6m",
        "entry_months": months,
        "disclosure_months": months if disclosures is None else disclosures,
        "artifact_months": months if artifacts is None else artifacts,
    }
    return {
        "id": "acme-retention",
        "version": version,
        "effective_from": "2020-01-01T00:00:00.000Z",
        "hot_days": 30,
        "warm_days": 90,
        "classes": [one],
        "rules": [{"type": "OTHERS", "classes": ["aiact-6m"]}],
        **more,
    }


class World:
    """A house with what its sweep needs."""

    def __init__(self, house, authority, directory):
        self.house, self.authority = house, authority
        self.archive = DirectoryArchive(directory / "archive", now_ms=house.now_ms)
        self.cold = cold_of(house.book, self.archive)

    @property
    def book(self):
        return self.house.book

    def publish(self, **more):
        return publish_policy(self.book, policy(**more))

    def fill(self, count):
        """Record so many attempts, a few at a time."""
        for at in range(0, count, 64):
            self.house.post(*[attempt() for _ in range(min(64, count - at))])

    def anchor(self):
        return Night(self.book, [self.authority]).interim()

    def move(self, days):
        """Let time pass: the log notices it by an entry, as every night gives it one."""
        self.house.now_ms.move(days=days)
        self.house.post(attempt())

    def sweep(self):
        return list(RetentionSweep(self.book, self.archive).run())

    def done(self, steps=None):
        """Sweep, and sum up what was done by its name."""
        found = {}
        for step in self.sweep() if steps is None else steps:
            found[step.what] = found.get(step.what, 0) + step.count
        return found

    def plan(self):
        return RetentionSweep(self.book, self.archive).plan()

    def fsck(self, **more):
        return Fsck(self.book, first_key=self.house.first_key(), **more).run()

    def bodies(self):
        """The positions whose bytes are in the database."""
        with self.house.owner() as owner:
            rows = owner.execute(f"SELECT position FROM {self.house.schema}.entry_body ORDER BY 1")
            return [position for (position,) in rows]

    @property
    def today(self):
        return clock.day_of(self.house.now_ms())


@contextmanager
def world_in(pattern, directory, authority, *, days=800):
    """A world whose log begins so many days ago."""
    hand = Hand(noon_before(days))
    with house_in(pattern, directory, now_ms=hand, jump_ms=FAR) as house:
        yield World(house, authority.authority(), directory)


#: Entries of one bundle.
RUN = 256


@contextmanager
def policed_in(pattern, directory, authority):
    """A world with a full run of entries that is two days old and anchored, under a policy."""
    with world_in(pattern, directory, authority) as world:
        world.publish()
        world.fill(RUN)
        aged(world, 2)
        yield world


def aged(world, days):
    """Let days pass, and have an anchor over them."""
    world.move(days)
    world.anchor()
    return world


def expire(world):
    """Let the run become cold, be announced, anchored and checked: ready, but for the week."""
    aged(world, 100)
    world.sweep()
    aged(world, 80)
    announced = world.done()
    world.anchor()
    checked = world.done()
    return announced, checked


def expired(world):
    """The same, and a week later it is gone."""
    expire(world)
    aged(world, 9)
    assert world.done()["expired"] >= RUN - 1
