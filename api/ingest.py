# SPDX-License-Identifier: GPL-3.0-or-later
"""The way in: `POST /v1/events` and `/v1/events:batch`, in front of the framework.

It is the hot path: parse strictly, check (api.checkers), queue to the Book's writer, and answer
with the receipt when the writer's commit is durable, in the tree and under a checkpoint that the
checkpoint store has accepted. `post` takes one event without a task of its own; the server calls it
directly (scripts.express), and so does `__call__`, the plain ASGI way in for everything else.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from anchoring.receipt import printed_receipt, receipt_of
from anchoring.shelf import Book, Shelf
from api import body, problems
from api.body import Asgi, Receive, Scope, Send
from api.checkers import Checkers
from api.checking import Caller, Checked, Refusal, refused
from api.desk import Desk
from api.identity import bearer
from api.problems import Headers
from ledger import clock
from ledger.access import Credentials
from ledger.errors import (
    Forbidden,
    LedgerError,
    NotFound,
    Unauthenticated,
)
from ledger.outcome import Outcome, Recorded, Repeated
from ledger.printing import json_bytes
from ledger.request import Identity, Prepared
from ledger.setting_values import LinkCheck

SINGLE_MAX: Final = 1024 * 1024  #: Bytes of one request; its committed values included.
BATCH_MAX: Final = 8 * 1024 * 1024

_PATH: Final = re.compile(r"/v1(?:/books/(?P<book>[^/]*))?/events(?P<batch>:batch)?")
_NDJSON: Final = (b"application/x-ndjson", b"application/ndjson")

#: A pipeline sends many events a second; who it is need not be worked out for each.
_CALLER_S: Final = 1.0
_CALLERS_MAX: Final = 1_024

#: Told once, in the event loop: status, headers and body of the answer.
Reply = Callable[[int, Headers, bytes], None]


class _Sender(NamedTuple):
    """Who sent a request, and where it goes."""

    caller: Caller
    book: Book


class _Refused(Exception):  # noqa: N818 - an answer, not an accident
    """A body that was refused as a whole."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.status)
        self.refusal = refusal


