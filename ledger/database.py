# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL as this ledger needs it: one pool per process, roles, and a server that really syncs.

A server process logs in as a role that owns nothing. For each piece of work it takes one of the
Book's own roles (append, read, retain) with SET ROLE, and gives it back. Each new connection is
checked before it is used: a primary, with fsync, full_page_writes and synchronous_commit on, and
the same cluster as before. A ledger that promises durability asks its disk first.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, Self

import psycopg
from psycopg import sql
from psycopg_pool import ConnectionPool, PoolTimeout

from ledger import clock
from ledger.errors import ClockUnsure, HistoryRewritten, LedgerError, Unavailable

Row = tuple[Any, ...]
Connection = psycopg.Connection[Row]
Duty = Literal["append", "read", "retain"]

#: psycopg's pool logs each failed attempt with its connection string's host; we answer 503 instead.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)

_SERVER: Final = """
SELECT pg_is_in_recovery(), current_setting('fsync'), current_setting('full_page_writes'),
       current_setting('synchronous_commit'), (pg_control_system()).system_identifier,
       (pg_control_checkpoint()).timeline_id,
       (extract(epoch FROM clock_timestamp()) * 1000)::bigint, current_setting('server_version_num')
"""


#: A message that nobody reads; as part of a transaction it is flushed like any entry.
_READY: Final = """
SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
       current_setting('transaction_read_only'), pg_logical_emit_message(true, 'sealtrail', '')
"""

#: A writer looks rows up by key and nothing else. Its statements are planned before a young table
#: has statistics, and a plan that reads whole tables would stay for the session's life.
_BY_KEY: Final = """
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off
"""


#: A server that vanished without a word (its host, a firewall) is noticed after this long, instead
#: of after the hours that TCP takes by itself. Over a Unix socket none of this means anything.
LINE: Final[Any] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,  # ms until what was sent must have been received
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}

#: So long after nobody got a connection, in seconds, whoever asks for one waits DOWN_WAIT_S only.
_DOWN_S: Final = 5.0
_DOWN_WAIT_S: Final = 0.5

#: The pool doubles its pause with each failed try until it gives up, in seconds: with more than
#: this it would still pause for minutes after a long outage is over. Who asks next tries at once.
_TRY_S: Final = 2.0


class UnsafeServer(Unavailable):
    """PostgreSQL is not set up to keep what it acknowledges."""

    problem = "unsafe-database"


