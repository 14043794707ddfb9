# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the API: opens what it serves from, binds its port, and stops when it is told to.

A Book that contradicts itself keeps no other tenant from being served: its own requests are
answered with what is wrong, `/readyz` names it, and the log says so loudly. uvicorn's home is here
and in scripts.connections, which bounds what a connection may cost.
"""

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import uvicorn

from api.app import create_app
from api.checker import collect_rarely
from api.state import State
from ledger.access import Credentials
from ledger.errors import IntegrityViolation, LedgerError, Refused
from ledger.migrate import pending
from scripts.assembly import Ledger, check_packages, open_storeroom
from scripts.connections import allow_open_files, look_at
from scripts.express import lane_to

log = logging.getLogger("sealtrail.serve")

_BACKLOG: Final = 2_048

#: A writer's thread that comes back from the database waits so long, in seconds, for the event
#: loop's thread to let go of the interpreter; Python's own 5 ms would be most of a commit.
_SWITCH_S: Final = 0.0005
_TICKS_A_LOOK: Final = 10  #: Of a tenth of a second each.


def check_server(ledger: Ledger) -> None:
    """Return if this process may serve from its database; else raise Refused."""
    check_packages()
    with ledger.database.connection() as connection:
        missing = pending(connection)
        if missing:
            raise Refused(f"run `sealtrail-server migrate` first: {missing[0]}")
        row = connection.execute(
            "SELECT rolsuper OR rolcreaterole OR rolbypassrls OR EXISTS ("
            "  SELECT 1 FROM pg_namespace n WHERE pg_has_role(session_user, n.nspowner, 'MEMBER')"
            "  AND (n.nspname = 'sealtrail' OR n.nspname LIKE 'book\\_%'))"
            " FROM pg_roles WHERE rolname = session_user"
        ).fetchone()
    if row is None or row[0]:
        raise Refused("SEALTRAIL_DATABASE_URL logs in as a superuser or owner; use sealtrail_app")


def refuse_root() -> None:
    """Return if this process is nobody special; else raise Refused."""
    if os.geteuid() == 0:
        raise Refused("a server never runs as root; only `dev` may")


def bind(host: str, port: int) -> socket.socket:
    """Bind the API's socket; port 0 takes a free one. Who connects from now on is waited for.

    host: an address, or `unix:` and the path of a Unix socket, for this user and group.
    """
    if host.startswith("unix:"):
        return _bind_unix(host.removeprefix("unix:"))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise Refused(f"the API cannot listen on port {port}: {error.strerror}") from error
    return listener


def where(host: str, listener: socket.socket) -> str:
    """Say where a bound socket answers."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    return f"http://{host}:{listener.getsockname()[1]}"


def _bind_unix(path: str) -> socket.socket:
    """Bind a Unix socket; one that a dead server left behind is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            if Path(path).is_socket() and other.connect_ex(path) == errno.ECONNREFUSED:
                Path(path).unlink()  # Nobody listens any more.
        before = os.umask(0o117)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise Refused(f"the API cannot listen on its socket: {error.strerror}") from error
    return listener


def serve(
    ledger: Ledger, listener: socket.socket, *, ready: Callable[[], None] = lambda: None
) -> None:
    """Serve until told to stop (SIGINT, SIGTERM). Opens every Book first, which checks it."""
    for name in list(ledger.shelf.rows())[: ledger.settings.books_open_max]:
        _open(ledger, name)
    allow_open_files()
    state = State(
        shelf=ledger.shelf,
        credentials=Credentials(ledger.database),
        trust_file=ledger.settings.trust_file,
        packet_dir=ledger.settings.packet_dir,
        packet_ttl_s=ledger.settings.packet_ttl_h * 3600,
        checkers=ledger.settings.checkers,
        link_check=ledger.settings.link_check,
        storeroom=open_storeroom(ledger.settings),
        link_ttl_s=ledger.settings.link_ttl_s,
    )
    server = make_server(state, ready=ready)
    collect_rarely()
    sys.setswitchinterval(_SWITCH_S)
    with _told_to_stop():
        server.run(sockets=[listener])


def _open(ledger: Ledger, name: str) -> None:
    """Open a Book; one that cannot be opened is complained about, and the others are served."""
    try:
        ledger.shelf.book(name)
    except IntegrityViolation as error:
        log.critical("%s is not served: %s (%s)", name, error, error.problem)
    except LedgerError as error:
        log.error("%s cannot be opened yet: %s (%s)", name, error, error.problem)  # noqa: TRY400
    except Exception as error:
        # Whatever was done to its tables; the traceback holds no values of requests.
        log.critical("%s is not served: %s", name, type(error).__name__, exc_info=True)


@contextlib.contextmanager
def _told_to_stop() -> Iterator[None]:
    """Make being told to stop an ordinary end.

    uvicorn finishes what it has accepted and then sends itself the same signal once more, which
    would end the process before what it opened is closed: an embedded PostgreSQL would stay behind.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: None) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def make_server(state: State, *, ready: Callable[[], None] = lambda: None) -> uvicorn.Server:
    """Return the HTTP server of a process, ready to run."""
    application = create_app(state, on_ready=ready)
    config = uvicorn.Config(
        application,
        http=lane_to(application),
        ws="none",
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=20,
        server_header=False,
        proxy_headers=False,  # Nothing here looks at a caller's address.
    )
    return _Server(config)


class _Server(uvicorn.Server):
    """uvicorn's server, which also looks at its connections."""

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_A_LOOK == 0:
            look_at(self.server_state.connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)
