# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the fault matrix: PostgreSQL is away for longer than one request."""

import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from cut_line import line_to

from ledger.database import LINE, Database
from ledger.errors import Unavailable

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

DEPENDENCY = "PostgreSQL"


@contextmanager
def away(line):
    """Nobody listens at the database's address."""
    socket = Path(line._directory) / ".s.PGSQL.5432"
    hidden = socket.rename(socket.with_name("hidden"))
    try:
        yield
    finally:
        hidden.rename(socket)


def ask(database):
    """Ask for a connection; return whether there was one, and after how many seconds."""
    began = time.monotonic()
    try:
        with database.connection():
            return True, time.monotonic() - began
    except Unavailable:
        return False, time.monotonic() - began


@pytest.fixture
def line(house):
    with line_to(house.app_url) as made:
        yield made


def test_whoever_asks_while_it_is_away_is_told_soon(line):
    """PostgreSQL has been away for a moment, and readers and health checks keep asking.

    Kind: gone
    Ingest: refused with 503
    Lost: nothing
    Operator: the first answer after 5 seconds, each further one after half a second
    """
    with Database(line.url, timeout_s=1.5) as database, away(line):
        first, again = ask(database), ask(database)

        assert (first[0], again[0]) == (False, False)
        assert first[1] > 1
        assert again[1] < first[1]


def test_the_end_of_a_long_outage_is_noticed_at_once(line):
    """PostgreSQL was away so long that everybody had given up for a while.

    Kind: gone
    Ingest: goes on with the first request after its return
    Lost: nothing
    Operator: `/readyz` green within two seconds
    """
    with Database(line.url, timeout_s=1.0) as database:
        until = time.monotonic() + 3.3
        with away(line):
            while time.monotonic() < until:
                assert not ask(database)[0]
        returned = time.monotonic()
        while not ask(database)[0]:
            pass

        assert time.monotonic() - returned < 3  # With doubled pauses it would be about four.


def test_a_server_that_vanishes_without_a_word(line):
    """The database's host loses its power, or a firewall forgets the connection.

    Kind: gone
    Ingest: refused with 503 after 10 to 15 seconds at the most, not after hours
    Lost: nothing; a request sent again counts once
    Operator: 503 `ledger-unavailable`, `/readyz` red
    """
    with Database(line.url) as database, database.connection() as connection:
        options = connection.info.get_parameters()

    assert LINE["tcp_user_timeout"] <= 10_000
    assert LINE["keepalives_idle"] + LINE["keepalives_interval"] * LINE["keepalives_count"] <= 15
    assert {name: str(value) for name, value in LINE.items()}.items() <= options.items()
