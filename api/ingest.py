# SPDX-License-Identifier: GPL-3.0-or-later
"""The way in: `POST /v1/events` and `/v1/events:batch` as a plain ASGI callable.

It stands in front of the framework because it is the hot path: read, parse strictly, check, queue
to the Book's writer, await the commit, answer with the receipt. No answer leaves before the entry
is durable, in the tree and under a checkpoint that the checkpoint store has accepted.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final

from anchoring.receipt import receipt_of
from anchoring.shelf import Book, Shelf
from api import body, problems
from api.body import Asgi, Receive, Scope, Send
from api.identity import bearer
from api.problems import Headers
from ledger import clock
from ledger.access import Credentials
from ledger.errors import (
    FieldError,
    Forbidden,
    LedgerError,
    MalformedEvent,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from ledger.outcome import Outcome, Recorded
from ledger.printing import json_bytes
from ledger.request import Identity, Prepared, prepare

SINGLE_MAX: Final = 1024 * 1024  #: Bytes of one request; its committed values included.
BATCH_MAX: Final = 8 * 1024 * 1024
BATCH_EVENTS: Final = 1_000

#: A commit that takes longer than this, in seconds, is answered "nobody knows; send it again".
ANSWER_S: Final = 30.0

_PATH: Final = re.compile(r"/v1(?:/books/(?P<book>[^/]*))?/events(?P<batch>:batch)?")
_NDJSON: Final = (b"application/x-ndjson", b"application/ndjson")

_Answer = tuple[int, Headers, bytes]


class Unanswered(Unavailable):
    """The database takes too long. Nobody knows whether this was recorded; send it again."""

    problem = "commit-slow"


class Ingest:
    """Answers POSTs of events itself and hands every other request to `rest`."""

    def __init__(self, shelf: Shelf, credentials: Credentials, rest: Asgi) -> None:
        self._shelf, self._credentials, self._rest = shelf, credentials, rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _PATH.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if path is None:
            await self._rest(scope, receive, send)
            return
        try:
            status, headers, data = await self._answer(scope, receive, path)
        except LedgerError as error:
            status, headers, data = problems.response(error)
        except Exception as error:  # noqa: BLE001 - a bug is answered, and told without its values
            status, headers, data = problems.response(problems.unexpected(error))
        headers.append((b"content-length", str(len(data)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": data})

    async def _answer(self, scope: Scope, receive: Receive, path: re.Match[str]) -> _Answer:
        received_ms = clock.now_ms()
        if scope["method"] != "POST":
            raise problems.MethodRefused(allow="POST")
        headers = dict(scope["headers"])
        identity, pipelines = await self._identify(headers)
        book = await self._book(identity, path["book"])
        data = await body.read(scope, receive, BATCH_MAX if path["batch"] else SINGLE_MAX)
        if not path["batch"]:
            return await _single(book, body.parse(data), identity, received_ms, pipelines)
        media_type = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        in_lines = media_type in _NDJSON
        # Eight megabytes take a while to parse, and others wait for this loop, too.
        requests = await asyncio.to_thread(body.lines if in_lines else body.array, data)
        results = await _batch(book, requests, identity, received_ms, pipelines)
        if in_lines:
            text = b"".join(json_bytes(result) + b"\n" for result in results)
            return 200, _headers(b"application/x-ndjson"), text
        return _json(200, {"results": results})

    async def _identify(self, headers: dict[bytes, bytes]) -> tuple[Identity, frozenset[str]]:
        sent = headers.get(b"authorization")
        token = bearer(None if sent is None else sent.decode("latin-1"))
        if token is None:
            raise Unauthenticated
        identity = self._credentials.remembered(token)
        if identity is None:  # Asking the database may take a while.
            identity = await asyncio.to_thread(self._credentials.identify, token)
        if identity.role != "pipeline":
            raise Forbidden("an auditor's credential reads and does not record")
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
        if opened is not None:
            return opened
        return await asyncio.to_thread(self._shelf.book, identity.tenant)


async def _single(
    book: Book, request: Any, identity: Identity, received_ms: int, pipelines: frozenset[str]
) -> _Answer:
    prepared = _prepare(request, identity, received_ms, pipelines)
    ((status, answer),) = await _record(book, [prepared])
    if isinstance(answer, LedgerError):
        raise answer
    found = _json(status, answer)
    if status == 200:
        found[1].append((b"sealtrail-repeat", b"true"))
    return found


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
    # Shielded: a caller who is given up must not cancel what the writer is about to answer.
    commit = asyncio.wrap_future(book.record(batch))
    try:
        async with asyncio.timeout(ANSWER_S):
            outcomes = await asyncio.shield(commit)
    except TimeoutError:
        raise Unanswered from None
    if all(isinstance(outcome, (Recorded, LedgerError)) for outcome in outcomes):
        return _answers(book, batch, outcomes)
    return await asyncio.to_thread(_answers, book, batch, outcomes)  # A repeat is read back.


def _answers(
    book: Book, batch: Sequence[Prepared], outcomes: Sequence[Outcome]
) -> list[tuple[int, dict[str, Any] | LedgerError]]:
    answers: list[tuple[int, dict[str, Any] | LedgerError]] = []
    for prepared, outcome in zip(batch, outcomes, strict=True):
        if isinstance(outcome, LedgerError):
            answers.append((outcome.status, outcome))
            continue
        try:
            receipt = receipt_of(book, outcome, prepared.disclosures)
        except LedgerError as error:  # This one alone; the others have their receipts.
            answers.append((error.status, error))
        else:
            answers.append((200 if receipt.repeat else 201, receipt.json()))
    return answers


def _prepare(
    request: Any, identity: Identity, received_ms: int, pipelines: frozenset[str]
) -> Prepared:
    if not isinstance(request, dict):
        raise MalformedEvent(errors=[FieldError("", "type", "an event is a JSON object")])
    return prepare(request, identity, received_ms=received_ms, pipelines=pipelines)


def _json(status: int, value: Any) -> _Answer:
    return status, _headers(b"application/json"), json_bytes(value)


def _headers(media_type: bytes) -> Headers:
    # A receipt holds disclosures; no cache on the way may keep it.
    return [(b"content-type", media_type), (b"cache-control", b"no-store")]
