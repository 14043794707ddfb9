# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the fault matrix: the directory where finished packets wait to be fetched."""

import errno
import os
import shutil
import time

import pytest
from answers import is_ready, kept
from dev_ledger import eventually
from failing_disk import failing, full, read_only
from house import attempt

from ledger.settings import Settings
from scripts.scheduler import Leader, Scheduler

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

DEPENDENCY = "Archive directory"


@pytest.fixture
def packets(service):
    directory = service.house.directory / "packets"
    directory.mkdir(mode=0o700, exist_ok=True)
    yield directory
    shutil.rmtree(directory)


def ask(service, receipt):
    """Ask for a packet; return the answer."""
    body = {"event_ids": [receipt["event_id"]]}
    return service.ask("POST", "/v1/packets", token=service.auditor, json=body)


def is_refused_while_ingest_goes_on(service, receipt):
    """A packet cannot be kept; events are recorded all the same, and the look is on record."""
    looks = len(service.looks)
    answer = ask(service, receipt)
    assert (answer.status_code, answer.json()["code"]) == (503, "ledger-unavailable")
    assert len(service.looks) == looks + 1
    assert is_ready(service)
    assert service.post(attempt()).status_code == 201


def works_again(service, receipt):
    made = ask(service, receipt)
    assert made.status_code == 201
    found = service.get(f"/v1/packets/{made.json()['id']}")
    assert (found.status_code, len(found.content)) == (200, made.json()["size"])


def test_a_packet_that_was_not_written(service, packets):
    """The disk refuses the packet's bytes.

    Kind: failed, not persisted
    Write: packet
    Ingest: goes on
    Lost: nothing; the packet is asked for again
    Operator: 503 for whoever asked; the look is in the access Book
    """
    receipt = kept(service, attempt())

    with failing("fsync", packets):
        is_refused_while_ingest_goes_on(service, receipt)

    assert list(packets.iterdir()) == []
    works_again(service, receipt)


def test_a_packet_that_was_written_and_nobody_knows(service, packets):
    """The packet is in its place, but the disk does not confirm its name.

    Kind: reported as failed, persisted
    Write: packet
    Ingest: goes on
    Lost: nothing; what nobody has an id for is removed, disclosures and all
    Operator: 503 for whoever asked; the look is in the access Book
    """
    receipt = kept(service, attempt())

    with failing("fsync of the directory", packets):
        is_refused_while_ingest_goes_on(service, receipt)

    assert list(packets.iterdir()) == []
    works_again(service, receipt)


def test_two_failures_and_a_third(service, packets):
    """Asking again fails, too, and again.

    Kind: two in a row
    Ingest: goes on
    Lost: nothing; no half-written packet is left to fill the disk
    Operator: 503 for whoever asked, each time
    """
    receipt = kept(service, attempt())

    with failing("rename", packets, times=3) as disk:
        for _ in range(3):
            is_refused_while_ingest_goes_on(service, receipt)

    assert (disk.count, list(packets.iterdir())) == (3, [])
    works_again(service, receipt)


def test_a_full_disk(service, packets):
    """There is no room for another packet.

    Kind: full disk
    Ingest: goes on
    Lost: nothing; no half-written packet is left
    Operator: 503 for whoever asked; nobody else notices
    """
    receipt = kept(service, attempt())

    with full(packets):
        is_refused_while_ingest_goes_on(service, receipt)
        left = {path.name for path in packets.iterdir()}

    assert left <= {"filler"}
    works_again(service, receipt)


def test_a_read_only_disk(service, packets):
    """The file system was remounted read-only after an error.

    Kind: read-only disk
    Ingest: goes on
    Lost: nothing; packets that are there can be fetched
    Operator: 503 for whoever asked
    """
    receipt = kept(service, attempt())
    made = ask(service, receipt).json()

    with read_only(packets):
        is_refused_while_ingest_goes_on(service, receipt)
        found = service.get(f"/v1/packets/{made['id']}").status_code

    assert found == 200
    works_again(service, receipt)


def test_a_packet_that_cannot_be_read(service, packets):
    """The disk fails while a packet is fetched.

    Kind: gone
    Ingest: goes on
    Lost: nothing; it is there, and the answer says "later" instead of "never"
    Operator: 503 for whoever fetched
    """
    receipt = kept(service, attempt())
    path = f"/v1/packets/{ask(service, receipt).json()['id']}"
    (packet,) = packets.iterdir()
    with pytest.MonkeyPatch.context() as patch:

        def unreadable(_):
            raise OSError(errno.EIO, "Input/output error")

        patch.setattr(type(packet), "read_bytes", unreadable)
        failed = service.get(path).status_code

    assert (failed, service.get(path).status_code) == (503, 200)


@pytest.mark.parametrize(("hours", "status"), [(-23, 200), (25, 404)])
def test_a_clock_that_was_moved(service, packets, hours, status):
    """This host's clock is set back by a day, or ahead by one, with packets waiting.

    Kind: clock back
    Ingest: refused with 503 `clock-unsure` while host and database differ (see Clocks)
    Lost: nothing; packets wait longer, or are built again
    Operator: 404 for a packet that expired early
    """
    receipt = kept(service, attempt())
    path = f"/v1/packets/{ask(service, receipt).json()['id']}"
    (packet,) = packets.iterdir()
    moved = time.time() - hours * 3600  # Seen from a clock that was moved the other way.
    os.utime(packet, (moved, moved))

    assert service.get(path).status_code == status


def test_a_packet_that_nobody_fetches(service, packets):
    """No packet is asked for any more, and the old ones hold disclosures.

    Kind: silent for days
    Ingest: goes on
    Lost: nothing; the scheduler removes what is too old every hour
    Operator: one line in the scheduler's log
    """
    ask(service, kept(service, attempt()))
    (packet,) = packets.iterdir()
    settings = Settings.from_environment(
        {"SEALTRAIL_PACKET_DIR": str(packets), "SEALTRAIL_PACKET_TTL_H": "24"}
    )
    leader = Leader(service.house.app_url)
    assert leader.leads()  # Old packets are removed by every scheduler, for each has its own disk.
    scheduler = Scheduler(service.house.shelf, settings, [], service.house.app_url)

    scheduler._expire()
    young = packet.exists()
    os.utime(packet, (time.time() - 25 * 3600,) * 2)
    scheduler.start()
    every = scheduler._scheduler.get_job("packets").trigger.interval
    eventually(lambda: not packet.exists())
    scheduler.stop()
    leader.resign()

    assert (young, every.total_seconds()) == (True, 3600)
