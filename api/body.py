# SPDX-License-Identifier: GPL-3.0-or-later
"""A request's body: all of it or a refusal, within a size and a time, and strict JSON.

Nothing is parsed before all of it is here, and nothing larger than its limit is ever held in
memory. A body that stops coming does not hold its connection for ever.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from api import problems
from ledger.errors import NotJson, TooLarge
from ledger.request import parse_body
from sealtrail.verify.canonical import NotCanonical

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

#: A client that needs longer than this for its body, in seconds, loses the connection.
BODY_S: Final = 30.0


async def read(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return the whole body; raises TooLarge before more than `limit` bytes are held, BodyLost."""
    for name, value in scope["headers"]:
        if name == b"content-length" and _number(value) > limit:
            raise _too_large(limit)
    chunks: list[bytes] = []
    taken = 0
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise problems.BodyLost("the connection ended before the body was complete")
                chunk = message.get("body", b"")
                taken += len(chunk)
                if taken > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
                if not message.get("more_body"):
                    return b"".join(chunks)
    except TimeoutError:
        raise problems.BodyLost(f"the body took longer than {BODY_S:.0f} seconds") from None


def parse(data: bytes) -> Any:
    """Parse strict I-JSON; raises NotJson, which names the rule and nothing of the text."""
    try:
        return parse_body(data)
    except NotCanonical as error:
        raise problems.not_json(error) from None


def array(data: bytes) -> list[Any]:
    """Parse a JSON array; raises NotJson."""
    value = parse(data)
    if not isinstance(value, list):
        raise NotJson("a batch is a JSON array, or NDJSON under its own content type")
    return value


def lines(data: bytes) -> list[bytes]:
    """Return the lines of NDJSON that are not empty."""
    return [line for line in data.split(b"\n") if line.strip()]


def again(data: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body which was read before, then what comes after it."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": data, "more_body": False}

    return replay


def _number(text: bytes) -> int:
    """Read an announced length; what is none counts as larger than any limit."""
    return int(text) if text.isdigit() and len(text) < 16 else 2**63


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes")
