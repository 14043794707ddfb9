# SPDX-License-Identifier: GPL-3.0-or-later
"""The express lane: whatever comes that way is judged and answered as on the ordinary one."""

import json
import time

import pytest
from house import attempt
from raw_posts import answers, connect, express, ordinary

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


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


def test_a_body_that_stops_in_the_middle_is_recorded_by_nobody(service):
    """The caller goes away after half of what it announced."""
    size = service.size
    with connect(service) as sock:
        sock.sendall(express(service, json.dumps(attempt()).encode())[:-50])

    assert service.post(attempt()).status_code == 201
    assert service.size == size + 1


def whole(service):
    return express(service, json.dumps(attempt()).encode())


def in_turn(service, pieces, count):
    """Send pieces one by one, each when the last was answered or was only a part; all answers."""
    found = []
    with connect(service) as sock:
        for piece, expected in zip(pieces, count, strict=True):
            sock.sendall(piece)
            found += answers(sock, expected)
            if not expected:
                time.sleep(0.05)  # Or the next piece would be one with this.
    return [status for status, _ in found]


def test_many_requests_with_one_header_are_all_recorded(service):
    """From the second on no parser looks at them; another length is no other header."""
    sizes = [0, 400, 1, 90, 3_000]
    sent = [attempt(sealed={"prompt.user": "x" * (1 + size)}) for size in sizes]
    size = service.size
    with connect(service) as sock:
        for one in sent:
            sock.sendall(express(service, json.dumps(one).encode()))
            [(status, data)] = answers(sock, 1)
            assert (status, json.loads(data)["event_id"]) == (201, one["event_id"])

    assert service.size == size + len(sent)


@pytest.mark.parametrize("at", ["in the header", "after the header", "in the body"])
def test_a_request_with_the_same_header_may_come_in_pieces(service, at):
    """The parser is asked again, and again the one after."""
    request = whole(service)
    cut = {"in the header": 40, "after the header": request.index(b"{"), "in the body": 900}[at]
    pieces = [whole(service), request[:cut], request[cut:], whole(service)]

    assert in_turn(service, pieces, [1, 0, 1, 1]) == [201] * 3


def test_two_requests_with_the_same_header_may_come_in_one_piece(service):
    """And one with the beginning of the next."""
    last = whole(service)
    pieces = [
        whole(service),
        whole(service) + whole(service),
        whole(service) + last[:70],
        last[70:],
    ]

    assert in_turn(service, pieces, [1, 2, 1, 1]) == [201] * 5


@pytest.mark.parametrize(
    ("length", "expected"),
    [(b"+5", 400), (b"0x10", 400), (b"5,5", 400), (b"-1", 400), (b"\xb2", 400), (b"", 400)],
    ids=repr,
)
def test_a_length_that_is_no_number_is_refused_after_a_good_request_too(service, length, expected):
    """Only plain digits stand for the digits of the header before."""
    request = whole(service)
    begin = request.index(b"Content-Length: ") + 16
    end = request.index(b"\r", begin)

    found = in_turn(service, [whole(service), request[:begin] + length + request[end:]], [1, 1])

    assert found == [201, expected]


def test_another_credential_after_a_good_request_is_another_caller(service):
    """The header of the request before vouches for nothing but itself."""
    other = whole(service).replace(service.pipeline.encode(), b"x" * len(service.pipeline))

    assert in_turn(service, [whole(service), other, whole(service)], [1, 1, 1]) == [201, 401, 201]


@pytest.mark.parametrize("more", [b"Transfer-Encoding: chunked\r\n", b"Content-Length: 2\r\n"])
def test_a_second_length_is_refused_after_a_good_request_too(service, more):
    """A request hidden in another is found by the parser, whatever came before."""
    request = whole(service).replace(b"\r\n\r\n", b"\r\n" + more + b"\r\n", 1)

    assert in_turn(service, [whole(service), request], [1, 1]) == [201, 400]


def test_a_caller_that_is_told_to_close_is_not_heard_again(service):
    """`Connection: close` ends the connection after its answer; what follows is not recorded."""
    last = whole(service).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    size = service.size
    with connect(service) as sock:
        sock.sendall(whole(service))
        assert [status for status, _ in answers(sock, 1)] == [201]
        sock.sendall(last)
        assert [status for status, _ in answers(sock, 1)] == [201]
        assert sock.recv(1) == b""

    assert service.size == size + 2
