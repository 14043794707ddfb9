# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL as it must be: a primary that syncs, the same one as before, one duty at a time."""

import psycopg
import pytest

from ledger.database import Database, UnsafeServer, connect
from ledger.errors import ClockUnsure, HistoryRewritten, Unavailable


@pytest.fixture
def database(house):
    with Database(house.app_url, timeout_s=0.5) as made:
        yield made


@pytest.fixture
def role_setting(house):
    """Set something for the application role, and take it back afterwards."""
    with house.owner() as owner:

        def set_for_all(what):
            owner.execute(f"ALTER ROLE sealtrail_app SET {what}")

        yield set_for_all
        owner.execute("ALTER ROLE sealtrail_app RESET ALL")


def test_a_duty_is_taken_and_given_back(house, database):
    """Within, just that role; afterwards, none: the next borrower may work on another Book."""
    with database.duty(house.schema, "read") as connection:
        within = connection.execute("SELECT current_user").fetchone()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"INSERT INTO {house.schema}.entry_body VALUES (0, 'x')")
    with database.connection() as connection:
        after = connection.execute("SELECT current_user").fetchone()

    assert within == (f"{house.schema}_read",)
    assert after == ("sealtrail_app",)


def test_a_connection_that_cannot_give_its_duty_back_is_thrown_away(house, database):
    """It broke in the middle of a transaction; nobody borrows it with a foreign role."""
    with database.duty(house.schema, "read") as connection:
        broken = connection
        connection.execute("BEGIN")
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT * FROM nothing_of_that_name")

    with database.connection() as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("sealtrail_app",)
        assert connection is not broken
    assert broken.closed


def test_a_duty_of_no_book_is_refused(database):
    """There is no such role, and the driver's words do not travel."""
    with pytest.raises(psycopg.errors.Error), database.duty("book_of_nobody", "read"):
        pass


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({0: True}, "standby"),
        ({1: "off"}, "fsync"),
        ({2: "off"}, "full_page_writes"),
        ({3: "off"}, "synchronous_commit"),
        ({7: "140009"}, "older than 15"),
    ],
)
def test_a_server_that_would_lose_data_is_refused(postgres, row, said):
    """Each of the five is enough. The server's answer is altered here, for it cannot be had."""
    answer = [False, "on", "on", "on", 1, 1, None, "180004"]
    for at, value in row.items():
        answer[at] = value

    class Answering:
        def execute(self, _):
            return self

        def fetchone(self):
            return tuple(answer)

    with Database(postgres.url()) as database, pytest.raises(UnsafeServer, match=said):
        database.check_server(Answering())


def test_an_unsafe_setting_is_named_to_whoever_asks(house, database, role_setting):
    """On a dedicated connection at once, from the pool after its patience; not "no answer"."""
    schema = house.schema
    role_setting("synchronous_commit = off")

    with pytest.raises(UnsafeServer):
        database.dedicated(schema, "append")
    with pytest.raises(UnsafeServer), database.connection():
        pass


def test_another_cluster_at_the_same_address_is_rewritten_history(house, database):
    """A restored copy answers where the database was; its system identifier tells."""
    with database.connection():
        pass
    known, timeline = database._identity
    database._identity = (known + 1, timeline)

    with pytest.raises(HistoryRewritten):
        database.dedicated(house.schema, "append")


def test_clocks_that_differ_are_told_on_every_connection(house):
    """Skew is checked before anything is recorded or read."""
    with Database(house.app_url, skew_ms=-1, timeout_s=0.5) as unsure:
        with pytest.raises(ClockUnsure):
            unsure.dedicated(house.schema, "append")
        with pytest.raises(ClockUnsure), unsure.connection():
            pass


def test_the_databases_clock_can_be_asked(postgres):
    """In milliseconds, and near ours."""
    with Database(postgres.url()) as database:
        database.check_clock(database.now_ms())


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://sealtrail_app@/postgres?host=/nonexistent",
        "postgresql://sealtrail_app:a-secret@127.0.0.1:9/postgres",
    ],
)
def test_a_database_that_is_down_is_an_outage_without_its_address(url):
    """503, and neither host nor password in the answer."""
    with Database(url, timeout_s=0.3) as down:
        for ask in (down.now_ms, lambda: down.dedicated("book_x", "append")):
            with pytest.raises(Unavailable) as caught:
                ask()
            text = f"{caught.value} {caught.value.facts}"
            assert not any(word in text for word in ("127.0.0.1", "nonexistent", "a-secret"))
    with pytest.raises(Unavailable), connect(url):
        pass


def test_a_connection_that_dies_in_use_is_an_outage(house, database):
    """Whoever was reading is told to ask again; the next one gets a fresh connection."""

    def read_on_a_session_that_is_ended():
        with database.duty(house.schema, "read") as connection:
            with house.owner() as owner:
                owner.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
            connection.execute("SELECT 1")

    with pytest.raises(Unavailable):
        read_on_a_session_that_is_ended()

    assert database.now_ms() > 0
