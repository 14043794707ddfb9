# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests in other people's formats: translated into ours, then recorded as any other.

A translation decides what is said, never what is allowed: each translated request passes the same
checks, and gets the same receipt, as one that was posted to `/v1/events`. What is wrong with it is
told by pointers into what was sent. Nothing that was sent vanishes silently: the header
`Sealtrail-Ignored` counts what has no place in an entry.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from copy import copy
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple
from uuid import UUID

from fastapi import Request, Response

from anchoring.receipt import printed_receipt, receipt_of
from anchoring.shelf import Book
from api import body, problems
from api.checking import Caller
from api.desk import ANSWER_S, Unanswered
from api.identity import identify, own_book
from api.state import State
from ledger import clock
from ledger.errors import FieldError, Forbidden, LedgerError, MalformedEvent, NotFound
from ledger.outcome import Outcome, Recorded
from ledger.printing import json_bytes
from ledger.request import Prepared, prepare

#: Names in lower case and their values.
Headers = dict[str, str]


class Translation(NamedTuple):
    """One request as `/v1/events` would take it."""

    request: dict[str, Any]
    pointer: Callable[[str], str]  #: From a pointer into `request` to one into what was sent.
    ignored: int = 0  #: How many members that were sent have no place in an entry.


class Sender(NamedTuple):
    """Who sent something, and the Book where it belongs."""

    caller: Caller
    book: Book


class Answer(NamedTuple):
    """What became of one translated request: JSON of its receipt or its problem."""

    status: int
    document: bytes
    ignored: int = 0
    headers: Sequence[tuple[bytes, bytes]] = ()  #: Of a problem.


def asked(*media_types: str) -> dict[str, Any]:
    """Return what the OpenAPI document says of the bodies of such a route, and of its answers."""
    receipt = {"application/json": {"schema": {"$ref": "#/components/schemas/Receipt"}}}
    other = {"application/json": {"schema": {"type": "object"}}}
    again = "Recorded before; or not recorded, and the answer says why; or the results of a batch."
    return {
        "requestBody": {
            "required": True,
            "content": {one: {"schema": {}} for one in media_types},
        },
        "responses": {
            "201": {"description": "Recorded.", "content": receipt},
            "200": {"description": again, "content": other},
        },
    }


async def sender(request: Request, app: State) -> Sender:
    """Return whose request this is, before its body is read; raises what refuses it."""
    return await asyncio.to_thread(_sender, request, app)


async def whole_body(request: Request, limit: int) -> bytes:
    """Return the body as it was sent, which is never a compressed one; raises TooLarge."""
    if "content-encoding" in request.headers:
        detail = "send the body as it is, without a content encoding"
        raise MalformedEvent(errors=[FieldError("/headers/content-encoding", "encoding", detail)])
    return await body.read(request.scope, request.receive, limit)


async def record(who: Sender, made: Sequence[Translation | LedgerError]) -> list[Answer]:
    """Record each request on its own merit and return its answer, in order.

    Raises Unavailable when nobody knows what became of them; sending them again is safe.
    """
    who.book.writer.inbox.check_room()
    received_ms = clock.now_ms()
    places = await asyncio.to_thread(
        lambda: [_prepared(one, who.caller, received_ms) for one in made]
    )
    batch = [place for place in places if isinstance(place, Prepared)]
    outcomes = iter(await _outcomes(who.book, batch))
    found = [next(outcomes) if isinstance(place, Prepared) else place for place in places]
    return await asyncio.to_thread(
        lambda: [_answer(who.book, *one) for one in zip(made, places, found, strict=True)]
    )


def answered(answer: Answer) -> Response:
    """Return the HTTP answer to a single request."""
    if answer.headers:
        headers = {name.decode(): value.decode() for name, value in answer.headers}
        return Response(answer.document, answer.status, headers)
    headers = {"cache-control": "no-store"}  # A receipt holds disclosures.
    if answer.status == 200:
        headers["sealtrail-repeat"] = "true"
    if answer.ignored:
        headers["sealtrail-ignored"] = str(answer.ignored)
    return Response(answer.document, answer.status, headers, media_type="application/json")


def results(answers: Sequence[Answer]) -> Response:
    """Return the HTTP answer to a batch, in the form of `/v1/events:batch`."""
    text = b'{"results":[%b]}' % b",".join(_result(one) for one in answers)
    headers = {"cache-control": "no-store"}
    ignored = sum(one.ignored for one in answers)
    if ignored:
        headers["sealtrail-ignored"] = str(ignored)
    return Response(text, 200, headers, media_type="application/json")


def single_headers(request: Request, prefix: str) -> Headers:
    """Return the headers that begin with `prefix`, and the content type, each said once.

    Who forwards a request may read the one and we the other: a header said twice is refused.
    """
    found: Headers = {}
    errors = []
    for raw, value in request.scope["headers"]:
        name = raw.decode("latin-1").lower()
        if name.startswith(prefix) or name == "content-type":
            if name in found:
                detail = "this header is there twice; which one is meant?"
                errors.append(FieldError(f"/headers/{_shown(name, prefix)}", "said-twice", detail))
            found[name] = value.decode("latin-1")
    if errors:
        raise MalformedEvent(errors=list(dict.fromkeys(errors)))
    return found


