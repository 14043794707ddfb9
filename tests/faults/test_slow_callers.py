# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the fault matrix: callers who are slow, silent, greedy or many."""

import contextlib
import socket
import time
from urllib.parse import urlsplit

import pytest
from answers import kept
from dev_ledger import eventually
from house import attempt

from api import body
from scripts import connections

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

DEPENDENCY = "Callers"
LIVEZ = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n"


@pytest.fixture
def caller(service):
    """Connects as often as asked; every connection ends with the test."""
    with contextlib.ExitStack() as stack:
        parts = urlsplit(service.url)

        def connect(receive_buffer=None):
            sock = stack.enter_context(socket.socket())
            if receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.settimeout(10)
            sock.connect((parts.hostname, parts.port))
            return sock

        yield connect


def said(sock):
    """All that the server says until it ends the connection."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while part := sock.recv(65536):
            data += part
    return data


def drip(sock, piece, *, every=0.1, seconds=30):
    """Send a piece again and again until the server ends the connection; return what it said."""
    until = time.monotonic() + seconds
    sock.settimeout(every)
    while time.monotonic() < until:
        with contextlib.suppress(TimeoutError):
            return sock.recv(65536)
        try:
            sock.sendall(piece)
        except ConnectionError:
            return b""
    pytest.fail("the server goes on listening")


def test_a_header_that_never_ends(service, caller, monkeypatch):
    """A caller sends one header line after the other, slowly, for ever.

    Kind: slow
    Ingest: goes on
    Lost: nothing
    Operator: nothing; the caller is answered 408 and cut off after 15 seconds
    """
    monkeypatch.setattr(connections, "HEADER_S", 0.5)
    sock = caller()
    sock.sendall(LIVEZ)

    answer = drip(sock, b"x: y\r\n")

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert said(sock) == b""
    assert service.post(attempt()).status_code == 201


def test_a_caller_who_says_nothing(caller, monkeypatch):
    """A connection is opened and nothing is sent; another one rests after its answer.

    Kind: slow
    Ingest: goes on
    Lost: nothing
    Operator: nothing; they are cut off after 15 and 30 seconds
    """
    monkeypatch.setattr(connections, "HEADER_S", 0.5)
    monkeypatch.setattr(connections, "IDLE_S", 0.4)
    silent, resting = caller(), caller()
    resting.sendall(LIVEZ + b"\r\n")

    assert said(silent) == b""
    assert said(resting).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("pieces", [1, 5])
def test_a_header_that_is_too_large(service, caller, pieces):
    """A caller sends 40 KiB of header, at once or bit by bit.

    Kind: crowd
    Ingest: goes on
    Lost: nothing
    Operator: nothing; the caller is answered 431 and cut off at 32 KiB
    """
    sock = caller()
    sock.sendall(LIVEZ)
    with contextlib.suppress(ConnectionError):
        for _ in range(pieces):
            sock.sendall(b"x: " + b"y" * (40_000 // pieces))
            time.sleep(0.02)
        sock.sendall(b"\r\n\r\n")

    assert said(sock).startswith(b"HTTP/1.1 431 ")
    assert kept(service, attempt())


def test_a_large_header_within_the_bound_and_a_body_behind_it(caller):
    """A caller sends 30 KiB of header and a body in one piece, twice: no fault at all.

    Kind: crowd
    Ingest: goes on
    Lost: nothing
    Operator: nothing; both requests are answered
    """
    sock = caller()
    request = LIVEZ + b"x: " + b"y" * 30_000 + b"\r\ncontent-length: 60000\r\n\r\n" + b"z" * 60_000
    for _ in range(2):
        sock.sendall(request)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_comes_too_slowly(service, caller, monkeypatch):
    """A caller announces an event and sends it a byte at a time.

    Kind: slow
    Ingest: goes on
    Lost: nothing; nothing was recorded of it
    Operator: nothing; the caller is answered 503 `body-incomplete` after 30 seconds
    """
    monkeypatch.setattr(body, "BODY_S", 0.5)
    size, sock = service.size, caller()
    sock.sendall(
        b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9000\r\n"
        b"authorization: Bearer " + service.pipeline.encode() + b"\r\n\r\n"
    )

    answer = drip(sock, b" ")

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert service.size == size


def test_a_body_that_nobody_wants(caller, monkeypatch):
    """A caller goes on sending a body, slowly, after the request was answered.

    Kind: slow
    Ingest: goes on
    Lost: nothing
    Operator: nothing; the caller is cut off 30 seconds after the answer
    """
    monkeypatch.setattr(connections, "IDLE_S", 0.4)
    sock = caller()
    sock.sendall(LIVEZ + b"content-length: 9000\r\n\r\n")
    assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")

    assert drip(sock, b" ") == b""


def test_an_answer_that_is_never_read(service, caller, monkeypatch):
    """A caller asks for large documents, one after the other, and reads none of them.

    Kind: slow
    Ingest: goes on
    Lost: nothing
    Operator: nothing; the caller is cut off when for 30 seconds it has taken less than 128 KiB
    """
    monkeypatch.setattr(connections, "TAKEN_S", 0.5)
    sock = caller(receive_buffer=4096)
    asked = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n"
    sock.sendall(asked * 200)

    def is_cut_off():
        try:
            sock.send(b"G", socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except ConnectionError:
            return True
        return False

    eventually(is_cut_off)
    assert service.post(attempt()).status_code == 201


def test_more_connections_than_are_taken(service, caller, monkeypatch):
    """Somebody opens one connection after the other and leaves them open.

    Kind: crowd
    Ingest: goes on for whoever is connected; newcomers are refused with 503 until some are gone
    Lost: nothing
    Operator: 503 `too-many-connections`; memory and open files stay bounded
    """
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 40)
    assert service.post(attempt()).status_code == 201  # On a connection that stays.
    crowd = [caller() for _ in range(120)]
    turned_away = set()

    def hear():
        for sock in crowd:
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                if sock.recv(4096).startswith(b"HTTP/1.1 503 "):
                    turned_away.add(sock)
        return len(turned_away) >= 80

    eventually(hear)
    assert service.post(attempt()).status_code == 201
    for sock in crowd:
        sock.close()
    late = caller()
    late.sendall(LIVEZ + b"connection: close\r\n\r\n")
    assert said(late).startswith(b"HTTP/1.1 200 ")