class Database:
    """One PostgreSQL database, its pool of connections, and what we remember of its identity.

    Raises Unavailable when the server cannot be reached, UnsafeServer when it would lose data.
    """

    def __init__(
        self, url: str, *, pool_max: int = 8, skew_ms: int = 5_000, timeout_s: float = 5.0
    ) -> None:
        self.url = url
        self.skew_ms = skew_ms
        self._identity: tuple[int, int] | None = None
        self._complaint: LedgerError | None = None  # Of the last connection that was not taken.
        self._down_until = 0.0
        self._pool = ConnectionPool(
            url,
            connection_class=Connection,
            kwargs={"autocommit": True, "application_name": "sealtrail", **LINE},
            min_size=0,
            max_size=pool_max,
            timeout=timeout_s,
            reconnect_timeout=_TRY_S,
            configure=self._configure,
            check=ConnectionPool.check_connection,
            open=True,
        )

    def close(self) -> None:
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection of the pool; autocommit, no role taken."""
        wait_s = _DOWN_WAIT_S if clock.monotonic() < self._down_until else None
        try:
            with self._pool.connection(timeout=wait_s) as connection:
                self._down_until = 0.0
                yield connection
        except PoolTimeout as error:
            # The pool tries again and again, and keeps to itself why.
            self._down_until = clock.monotonic() + _DOWN_S
            raise self._complaint or unavailable(error) from error
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise unavailable(error) from error

    @contextmanager
    def duty(self, schema: str, duty: Duty) -> Iterator[Connection]:
        """Lend a connection that may do just what `duty` of the Book in `schema` may do."""
        with self.connection() as connection:
            connection.execute(set_role(schema, duty))
            try:
                yield connection
            finally:
                _give_back_role(connection)

    def dedicated(self, schema: str, duty: Duty) -> Connection:
        """Open a connection outside the pool, with a Book's role for good; the caller closes it."""
        connection: Connection | None = None
        try:
            connection = Connection.connect(
                self.url,
                autocommit=True,
                application_name=f"sealtrail writer {schema}"[:63],
                **LINE,
            )
            self.check_server(connection)
            connection.execute(set_role(schema, duty))
            connection.execute(_BY_KEY)
        except psycopg.Error as error:
            if connection is not None:
                connection.close()
            raise unavailable(error) from error
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        return connection

    def now_ms(self) -> int:
        """Return the database's clock, in ms since 1970."""
        with self.connection() as connection:
            row = connection.execute(
                "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
            ).fetchone()
        return int(row[0]) if row is not None else 0

    def check_ready(self) -> None:
        """Return if a write would be made durable now; costs one, of a few bytes, to the WAL.

        Raises Unavailable, UnsafeServer when PostgreSQL takes no writes, or ClockUnsure.
        """
        with self.connection() as connection:
            try:
                row = connection.execute(_READY).fetchone()
            except psycopg.Error as error:
                raise unavailable(error) from error
        if row is None or row[1] != "off":
            raise UnsafeServer("PostgreSQL is read-only now")
        self.check_clock(row[0])

    def check_server(self, connection: Connection) -> None:
        """Return if this server keeps what it acknowledges and is the one that we know.

        Raises UnsafeServer, ClockUnsure, or HistoryRewritten when the cluster behind the same
        address is another one than before.
        """
        row = connection.execute(_SERVER).fetchone()
        if row is None:  # Cannot be: the query has no FROM.
            raise UnsafeServer
        standby, fsync, pages, commit, system, timeline, server_ms, version = row
        if standby:
            raise UnsafeServer("this PostgreSQL is a standby; the ledger writes to a primary only")
        for name, value in (("fsync", fsync), ("full_page_writes", pages)):
            if value != "on":
                raise UnsafeServer(f"PostgreSQL runs with {name} = {value}; it must be on")
        if commit == "off":
            raise UnsafeServer("PostgreSQL runs with synchronous_commit = off")
        if int(version) < 150_000:
            raise UnsafeServer("PostgreSQL is older than 15")
        self.check_clock(server_ms)
        self._check_identity(int(system), int(timeline))

    def _configure(self, connection: Connection) -> None:
        """Check a new connection of the pool, and remember why it was not taken."""
        try:
            self.check_server(connection)
        except LedgerError as error:
            self._complaint = error
            raise
        self._complaint = None

    def check_clock(self, server_ms: int) -> None:
        """Return if this host and the database agree on the time; else raise ClockUnsure."""
        if abs(clock.now_ms() - server_ms) > self.skew_ms:
            raise ClockUnsure

    def _check_identity(self, system: int, timeline: int) -> None:
        if self._identity is not None and self._identity[0] != system:
            raise HistoryRewritten("another database cluster answers at the same address")
        # A new timeline is a failover or a restore: the head is checked against what was signed.
        self._identity = (system, timeline)


@contextmanager
def connect(url: str) -> Iterator[Connection]:
    """Connect once, unchecked and without a role: for the owner's work and for doctors."""
    try:
        connection = Connection.connect(url, autocommit=True, **LINE)
    except psycopg.OperationalError as error:
        raise unavailable(error) from error
    with connection:
        yield connection


def _give_back_role(connection: Connection) -> None:
    """Leave no Book's role on a connection that the next borrower may use for another Book."""
    try:
        if not connection.closed:
            connection.execute("RESET ROLE")
    except psycopg.Error:
        connection.close()  # The pool throws it away.


def set_role(schema: str, duty: Duty) -> sql.Composed:
    return sql.SQL("SET ROLE {}").format(sql.Identifier(f"{schema}_{duty}"))


def unavailable(error: Exception) -> Unavailable:
    """Translate a lost or refused connection; the driver's text may name hosts and is left out."""
    return Unavailable(f"PostgreSQL does not answer ({type(error).__name__})")
