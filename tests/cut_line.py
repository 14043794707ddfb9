# SPDX-License-Identifier: GPL-3.0-or-later
"""A line to PostgreSQL that can be cut: before a statement arrives, or after its COMMIT.

It listens on a Unix socket and passes everything on, until a client sends the bytes it waits for.
"""

import contextlib
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

When = Literal["before", "after"]


class Line:
    """What stands between one process and its database."""

    def __init__(self, upstream: str) -> None:
        self._upstream = conninfo_to_dict(upstream)
        self._directory = tempfile.mkdtemp(prefix="line-", dir="/tmp")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{self._directory}/.s.PGSQL.5432")
        self._listener.listen()
        self._marker = b""
        self._when: When = "after"
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self.cut = 0  #: How often the line was cut.
        self._spawn(self._accept)

    @property
    def url(self) -> str:
        user, database = self._upstream["user"], self._upstream["dbname"]
        return f"postgresql://{user}@/{database}?host={quote(self._directory, safe='')}&port=5432"

    def cut_at(self, marker: bytes, when: When) -> None:
        """Cut, once, when a client sends `marker`: before it arrives, or after it was answered."""
        self._marker, self._when = marker, when

    def close(self) -> None:
        for one in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join()
        shutil.rmtree(self._directory)

    def _spawn(self, work, *arguments) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = self._dial()
            self._sockets += [client, server]
            state = {"cut": False}
            self._spawn(self._up, client, server, state)
            self._spawn(self._down, client, server, state)

    def _dial(self) -> socket.socket:
        host, port = str(self._upstream["host"]), str(self._upstream.get("port", "5432"))
        if host.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{host}/.s.PGSQL.{port}")
            return server
        return socket.create_connection((host, int(port)))

    def _up(self, client, server, state) -> None:
        """From client to server; a large statement may come in many pieces."""
        seen = b""
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 20):
                seen = (seen + data)[-(1 << 20) :]
                if self._marker and self._marker in seen:
                    self._marker = b""
                    self.cut += 1
                    state["cut"] = True
                    if self._when == "before":
                        break
                server.sendall(data)
        self._drop(client, server, state)

    def _down(self, client, server, state) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 20):
                if state["cut"]:
                    break  # The statement was answered; nobody will hear it.
                client.sendall(data)
        state["cut"] = False
        self._drop(client, server, state)

    def _drop(self, client, server, state) -> None:
        if state["cut"] and self._when == "after":
            return  # The answer is still to come.
        for one in (client, server):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def line_to(upstream: str) -> Iterator[Line]:
    line = Line(upstream)
    try:
        yield line
    finally:
        line.close()
