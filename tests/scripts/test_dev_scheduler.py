# SPDX-License-Identifier: GPL-3.0-or-later
"""The scheduler of `dev` is a process beside the API: it ends with it, and is missed if it dies."""

import os
import signal
import sys
from pathlib import Path

import pytest
from dev_ledger import eventually, running

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]


def scheduler_of(dev):
    """The id of the child that is a fork of `dev`; None while there is none."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            state, parent = (process / "stat").read_text().rsplit(")", 1)[1].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == dev.process.pid and b"dev" in words and state != "Z":
            return int(process.name)
    return None


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_scheduler_ends_with_dev_however_that_ends(tmp_path):
    """Told to stop, `dev` ends when its scheduler has; killed, it takes the scheduler along."""
    with running(tmp_path) as dev:
        first = scheduler_of(dev)
        dev.process.send_signal(signal.SIGTERM)
        assert dev.process.wait(timeout=60) == 0
        assert is_gone(first)

    with running(tmp_path) as dev:
        second = scheduler_of(dev)
        dev.process.kill()
        eventually(lambda: is_gone(second))

    with running(tmp_path) as dev:
        assert dev.ask("GET", "/livez").status_code == 200


def test_a_scheduler_that_dies_alone_is_missed(tmp_path):
    """The API goes on, and the log says that nobody works at night any more."""
    with running(tmp_path) as dev:
        os.kill(scheduler_of(dev), signal.SIGKILL)
        eventually(lambda: "the scheduler ended with -9" in dev.said.read_text())
        assert dev.ask("GET", "/livez").status_code == 200

        dev.process.send_signal(signal.SIGTERM)
        assert dev.process.wait(timeout=60) == 0


def test_who_stops_all_of_its_processes_at_once_still_lets_the_jobs_end(tmp_path):
    """Ctrl-C reaches the scheduler, too; only `dev` tells it to stop, and both end with 0."""
    with running(tmp_path) as dev:
        os.kill(scheduler_of(dev), signal.SIGINT)
        dev.process.send_signal(signal.SIGINT)

        assert dev.process.wait(timeout=60) == 0
        assert "scheduler ended" not in dev.said.read_text()
