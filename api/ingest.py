# SPDX-License-Identifier: GPL-3.0-or-later
"""The way in: `POST /v1/events` and `/v1/events:batch`, in front of the framework.

It is the hot path: parse strictly, check, queue to the Book's writer, and answer with the receipt
when the writer's commit is durable, in the tree and under a checkpoint that the checkpoint store
has accepted. `post` takes one event without a task of its own; the server calls it directly
(scripts.express), and so does `__call__`, the plain ASGI way in for everything else.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from anchoring.receipt import receipt_of
from anchoring.shelf import Book, Shelf
from api import body, problems
from api.body import Asgi, Receive, Scope, Send
from api.desk import Desk
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
)
from ledger.outcome import Outcome, Recorded, Repeated
from ledger.printing import json_bytes
from ledger.request import Identity, Prepared, prepare

SINGLE_MAX: Final = 1024 * 1024  #: Bytes of one request; its committed values included.
BATCH_MAX: Final = 8 * 1024 * 1024
BATCH_EVENTS: Final = 1_000

_PATH: Final = re.compile(r"/v1(?:/books/(?P<book>[^/]*))?/events(?P<batch>:batch)?")
_NDJSON: Final = (b"application/x-ndjson", b"application/ndjson")

#: A pipeline sends many events a second; who it is need not be worked out for each.
_CALLER_S: Final = 1.0
_CALLERS_MAX: Final = 1_024

#: Told once, in the event loop: status, headers and body of the answer.
Reply = Callable[[int, Headers, bytes], None]
_Results = list[tuple[int, dict[str, Any] | LedgerError]]


class _Caller(NamedTuple):
    """Who sent a request, and where it goes."""

    identity: Identity
    pipelines: frozenset[str]
    book: Book


class Ingest:
    """Answers POSTs of events itself and hands every other request to `rest`."""

    def __init__(self, shelf: Shelf, credentials: Credentials, rest: Asgi) -> None:
        self._shelf, self._credentials, self._rest = shelf, credentials, rest
        self._desk = Desk()
        self._tasks: set[asyncio.Task[None]] = set()
        self._callers: dict[bytes, tuple[float, _Caller]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _PATH.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if path is None:
            await self._rest(scope, receive, send)
            return
        answered: asyncio.Future[tuple[int, Headers, bytes]] = (
            asyncio.get_running_loop().create_future()
        )

        def reply(status: int, headers: Headers, data: bytes) -> None:
            if not answered.done():
                answered.set_result((status, headers, data))

        try:
            await self._read(scope, receive, path, reply)
            status, headers, data = await answered
        except Exception as error:  # noqa: BLE001 - a bug is answered, and told without its values
            status, headers, data = _problem(error)
        headers = [*headers, (b"content-length", str(len(data)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": data})

    def post(
        self, authorization: bytes | None, data: bytes, reply: Reply, *, name: str | None = None
    ) -> None:
        """Take one event. Call it in the event loop, where `reply` is called now or later."""
        received_ms = clock.now_ms()
        try:
            caller = self._remembered(authorization) if name is None else None
            caller = caller or self._known(authorization, name)
            if caller is None:  # Asking the database may take a while.
                asking = self._asked(authorization, name)
                self._spawn(self._post_later(asking, data, received_ms, reply), reply)
            else:
                self._post(caller, data, received_ms, reply)
        except Exception as error:  # noqa: BLE001 - a bug is answered, and told without its values
            reply(*_problem(error))

    async def _read(
        self, scope: Scope, receive: Receive, path: re.Match[str], reply: Reply
    ) -> None:
        """Read the body and take the event or events in it."""
        if scope["method"] != "POST":
            raise problems.MethodRefused(allow="POST")
        received_ms = clock.now_ms()
        headers = dict(scope["headers"])
        authorization, name = headers.get(b"authorization"), path["book"]
        caller = self._known(authorization, name) or await self._asked(authorization, name)
        data = await body.read(scope, receive, BATCH_MAX if path["batch"] else SINGLE_MAX)
        if not path["batch"]:
            self._post(caller, data, received_ms, reply)
            return
        media_type = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        in_lines = media_type in _NDJSON
        # Eight megabytes take a while to parse, and others wait for this loop, too.
        requests = await asyncio.to_thread(body.lines if in_lines else body.array, data)
        results = await self._batch(caller, requests, received_ms)
        if in_lines:
            text = b"".join(json_bytes(result) + b"\n" for result in results)
            reply(200, _headers(b"application/x-ndjson"), text)
        else:
            reply(200, _headers(b"application/json"), json_bytes({"results": results}))

    # One event

    def _post(self, caller: _Caller, data: bytes, received_ms: int, reply: Reply) -> None:
        caller.book.writer.inbox.check_room()  # Before any work is done for nothing.
        request = body.parse(data)
        prepared = _prepare(request, caller, received_ms)
        self._desk.put(caller.book, [prepared], partial(self._told, caller.book, prepared, reply))

    async def _post_later(
        self, asking: "Coroutine[Any, Any, _Caller]", data: bytes, received_ms: int, reply: Reply
    ) -> None:
        self._post(await asking, data, received_ms, reply)

    def _told(
        self, book: Book, prepared: Prepared, reply: Reply, outcomes: list[Outcome] | LedgerError
    ) -> None:
        """Answer one event's sender."""
        outcome = outcomes if isinstance(outcomes, LedgerError) else outcomes[0]
        if isinstance(outcome, Repeated):  # It is read back.
            self._spawn(self._repeated(book, prepared, outcome, reply), reply)
            return
        try:
            if isinstance(outcome, LedgerError):
                reply(*_problem(outcome))
            else:
                receipt = receipt_of(book, outcome, prepared.disclosures)
                reply(201, _RECEIPT, json_bytes(receipt.json()))
        except Exception as error:  # noqa: BLE001 - as in `post`
            reply(*_problem(error))

    async def _repeated(
        self, book: Book, prepared: Prepared, outcome: Repeated, reply: Reply
    ) -> None:
        receipt = await asyncio.to_thread(receipt_of, book, outcome, prepared.disclosures)
        headers = [*_RECEIPT, (b"sealtrail-repeat", b"true")]
        reply(200, headers, json_bytes(receipt.json()))

    def _spawn(self, work: "Coroutine[Any, Any, None]", reply: Reply) -> None:
        """Run what has to wait for something; whatever comes of it is answered."""

        async def answered() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - as in `post`
                reply(*_problem(error))

        task = asyncio.get_running_loop().create_task(answered())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Many events

    async def _batch(
        self, caller: _Caller, requests: Sequence[Any], received_ms: int
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
                places.append(_prepare(request, caller, received_ms))
            except LedgerError as error:
                places.append(error)
            if at % 32 == 31:
                await asyncio.sleep(0)  # Others wait for this loop, too.
        batch = [place for place in places if isinstance(place, Prepared)]
        recorded = iter(await self._record(caller.book, batch))
        results = []
        for place in places:
            if isinstance(place, Prepared):
                status, answer = next(recorded)
            else:
                status, answer = place.status, place
            if isinstance(answer, LedgerError):
                results.append({"status": answer.status, "problem": problems.problem(answer)})
            else:
                results.append({"status": status, "receipt": answer})
        return results

    async def _record(self, book: Book, batch: Sequence[Prepared]) -> _Results:
        """Wait for the commit and return (status, receipt or error) for each request."""
        if not batch:
            return []
        told: asyncio.Future[list[Outcome] | LedgerError] = (
            asyncio.get_running_loop().create_future()
        )

        def then(outcomes: list[Outcome] | LedgerError) -> None:
            if not told.done():
                told.set_result(outcomes)

        self._desk.put(book, batch, then)
        outcomes = await told
        if isinstance(outcomes, LedgerError):
            raise outcomes
        if all(isinstance(outcome, (Recorded, LedgerError)) for outcome in outcomes):
            return _answers(book, batch, outcomes)
        return await asyncio.to_thread(_answers, book, batch, outcomes)  # A repeat is read back.

    # Who, and where to

    def _remembered(self, authorization: bytes | None) -> _Caller | None:
        """Return the caller if the same header was looked at within the last second."""
        found = self._callers.get(authorization or b"")
        return found[1] if found is not None and found[0] > clock.monotonic() else None

    def _known(self, authorization: bytes | None, name: str | None) -> _Caller | None:
        """Return the caller if all about it is remembered; None if somebody must be asked."""
        identity = self._credentials.remembered(_token(authorization))
        if identity is None:
            return None
        _check(identity, name)
        pipelines = self._credentials.pipelines_known(identity.tenant)
        book = self._shelf.opened(identity.tenant)
        if pipelines is None or book is None:
            return None
        caller = _Caller(identity, pipelines, book)
        if name is None and authorization is not None:
            if len(self._callers) >= _CALLERS_MAX:
                self._callers.clear()
            self._callers[authorization] = (clock.monotonic() + _CALLER_S, caller)
        return caller

    async def _asked(self, authorization: bytes | None, name: str | None) -> _Caller:
        identity = await asyncio.to_thread(self._credentials.identify, _token(authorization))
        _check(identity, name)
        pipelines = await asyncio.to_thread(self._credentials.pipelines, identity.tenant)
        book = await asyncio.to_thread(self._shelf.book, identity.tenant)
        return _Caller(identity, pipelines, book)


def _token(authorization: bytes | None) -> str:
    token = bearer(None if authorization is None else authorization.decode("latin-1"))
    if token is None:
        raise Unauthenticated
    return token


def _check(identity: Identity, name: str | None) -> None:
    """Return if this credential may record in that Book."""
    if identity.role != "pipeline":
        raise Forbidden("an auditor's credential reads and does not record")
    if name == f"{identity.tenant}-access":
        raise Forbidden("the access Book is written by the ledger alone")
    if name not in (None, identity.tenant):
        raise NotFound("there is no such Book for this credential")


def _answers(book: Book, batch: Sequence[Prepared], outcomes: Sequence[Outcome]) -> _Results:
    answers: _Results = []
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


def _prepare(request: Any, caller: _Caller, received_ms: int) -> Prepared:
    if not isinstance(request, dict):
        raise MalformedEvent(errors=[FieldError("", "type", "an event is a JSON object")])
    return prepare(request, caller.identity, received_ms=received_ms, pipelines=caller.pipelines)


def _problem(error: Exception) -> tuple[int, Headers, bytes]:
    known = error if isinstance(error, LedgerError) else problems.unexpected(error)
    return problems.response(known)


def _headers(media_type: bytes) -> Headers:
    # A receipt holds disclosures; no cache on the way may keep it.
    return [(b"content-type", media_type), (b"cache-control", b"no-store")]


_RECEIPT: Final = _headers(b"application/json")
