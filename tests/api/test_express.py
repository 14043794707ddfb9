# SPDX-License-Identifier: GPL-3.0-or-later
"""The express lane: whatever comes that way is judged and answered as on the ordinary one."""

import json
import socket
from urllib.parse import urlsplit

import pytest
from house import attempt

CHUNKED = b"Transfer-Encoding: chunked\r\n"


def connect(service):
    parts = urlsplit(service.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=30)


def head(service, path, *lines):
    start = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.pipeline}\r\n"
    return start.encode() + b"".join(lines) + b"\r\n"


def express(service, data):
    return head(service, "/v1/events", b"Content-Length: %d\r\n" % len(data)) + data


def ordinary(service, data):
    return head(service, "/v1/events", CHUNKED) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)


def answers(sock, count):
    """Read so many answers: status and body of each."""
    found, data = [], b""
    while len(found) < count:
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            header = data[:end].lower()
            length = int(header.split(b"content-length: ")[1].split(b"\r\n")[0])
            if len(data) >= end + 4 + length:
                found.append((int(header[9:12]), data[end + 4 : end + 4 + length]))
                data = data[end + 4 + length :]
                continue
        chunk = sock.recv(65_536)
        if not chunk:
            break
        data += chunk
    return found


@pytest.mark.parametrize(
    "change",
    [{}, {"type": "NOPE"}, {"record_key": "x"}, {"on_behalf_of": ""}, {"unknown": 1}, None, []],
    ids=str,
)
def test_both_lanes_give_the_same_answer(service, change):
    """A right event is recorded on either; a wrong one gets the same problem document."""

    def body():
        value = change if not isinstance(change, dict) else {**attempt(), **change}
        return json.dumps(value).encode()

    with connect(service) as sock:
        sock.sendall(express(service, body()))
        sock.sendall(ordinary(service, body()))
        (one, first), (two, second) = answers(sock, 2)

    assert one == two
    if one != 201:
        assert json.loads(first) == json.loads(second)


def test_pipelined_requests_are_answered_in_their_order(service):
    """Six at once, the lanes in turn; each answer names the event of its own request."""
    sent = [attempt() for _ in range(6)]
    bodies = [json.dumps(one).encode() for one in sent]
    with connect(service) as sock:
        lanes = [express, ordinary] * 3
        sock.sendall(
            b"".join(lane(service, body) for lane, body in zip(lanes, bodies, strict=True))
        )
        found = answers(sock, 6)

    assert [status for status, _ in found] == [201] * 6
    assert [json.loads(data)["event_id"] for _, data in found] == [one["event_id"] for one in sent]


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 0\r\n", CHUNKED),
        (b"Content-Length: 0\r\n", b"Content-Length: %d\r\n"),
        (b"Content-Length: +%d\r\n",),
    ],
    ids=["length and chunks", "two lengths", "a signed length"],
)
def test_a_request_that_two_servers_would_cut_differently_is_refused(service, lines):
    """What hides behind such a header is recorded by nobody: the connection ends."""
    size = service.size
    data = express(service, json.dumps(attempt()).encode())
    with connect(service) as sock:
        filled = [line % len(data) if b"%d" in line else line for line in lines]
        sock.sendall(head(service, "/v1/events", *filled) + data)
        found = answers(sock, 2)

    assert all(status == 400 for status, _ in found)
    assert service.size == size


def test_a_body_that_stops_in_the_middle_is_recorded_by_nobody(service):
    """The caller goes away after half of what it announced."""
    size = service.size
    with connect(service) as sock:
        sock.sendall(express(service, json.dumps(attempt()).encode())[:-50])

    assert service.post(attempt()).status_code == 201
    assert service.size == size + 1
