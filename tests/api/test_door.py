# SPDX-License-Identifier: GPL-3.0-or-later
"""What the door does for every route, with routes of its own that misbehave."""

import asyncio
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import body, problems
from api.door import BODY_MAX, Door
from ledger.errors import TooLarge

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

SECRET = "nobody-may-read-this"


def ask(application, *, path="/v1/anything", method="GET", headers=(), chunks=(b"",)):
    """Send one request through the door; returns status, headers and body of the answer."""
    messages = []
    parts = [
        {"type": "http.request", "body": chunk, "more_body": at < len(chunks) - 1}
        for at, chunk in enumerate(chunks)
    ]

    async def receive():
        return parts.pop(0) if parts else {"type": "http.disconnect"}

    async def send(message):
        messages.append(message)

    scope = {"type": "http", "path": path, "method": method, "headers": list(headers)}
    asyncio.run(Door(application)(scope, receive, send))
    if not messages:
        return None
    start, *rest = messages
    return start["status"], dict(start["headers"]), b"".join(one["body"] for one in rest)


async def fails(_scope, _receive, _send):
    raise RuntimeError(f"stumbled over {SECRET}")


async def fails_halfway(_scope, _receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise KeyError(SECRET)


async def echoes(scope, receive, send):
    """Answers with the method, the content type and the body that it was given."""
    data, more = b"", True
    while more:
        message = await receive()
        data += message.get("body", b"")
        more = message.get("more_body", False)
    headers = dict(scope["headers"])
    text = [scope["method"], headers.get(b"content-type", b"").decode(), data.decode()]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(text).encode()})


def test_a_mistake_of_ours_is_a_problem_document_and_one_line_without_values(caplog):
    """An exception's message may quote what it stumbled over; its type and place do not."""
    with caplog.at_level(logging.DEBUG):
        status, headers, data = ask(fails)

    assert status == 500
    assert headers[b"content-type"] == b"application/problem+json"
    assert json.loads(data)["code"] == "internal-error"
    (record,) = [one for one in caplog.records if one.name == "sealtrail.api"]
    assert "RuntimeError" in record.getMessage()
    assert "test_door.py" in record.getMessage()
    assert record.exc_info is None
    assert SECRET not in caplog.text + data.decode()


def test_an_answer_that_has_begun_is_left_without_its_end(caplog):
    """The server then cuts the connection; a second status would be a lie."""
    status, _, data = ask(fails_halfway)

    assert (status, data) == (200, b"")
    assert SECRET not in caplog.text


def test_an_order_for_a_packet_reaches_its_route_as_json_whatever_it_was_called():
    headers = [(b"authorization", b"Bearer x"), (b"content-type", b"text/plain")]

    status, _, data = ask(
        echoes, path="/v1/packets", method="POST", headers=headers, chunks=(b'{"a"', b":1}")
    )

    assert status == 200
    assert json.loads(data) == ["POST", "application/json", '{"a":1}']


def test_nobodys_order_is_refused_before_it_is_read():
    status, _, data = ask(echoes, path="/v1/books/x/packets", method="POST", chunks=(b"{",))

    assert (status, json.loads(data)["code"]) == (401, "unauthenticated")


def test_an_order_over_its_limit_is_refused():
    headers = [(b"authorization", b"Bearer x"), (b"content-length", str(BODY_MAX + 1).encode())]

    status, _, data = ask(echoes, path="/v1/packets", method="POST", headers=headers)

    assert (status, json.loads(data)["code"]) == (413, "too-large")


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
def test_no_other_body_is_read(method):
    """A route that wants none leaves it where it is: on the wire."""
    status, headers, data = ask(echoes, method=method, chunks=(b"x" * 10,))

    assert status == 200
    assert json.loads(data)[2] == "x" * 10
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"x-content-type-options"] == b"nosniff"


def read(headers, chunks, limit):
    parts = [
        {"type": "http.request", "body": chunk, "more_body": at < len(chunks) - 1}
        for at, chunk in enumerate(chunks)
    ]

    async def receive():
        return parts.pop(0)

    return asyncio.run(body.read({"headers": headers}, receive, limit)), parts


@given(chunks=st.lists(st.binary(max_size=20), min_size=1, max_size=8), limit=st.integers(0, 60))
def test_a_body_is_whole_or_refused_and_never_more_than_its_limit(chunks, limit):
    whole = b"".join(chunks)

    if len(whole) <= limit:
        assert read([], chunks, limit)[0] == whole
        return
    with pytest.raises(TooLarge):
        read([], chunks, limit)


@pytest.mark.parametrize("length", [b"11", b"-1", b"1_0", b"+5", b"0x1", b"9" * 30, "１".encode()])
def test_an_announced_length_over_the_limit_or_odd_is_refused_unread(length):
    with pytest.raises(TooLarge):
        read([(b"content-length", length)], [b"x"], 10)


def test_a_body_whose_sender_left_is_lost():
    async def receive():
        return {"type": "http.disconnect"}

    with pytest.raises(problems.BodyLost):
        asyncio.run(body.read({"headers": []}, receive, 10))
    status, headers, _ = problems.response(problems.BodyLost())
    assert status == 503
    assert (b"connection", b"close") in headers