class Ingest:
    """Answers POSTs of events itself and hands every other request to `rest`."""

    def __init__(
        self,
        shelf: Shelf,
        credentials: Credentials,
        checkers: Checkers,
        rest: Asgi,
        *,
        link_check: LinkCheck,
    ) -> None:
        self._shelf, self._credentials, self._rest = shelf, credentials, rest
        self._checkers, self._link_check = checkers, link_check
        self._desk = Desk()
        self._tasks: set[asyncio.Task[None]] = set()
        self._callers: dict[bytes, tuple[float, _Sender]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _PATH.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if path is None:
            await self._rest(scope, receive, send)
            return
        answered, tell = _awaited()
        try:
            await self._read(scope, receive, path, lambda *answer: tell(answer))
            status, headers, data = await answered
        except Exception as error:  # noqa: BLE001 - a bug is answered, and told without its values
            status, headers, data = error.refusal if isinstance(error, _Refused) else refused(error)
        headers = [*headers, (b"content-length", str(len(data)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": data})

    def post(self, authorization: bytes | None, data: bytes, reply: Reply) -> None:
        """Take one event for the credential's own Book.

        Call it in the event loop, where `reply` is called now or later.
        """
        received_ms = clock.now_ms()
        try:
            sender = self._remembered(authorization) or self._known(authorization, None)
            if sender is None:  # Asking the database may take a while.
                asking = self._asked(authorization, None)
                self._spawn(self._post_later(asking, data, received_ms, reply), reply)
            else:
                self._post(sender, data, received_ms, reply)
        except Exception as error:  # noqa: BLE001 - a bug is answered, and told without its values
            reply(*refused(error))

    async def _read(
        self, scope: Scope, receive: Receive, path: re.Match[str], reply: Reply
    ) -> None:
        """Read the body and take the event or events in it."""
        if scope["method"] != "POST":
            raise problems.MethodRefused(allow="POST")
        received_ms = clock.now_ms()
        headers = dict(scope["headers"])
        authorization, name = headers.get(b"authorization"), path["book"]
        sender = self._known(authorization, name) or await self._asked(authorization, name)
        data = await body.read(scope, receive, BATCH_MAX if path["batch"] else SINGLE_MAX)
        if not path["batch"]:
            self._post(sender, data, received_ms, reply)
            return
        media_type = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        in_lines = media_type in _NDJSON
        results = await self._batch(sender, data, received_ms, in_lines=in_lines)
        if in_lines:
            text = b"".join(result + b"\n" for result in results)
            reply(200, _headers(b"application/x-ndjson"), text)
        else:
            text = b'{"results":[%b]}' % b",".join(results)
            reply(200, _headers(b"application/json"), text)

    # One event

    def _post(self, sender: _Sender, data: bytes, received_ms: int, reply: Reply) -> None:
        caller, book = sender
        inbox = book.writer.inbox
        busy = inbox.waiting
        if busy:
            inbox.check_room()  # Before any work is done for nothing.
        then = partial(self._checked, book, reply)
        self._checkers.check("one", data, caller, received_ms, then, here=not busy)

    def _checked(self, book: Book, reply: Reply, results: list[Checked] | Refusal) -> None:
        """Queue an event that was found right, or answer."""
        found = results if isinstance(results, Refusal) else results[0]
        if isinstance(found, Refusal):
            reply(*found)
            return
        try:
            self._desk.put(book, [found], partial(self._told, book, found, reply))
        except Exception as error:  # noqa: BLE001 - as in `post`
            reply(*refused(error))

    async def _post_later(
        self, asking: "Coroutine[Any, Any, _Sender]", data: bytes, received_ms: int, reply: Reply
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
                reply(*refused(outcome))
            else:
                reply(201, _RECEIPT, printed_receipt(book, outcome, prepared.disclosures))
        except Exception as error:  # noqa: BLE001 - as in `post`
            reply(*refused(error))

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
                reply(*refused(error))

        task = asyncio.get_running_loop().create_task(answered())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Many events

    async def _batch(
        self, sender: _Sender, data: bytes, received_ms: int, *, in_lines: bool
    ) -> list[bytes]:
        """Record each event on its own merit; there is no all-or-nothing. Returns JSON of each."""
        kind = "lines" if in_lines else "array"
        checked, tell = _awaited()
        self._checkers.check(kind, data, sender.caller, received_ms, tell)
        places: list[Checked] | Refusal = await checked
        if isinstance(places, Refusal):
            raise _Refused(places)
        batch = [place for place in places if isinstance(place, Prepared)]
        recorded = iter(await self._record(sender.book, batch))
        return [
            _problem(place) if isinstance(place, Refusal) else next(recorded) for place in places
        ]

    async def _record(self, book: Book, batch: Sequence[Prepared]) -> list[bytes]:
        """Wait for the commit and return JSON of the result of each request."""
        if not batch:
            return []
        told, tell = _awaited()
        self._desk.put(book, batch, tell)
        outcomes: list[Outcome] | LedgerError = await told
        if isinstance(outcomes, LedgerError):
            raise outcomes
        if all(isinstance(outcome, (Recorded, LedgerError)) for outcome in outcomes):
            return _results(book, batch, outcomes)
        return await asyncio.to_thread(_results, book, batch, outcomes)  # A repeat is read back.

    # Who, and where to

    def _remembered(self, authorization: bytes | None) -> _Sender | None:
        """Return the caller if the same header was looked at within the last second."""
        found = self._callers.get(authorization or b"")
        return found[1] if found is not None and found[0] > clock.monotonic() else None

    def _known(self, authorization: bytes | None, name: str | None) -> _Sender | None:
        """Return the caller if all about it is remembered; None if somebody must be asked."""
        identity = self._credentials.remembered(_token(authorization))
        if identity is None:
            return None
        _check(identity, name)
        pipelines = self._credentials.pipelines_known(identity.tenant)
        book = self._shelf.opened(identity.tenant)
        if pipelines is None or book is None:
            return None
        sender = _Sender(self._caller(identity, pipelines), book)
        if name is None and authorization is not None:
            if len(self._callers) >= _CALLERS_MAX:
                self._callers.clear()
            self._callers[authorization] = (clock.monotonic() + _CALLER_S, sender)
        return sender

    async def _asked(self, authorization: bytes | None, name: str | None) -> _Sender:
        identity = await asyncio.to_thread(self._credentials.identify, _token(authorization))
        _check(identity, name)
        pipelines = await asyncio.to_thread(self._credentials.pipelines, identity.tenant)
        book = await asyncio.to_thread(self._shelf.book, identity.tenant)
        return _Sender(self._caller(identity, pipelines), book)

    def _caller(self, identity: Identity, pipelines: frozenset[str]) -> Caller:
        return Caller(identity, pipelines, self._link_check.strict(identity.tenant))


def _awaited() -> tuple["asyncio.Future[Any]", Callable[[Any], None]]:
    """Return something to await, and how to end the waiting; too late is no mistake."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def tell(value: Any) -> None:
        if not future.done():  # Whoever waited may have been given up.
            future.set_result(value)

    return future, tell


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


def _results(book: Book, batch: Sequence[Prepared], outcomes: Sequence[Outcome]) -> list[bytes]:
    return [
        _result(book, outcome, prepared.disclosures)
        for prepared, outcome in zip(batch, outcomes, strict=True)
    ]


def _result(book: Book, outcome: Outcome, disclosures: Mapping[str, str]) -> bytes:
    try:
        if isinstance(outcome, Recorded):
            return b'{"status":201,"receipt":%b}' % printed_receipt(book, outcome, disclosures)
        if isinstance(outcome, Repeated):
            receipt = receipt_of(book, outcome, disclosures)
            return b'{"status":200,"receipt":%b}' % json_bytes(receipt.json())
    except LedgerError as error:  # This one alone; the others have their receipts.
        outcome = error
    return _problem(refused(outcome))


def _problem(refusal: Refusal) -> bytes:
    return b'{"status":%d,"problem":%b}' % (refusal.status, refusal.document)


def _headers(media_type: bytes) -> Headers:
    # A receipt holds disclosures; no cache on the way may keep it.
    return [(b"content-type", media_type), (b"cache-control", b"no-store")]


_RECEIPT: Final = _headers(b"application/json")