def derived_id(label: str, *parts: str) -> str:
    """Return the event_id of an event whose sender has no UUIDv7 for it.

    label ‖ 0x00 ‖ part ‖ 0x00 ‖ part …, hashed; of the first 16 bytes, version and variant are set.
    So the same event has the same id whenever and wherever it is sent again. There is no time in it
    that anybody should read.
    """
    digest = sha256(b"\0".join([label.encode(), *(one.encode() for one in parts)])).digest()
    number = int.from_bytes(digest[:16], "big")
    number = number & ~(0xF << 76) | 7 << 76
    return str(UUID(int=number & ~(0x3 << 62) | 0x2 << 62))


def our_time(text: object) -> str | None:
    """Return an RFC 3339 time as our entries spell it, cut to milliseconds; None if it is none."""
    found = _TIME.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    zone = "+00:00" if found[3] in "Zz" else found[3]
    try:
        moment = datetime.fromisoformat(f"{found[1].upper()}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{(found[2] or '')[1:4]:0<3}Z"


_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def wrong(pointer: str, rule: str, detail: str) -> MalformedEvent:
    """Return the refusal of a request for one reason."""
    return MalformedEvent(errors=[FieldError(pointer, rule, detail)])


_OWN: Final = frozenset({"content-type"})


def _shown(name: str, prefix: str) -> str:
    """Name a header of the interface's; one that may be anything is only said to be of its kind."""
    return name if name in _OWN or name.removeprefix(prefix).isalnum() else f"{prefix}*"


def _sender(request: Request, app: State) -> Sender:
    identity = identify(app.credentials, request.headers.get("authorization"))
    if identity.role != "pipeline":
        raise Forbidden("an auditor's credential reads and does not record")
    name = request.path_params.get("book")
    if name == f"{identity.tenant}-access":
        raise Forbidden("the access Book is written by the ledger alone")
    if name not in (None, identity.tenant):
        raise NotFound("there is no such Book for this credential")
    pipelines = app.credentials.pipelines(identity.tenant)
    caller = Caller(identity, pipelines, app.link_check.strict(identity.tenant))
    return Sender(caller, own_book(app.shelf, identity, None))


def _prepared(
    made: Translation | LedgerError, caller: Caller, received_ms: int
) -> Prepared | LedgerError:
    if isinstance(made, LedgerError):
        return made
    try:
        return prepare(
            made.request,
            caller.identity,
            received_ms=received_ms,
            pipelines=caller.pipelines,
            strict=caller.strict,
        )
    except LedgerError as error:
        return _pointed(error, made)
    except Exception as error:  # noqa: BLE001 - a bug is answered, and told without its values
        return problems.unexpected(error)


async def _outcomes(book: Book, batch: Sequence[Prepared]) -> list[Outcome]:
    if not batch:
        return []
    waiting = asyncio.shield(asyncio.wrap_future(book.record(batch)))
    try:
        return await asyncio.wait_for(waiting, ANSWER_S)
    except TimeoutError:
        raise Unanswered from None


def _answer(
    book: Book,
    made: Translation | LedgerError,
    prepared: Prepared | LedgerError,
    outcome: Outcome | LedgerError,
) -> Answer:
    ignored = made.ignored if isinstance(made, Translation) else 0
    if isinstance(outcome, LedgerError):
        if isinstance(prepared, Prepared) and isinstance(made, Translation):
            outcome = _pointed(outcome, made)
        return _refused(outcome)
    if isinstance(prepared, LedgerError):
        return _refused(prepared)
    try:
        if isinstance(outcome, Recorded):
            return Answer(201, printed_receipt(book, outcome, prepared.disclosures), ignored)
        repeated = receipt_of(book, outcome, prepared.disclosures)
        return Answer(200, json_bytes(repeated.json()), ignored)
    except LedgerError as error:  # This one alone; the others have their receipts.
        return _refused(error)


def _pointed(error: LedgerError, made: Translation) -> LedgerError:
    """Return the refusal with pointers into what was sent instead of its translation."""
    if not error.errors:
        return error
    fields = [FieldError(made.pointer(one.pointer), one.rule, one.detail) for one in error.errors]
    pointed = copy(error)
    pointed.errors = tuple(dict.fromkeys(fields))
    return pointed


def _refused(error: LedgerError) -> Answer:
    status, headers, document = problems.response(error)
    return Answer(status, document, headers=headers)


def _result(answer: Answer) -> bytes:
    ignored = b',"ignored":%d' % answer.ignored if answer.ignored else b""
    name = b"receipt" if answer.status in (200, 201) else b"problem"
    return b'{"status":%d%b,"%b":%b}' % (answer.status, ignored, name, answer.document)
