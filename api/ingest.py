# SPDX-License-Identifier: GPL-3.0-or-later
"""The way in: `POST /v1/events` and `/v1/events:batch` as a plain ASGI callable.

It stands in front of the framework because it is the hot path: read, parse strictly, check, queue
to the Book's writer, await the commit, answer with the receipt. No answer leaves before the entry
is durable, in the tree and under a checkpoint that the checkpoint store has accepted.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

from anchoring.receipt import receipt_of
from anchoring.shelf import Book, Shelf
from ledger import clock
from ledger.access import Credentials
from ledger.errors import (
    FieldError,
    Forbidden,
    LedgerError,
    MalformedEvent,
    NotFound,
    NotJson,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from ledger.request import Identity, Prepared, parse_body, prepare
from ledger.writer import Recorded
from sealtrail.verify.canonical import NotCanonical

from api import problems
from api.identity import bearer

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

SINGLE_MAX: Final = 1024 * 1024  #: Bytes of one request; its committed values included.
BATCH_MAX: Final = 8 * 1024 * 1024
BATCH_EVENTS: Final = 1_000

#: A client that sends its body more slowly than this, in seconds, loses the connection.
BODY_S: Final = 30.0

_PATH: Final = re.compile(r"/v1(?:/books/(?P<book>[a-z0-9-]{1,64}))?/events(?P<batch>:batch)?")


class Ingest:
    """Answers POSTs of events itself and hands every other request to `rest`."""

    def __init__(self, shelf: Shelf, credentials: Credentials, rest: Asgi) -> None:
        self._shelf, self._credentials, self._rest = shelf, credentials, rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = None
        if scope["type"] == "http" and scope["method"] == "POST":
            path = _PATH.fullmatch(scope["path"])
        if path is None:
            await self._rest(scope, receive, send)
            return
        try:
            status, headers, body = await self._answer(scope, receive, path)
        except LedgerError as error:
            status, headers, body = problems.response(error)
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(
        self, scope: Scope, receive: Receive, path: re.Match[str]
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        received_ms = clock.now_ms()
        headers = dict(scope["headers"])
        identity, pipelines = await self._identify(headers)
        book = await self._book(identity, path["book"])
        limit = BATCH_MAX if path["batch"] else SINGLE_MAX
        data = await _read(headers, receive, limit)
        if not path["batch"]:
            return await _single(book, _parse(data), identity, received_ms, pipelines)
        media_type = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        lines = media_type in (b"application/x-ndjson", b"application/ndjson")
        requests = _lines(data) if lines else _array(data)
        results = await _batch(book, requests, identity, received_ms, pipelines)
        if lines:
            text = b"".join(json.dumps(result).encode() + b"\n" for result in results)
            return 200, [(b"content-type", b"application/x-ndjson")], text
        return _json(200, {"results": results})

    async def _identify(self, headers: dict[bytes, bytes]) -> tuple[Identity, frozenset[str]]:
        sent = headers.get(b"authorization")
        token = bearer(None if sent is None else sent.decode("latin-1"))
        if token is None:
            raise Unauthenticated
        identity = self._credentials.remembered(token)
        if identity is None:  # Asking the database may take a while.
            identity = await asyncio.to_thread(self._credentials.identify, token)
        pipelines = self._credentials.pipelines_known(identity.tenant)
        if pipelines is None:
            pipelines = await asyncio.to_thread(self._credentials.pipelines, identity.tenant)
        return identity, pipelines

    async def _book(self, identity: Identity, name: str | None) -> Book:
        if name == f"{identity.tenant}-access":
            raise Forbidden("the access Book is written by the ledger alone")
        if name not in (None, identity.tenant):
            raise NotFound("there is no such Book for this credential")
        opened = self._shelf.opened(identity.tenant)
        return opened or await asyncio.to_thread(self._shelf.book, identity.tenant)


async def _single(
    book: Book, request: Any, identity: Identity, received_ms: int, pipelines: frozenset[str]
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    prepared = _prepare(request, identity, received_ms, pipelines)
    ((status, answer),) = await _record(book, [prepared])
    if isinstance(answer, LedgerError):
        raise answer
    status_line = _json(status, answer)
    if status == 200:
        status_line[1].append((b"sealtrail-repeat", b"true"))
    return status_line


async def _batch(
    book: Book,
    requests: Sequence[Any],
    identity: Identity,
    received_ms: int,
    pipelines: frozenset[str],
) -> list[dict[str, Any]]:
    """Record each event on its own merit; there is no all-or-nothing."""
    if len(requests) > BATCH_EVENTS:
        raise TooLarge(f"a batch holds at most {BATCH_EVENTS} events")
    places: list[Prepared | LedgerError] = []
    for at, request in enumerate(requests):
        if isinstance(request, LedgerError):
            places.append(request)
            continue
        try:
            places.append(_prepare(request, identity, received_ms, pipelines))
        except LedgerError as error:
            places.append(error)
        if at % 64 == 63:
            await asyncio.sleep(0)  # Others wait for this loop, too.
    recorded = iter(await _record(book, [p for p in places if isinstance(p, Prepared)]))
    results = []
    for place in places:
        status, answer = next(recorded) if isinstance(place, Prepared) else (place.status, place)
        if isinstance(answer, LedgerError):
            results.append({"status": answer.status, "problem": problems.problem(answer)})
        else:
            results.append({"status": status, "receipt": answer})
    return results


async def _record(
    book: Book, batch: Sequence[Prepared]
) -> list[tuple[int, dict[str, Any] | LedgerError]]:
    """Wait for the commit and return (status, receipt or error) for each request."""
    if not batch:
        return []
    outcomes = await asyncio.wrap_future(book.record(batch))
    answers: list[tuple[int, dict[str, Any] | LedgerError]] = []
    for prepared, outcome in zip(batch, outcomes, strict=True):
        if isinstance(outcome, LedgerError):
            answers.append((outcome.status, outcome))
        elif isinstance(outcome, Recorded):
            answers.append((201, receipt_of(book, outcome, prepared.disclosures).json()))
        else:  # A repeat is read back from the tree.
            receipt = await asyncio.to_thread(receipt_of, book, outcome, prepared.disclosures)
            answers.append((200, receipt.json()))
    return answers


def _prepare(
    request: Any, identity: Identity, received_ms: int, pipelines: frozenset[str]
) -> Prepared:
    if not isinstance(request, dict):
        raise MalformedEvent(errors=[FieldError("", "type", "an event is a JSON object")])
    return prepare(request, identity, received_ms=received_ms, pipelines=pipelines)


def _parse(data: bytes) -> Any:
    try:
        return parse_body(data)
    except NotCanonical as error:
        raise problems.not_json(error) from error


def _array(data: bytes) -> list[Any]:
    requests = _parse(data)
    if not isinstance(requests, list):
        raise NotJson("a batch is a JSON array, or NDJSON with its own content type")
    return requests


def _lines(data: bytes) -> list[Any]:
    """Parse NDJSON line by line; a line that is not JSON is refused alone."""
    requests: list[Any] = []
    for line in data.split(b"\n"):
        if not line.strip():
            continue
        try:
            requests.append(_parse(line))
        except NotJson as error:
            requests.append(error)
    return requests


async def _read(headers: dict[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """Read the whole body; raises TooLarge before reading more than `limit`."""
    announced = headers.get(b"content-length", b"0")
    if not announced.isdigit() or len(announced) > 18 or int(announced) > limit:
        raise TooLarge(f"the body is larger than {limit} bytes")
    chunks: list[bytes] = []
    taken = 0
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Unavailable("the connection was closed before the body was complete")
                chunk = message.get("body", b"")
                taken += len(chunk)
                if taken > limit:
                    raise TooLarge(f"the body is larger than {limit} bytes")
                chunks.append(chunk)
                if not message.get("more_body"):
                    return b"".join(chunks)
    except TimeoutError as error:
        raise Unavailable("the body came too slowly") from error


def _json(status: int, value: Any) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    return status, [(b"content-type", b"application/json")], json.dumps(value).encode()
