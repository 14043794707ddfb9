# SPDX-License-Identifier: GPL-3.0-or-later
"""The express lane: whatever comes that way is judged and answered as on the ordinary one."""

import json

import pytest
from house import attempt
from raw_posts import answers, connect, express, ordinary


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
