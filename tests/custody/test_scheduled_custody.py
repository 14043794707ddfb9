# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scheduler does for holds and erasures, without anybody asking."""

import dataclasses

import pytest

from evidence.spool import Spool
from ledger import clock
from ledger.settings import Settings
from scripts.scheduler import Scheduler

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

PACKET = "0" * 32


@pytest.fixture
def jobs(desk):
    """A scheduler that does what a test tells it to; beside it waits a packet."""
    directory = desk.house.directory
    settings = dataclasses.replace(
        Settings.from_environment({"SEALTRAIL_DATA_DIR": str(directory)}),
        archive=directory / "archive",
        packet_dir=directory / "packets",
    )
    made = Scheduler(desk.house.shelf, settings, [], desk.house.app_url)
    desk.packets = Spool(settings.packet_dir, ttl_s=3_600)
    desk.packets.put(PACKET, desk.house.tenant, b"PK")
    desk.packets.put(PACKET, "another", b"PK")
    return made


def left(desk):
    return sorted(path.name.partition(".")[0] for path in desk.packets._directory.iterdir())


def test_a_released_hold_is_followed_and_the_night_completes(desk, jobs):
    """Within a minute an erasure goes on that waited; the night destroys; packets go with it."""
    hold_id = desk.hold(event_ids=[desk.ids[0]])
    case = desk.ask_and_approve()

    jobs._custody(desk.house.book)
    waiting = desk.state(case), left(desk)
    desk.release(hold_id)
    jobs._custody(desk.house.book)
    going = desk.state(case), left(desk)
    jobs._erase(desk.house.book)

    assert waiting == ("deferred", sorted([desk.house.tenant, "another"]))
    assert going == ("pending", ["another"])
    assert desk.state(case) == "complete"


def test_a_night_that_was_missed_is_made_up_for(desk, jobs, monkeypatch):
    """Whoever was down at that hour completes as soon as it is back, and not before."""
    case = desk.ask_and_approve()

    jobs._erase_late(desk.house.book)
    early = desk.state(case)
    tomorrow = clock.now_ms() + 26 * 3_600_000
    monkeypatch.setattr(type(desk.house.database), "now_ms", lambda _: tomorrow)
    jobs._erase_late(desk.house.book)

    assert (early, desk.state(case)) == ("pending", "complete")
