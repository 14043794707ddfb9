# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the API. This module is uvicorn's only home."""

import gc
import os
import socket
from collections.abc import Callable
from typing import Final

import uvicorn
from api.app import create_app
from api.state import State
from ledger.access import Credentials
from ledger.errors import Refused
from ledger.migrate import pending

from scripts.assembly import Ledger, check_packages

_BACKLOG: Final = 2_048


def check_server(ledger: Ledger) -> None:
    """Return if this process may serve in its environment; else raise Refused."""
    check_packages()
    if ledger.settings.environment == "production" and os.geteuid() == 0:
        raise Refused("a server never runs as root")
    with ledger.database.connection() as connection:
        missing = pending(connection)
        if missing:
            raise Refused(f"run `sealtrail-server migrate` first: {missing[0]}")
        row = connection.execute(
            "SELECT rolsuper OR rolcreaterole OR rolbypassrls FROM pg_roles"
            " WHERE rolname = session_user"
        ).fetchone()
    if row is None or row[0]:
        raise Refused("SEALTRAIL_DATABASE_URL logs in as a superuser or owner; use sealtrail_app")


def bind(host: str, port: int) -> socket.socket:
    """Bind the API's socket; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Refused(f"the API cannot listen on port {port}: {error.strerror}") from error
    return listener


def serve(
    ledger: Ledger, listener: socket.socket, *, ready: Callable[[], None] = lambda: None
) -> None:
    """Serve until told to stop (SIGINT, SIGTERM). Opens every Book first, which checks it."""
    for name in list(ledger.shelf.rows())[: ledger.settings.books_open_max]:
        ledger.shelf.book(name)
    state = State(
        shelf=ledger.shelf,
        credentials=Credentials(ledger.database),
        trust_file=ledger.settings.trust_file,
        packet_dir=ledger.settings.packet_dir,
        packet_ttl_s=ledger.settings.packet_ttl_h * 3600,
    )
    config = uvicorn.Config(
        create_app(state, on_ready=ready),
        http="httptools",
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        backlog=_BACKLOG,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=20,
        server_header=False,
    )
    # What exists now lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    uvicorn.Server(config).run(sockets=[listener])
