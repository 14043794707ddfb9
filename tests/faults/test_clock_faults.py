# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the fault matrix: the clocks of this host and of the database, one of which is wrong."""

import itertools
import time
from urllib.parse import quote

import pytest
from answers import is_ready, kept, refused
from house import attempt, house_in
from served_house import serving

from anchoring.overdue import Sweep
from ledger import timekeeper
from ledger.database import Database

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

DEPENDENCY = "Clocks"
HOUR_NS = 3600 * 10**9


@pytest.fixture
def host_clock(monkeypatch):
    """Moves this host's clock, as the system shows it, by seconds; writers compare at once."""
    monkeypatch.setattr(timekeeper, "_COMPARE_S", -1)
    real = time.time_ns

    def move(seconds):
        monkeypatch.setattr(time, "time_ns", lambda: real() + int(seconds * 10**9))

    return move


def times(house):
    entries = house.book.reader.between(0, house.book.reader.head().size)
    return [one.entry.recorded_ms for one in entries]


def test_a_host_clock_that_steps_back_a_little(service, host_clock):
    """NTP sets this host's clock back by three seconds, which is less than is tolerated.

    Kind: clock back
    Ingest: goes on
    Lost: nothing; `time.recorded` stands still until the clock has caught up
    Operator: nothing
    """
    kept(service, attempt())
    host_clock(-3)
    positions = [service.post(attempt()).json()["position"] for _ in range(2)]

    recorded = times(service.house)
    assert recorded[positions[0] - 1] == recorded[positions[0]] == recorded[positions[1]]
    assert all(first <= second for first, second in itertools.pairwise(recorded))


def test_a_host_clock_that_is_set_back_by_an_hour(service, host_clock):
    """Somebody sets this host's clock back while the server runs.

    Kind: clock back
    Ingest: refused with 503 within a minute, until both clocks agree
    Lost: nothing; no entry is dated wrongly
    Operator: 503 `clock-unsure`, `/readyz` red
    """
    kept(service, attempt())
    request = attempt()
    host_clock(-3600)

    problem, ready = refused(service, request), service.ask("GET", "/readyz").json()
    host_clock(0)

    assert (problem, ready["facts"]) == ("clock-unsure", {"database": "clock-unsure"})
    assert kept(service, request)["position"] == service.size - 1
    recorded = times(service.house)
    assert all(first <= second for first, second in itertools.pairwise(recorded))


def test_a_database_clock_that_is_set_back_by_an_hour(pattern, tmp_path, host_clock):
    """The database's host has its clock set back; this host's is right.

    Kind: clock back
    Ingest: refused with 503 within a minute, and by whoever connects, until both clocks agree
    Lost: nothing; no entry is dated wrongly
    Operator: 503 `clock-unsure`, `/readyz` red
    """
    with house_in(pattern, tmp_path) as house:
        fake = f"clock_of_{house.schema}"
        with house.owner() as owner:
            owner.execute(f"CREATE SCHEMA {fake}")
            owner.execute(f"CREATE TABLE {fake}.step AS SELECT interval '0' AS by")
            owner.execute(
                f"CREATE FUNCTION {fake}.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS"
                f" $$ SELECT pg_catalog.clock_timestamp() + by FROM {fake}.step $$"
            )
            owner.execute(f"GRANT USAGE ON SCHEMA {fake} TO PUBLIC")
            owner.execute(f"GRANT SELECT ON {fake}.step TO PUBLIC")
        options = quote(f"-c search_path={fake},pg_catalog")
        joined = "&" if "?" in house.app_url else "?"
        house.shelf = house.second_process(
            database=Database(f"{house.app_url}{joined}options={options}")
        )
        house.database = house.shelf.database
        with serving(house) as service:
            host_clock(0)
            kept(service, attempt())
            request = attempt()
            with house.owner() as owner:
                owner.execute(f"UPDATE {fake}.step SET by = interval '-1 hour'")
                problem, ready = refused(service, request), is_ready(service)
                owner.execute(f"UPDATE {fake}.step SET by = interval '0'")

            assert (problem, ready) == ("clock-unsure", False)
            assert kept(service, request)["position"] == service.size - 1
        house.close()


def test_a_host_clock_that_runs_ahead_while_attempts_are_open(service, host_clock):
    """The scheduler's host is an hour ahead when it looks for attempts without an outcome.

    Kind: clock ahead
    Ingest: refused with 503 while the clocks differ
    Lost: nothing; the database's clock decides what is overdue, and nothing is
    Operator: 503 `clock-unsure`, `/readyz` red
    """
    kept(service, attempt())
    size = service.size
    sweep = Sweep(service.house.book)
    host_clock(3600)

    assert (sweep.run(), service.size, is_ready(service)) == (0, size, False)
