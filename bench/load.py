# SPDX-License-Identifier: GPL-3.0-or-later
"""A load generator that costs little: prebuilt requests over keep-alive sockets, one thread.

Each client sends its next request when its last answer is complete (closed loop). Requests are
bytes made before the clock starts; the answers' statuses and times are kept, their bodies counted.
"""

import select
import socket
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: Host and port, or the path of a Unix socket.
Address = tuple[str, int] | str


class Client:
    """One connection and what it waits for."""

    __slots__ = ("buffer", "sock", "started")

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.started, self.buffer = sock, 0.0, b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run measured."""

    clients: int
    seconds: float
    latencies: Sequence[float]  #: Seconds, sorted.
    statuses: dict[int, int]
    last: bytes  #: The last answer's body.

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def at(self, share: float) -> float:
        """Return a quantile of the latency, in milliseconds."""
        place = min(len(self.latencies) - 1, int(len(self.latencies) * share))
        return self.latencies[place] * 1000


def http_post(path: str, token: str, body: bytes, *, media_type: str = "application/json") -> bytes:
    """Print one request."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def http_get(path: str, token: str | None = None) -> bytes:
    credential = "" if token is None else f"Authorization: Bearer {token}\r\n"
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{credential}\r\n".encode()


def connect(address: Address) -> socket.socket:
    """Open one connection."""
    if isinstance(address, tuple):
        sock = socket.create_connection(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(address)
    return sock


def run(address: Address, requests: Sequence[bytes], clients: int) -> Result:
    """Send all requests through `clients` connections and return what was measured."""
    epoll = select.epoll()
    waiting = iter(requests)
    latencies = array("d")
    statuses: Counter[bytes] = Counter()
    last = b""
    active: dict[int, Client] = {}
    idle = [Client(connect(address)) for _ in range(clients)]
    for client in idle:
        active[client.sock.fileno()] = client
        epoll.register(client.sock, select.EPOLLIN)
    clock = time.perf_counter
    began = clock()
    for client in idle:
        if not _send(client, waiting):
            del active[client.sock.fileno()]
    while active:
        for number, _ in epoll.poll(30) or _stuck():
            client = active[number]
            answer = _receive(client)
            if answer is None:
                continue
            last = answer
            latencies.append(clock() - client.started)
            statuses[answer[9:12]] += 1
            if not _send(client, waiting):
                epoll.unregister(client.sock)
                del active[number]
    seconds = clock() - began
    epoll.close()
    for client in idle:
        client.sock.close()
    return Result(
        clients=clients,
        seconds=seconds,
        latencies=sorted(latencies),
        statuses={int(status): count for status, count in statuses.items()},
        last=last[last.index(b"\r\n\r\n") + 4 :],
    )


def _send(client: Client, waiting: Iterator[bytes]) -> bool:
    request = next(waiting, None)
    if request is None:
        return False
    client.started = time.perf_counter()
    client.sock.sendall(request)
    return True


def _receive(client: Client) -> bytes | None:
    """Return the whole answer, or None while some of it is missing."""
    data = client.sock.recv(262_144)
    if not data:
        raise ConnectionError("the server closed a connection")
    if client.buffer:
        data = client.buffer + data
    end = data.find(b"\r\n\r\n")
    if end > 0:
        at = data.find(b"content-length: ", 0, end) + 16
        if len(data) == end + 4 + int(data[at : data.index(b"\r\n", at)]):
            client.buffer = b""
            return data
    client.buffer = data
    return None


def _stuck() -> list[tuple[int, int]]:
    raise TimeoutError("no answer for 30 seconds")
