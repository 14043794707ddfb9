# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scheduler does for the desk, without anybody asking."""

import dataclasses

import pytest
from desk_world import at, escalated, granted, revoked, text
from house import attempt, event_id

from anchoring.alerts import alerts
from ledger.settings import Settings
from scripts.scheduler import Scheduler

pytestmark = pytest.mark.once


def test_a_minute_later_the_promise_is_begun_and_the_delay_is_told(desk):
    """A consent that was taken back, and a case that nobody decided in time."""
    house = desk.house
    settings = Settings.from_environment({"SEALTRAIL_DATA_DIR": str(house.directory)})
    jobs = Scheduler(
        house.shelf, dataclasses.replace(settings, archive=house.directory), [], house.app_url
    )
    consent, first = event_id(), attempt()
    past = at(house.database.now_ms() - 1)
    house.post(
        text("words", on_revocation="hold"), granted(consent, "words", "nora"),
        revoked(consent, "nora"), first,
        escalated(first["aggregate_id"], "case-1", deadline=past),
    )  # fmt: skip

    jobs._watch_desk(house.book)
    jobs._watch_desk(house.book)

    (hold,) = desk.holds.all()
    assert hold.authority == "consent-revocation"
    assert [one.code for one in alerts(house.book)] == ["review-overdue"]
    assert jobs._watch_desk(house.access_book) is None
