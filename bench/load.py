# SPDX-License-Identifier: GPL-3.0-or-later
"""A load generator that costs little: prebuilt requests over keep-alive sockets, one thread.

Each client sends its next request when its last answer is complete (closed loop). Requests are
bytes made before the clock starts; the answers' statuses and times are kept, their bodies counted.
"""

import selectors
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Client:
    """One connection and what it waits for."""

    sock: socket.socket
    started: float = 0.0
    buffer: bytearray = field(default_factory=bytearray)
    expected: int = -1  #: Length of the whole answer, once its head is there.


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run measured."""

    clients: int
    seconds: float
    latencies: list[float]  #: Seconds, sorted.
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


def run(address: tuple[str, int], requests: Sequence[bytes], clients: int) -> Result:
    """Send all requests through `clients` connections and return what was measured."""
    selector = selectors.DefaultSelector()
    waiting = iter(requests)
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    last = b""
    active = 0
    for _ in range(clients):
        sock = socket.create_connection(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(sock, selectors.EVENT_READ, Client(sock))
    began = time.perf_counter()
    for key in list(selector.get_map().values()):
        active += _send(key.data, waiting)
    while active:
        for key, _ in selector.select(timeout=30) or _stuck():
            client: Client = key.data
            answer = _receive(client)
            if answer is None:
                continue
            status, last = answer
            latencies.append(time.perf_counter() - client.started)
            statuses[status] += 1
            if not _send(client, waiting):
                active -= 1
    seconds = time.perf_counter() - began
    for key in list(selector.get_map().values()):
        key.data.sock.close()
    selector.close()
    latencies.sort()
    return Result(
        clients=clients, seconds=seconds, latencies=latencies, statuses=dict(statuses), last=last
    )


def _send(client: Client, waiting: object) -> bool:
    request = next(waiting, None)  # type: ignore[call-overload]
    if request is None:
        return False
    client.started = time.perf_counter()
    client.sock.sendall(request)
    return True


def _receive(client: Client) -> tuple[int, bytes] | None:
    chunk = client.sock.recv(262_144)
    if not chunk:
        raise ConnectionError("the server closed a connection")
    client.buffer += chunk
    if client.expected < 0:
        end = client.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(client.buffer[:end]).lower()
        at = head.index(b"content-length:") + 15
        length = head[at : head.find(b"\r\n", at) if b"\r\n" in head[at:] else None]
        client.expected = end + 4 + int(length)
    if len(client.buffer) < client.expected:
        return None
    status = int(client.buffer[9:12])
    body = bytes(client.buffer[client.buffer.index(b"\r\n\r\n") + 4 : client.expected])
    del client.buffer[: client.expected]
    client.expected = -1
    return status, body


def _stuck() -> list[object]:
    raise TimeoutError("no answer for 30 seconds")
