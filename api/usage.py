# SPDX-License-Identifier: GPL-3.0-or-later
"""What calls cost, for auditors, and a provider's invoice held against it.

Who a person is, is no part of any answer: groups have random names and an event each, whose
disclosure is a look of its own. Even so, what one person or one session has cost is shown to those
alone who say what for; and a name to look for comes in a body, as addresses end up in logs.
"""

import re
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from decimal import Decimal
from threading import BoundedSemaphore
from typing import IO, Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from api.lineage import as_of_json, caught_up
from api.looks import UNSTATED
from api.preference import CSV, JSON, preferred
from api.state import AppState, AuditorLook, Look, State
from evidence.usage_sheets import findings_csv, findings_json, groups_csv, groups_json
from ledger import clock
from ledger.errors import FieldError, MalformedEvent, Overloaded, TooLarge
from ledger.usage.amounts import MARKS, Decimals
from ledger.usage.costs import SESSION, By, Question, usage
from ledger.usage.invoice import Format, charges, form_of
from ledger.usage.reconcile import WITHIN_S, Reconciliation, Terms
from sealtrail.verify.disclosure import PERSON

router = APIRouter(tags=["usage"])

#: The largest invoice that comes over HTTP, in bytes; `sealtrail-server usage` takes any.
INVOICE_MAX: Final = 256 * 1024 * 1024
_SHEET: Final = "text/csv; charset=utf-8; header=present"
_NDJSON: Final = "application/x-ndjson"
_PART: Final = 64 * 1024
_DAYS: Final = 31
_AMOUNT: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?")
_SESSION_EVENTS: Final = 100_000

#: One invoice at a time in a process: it is work for a core, which recording needs, too.
_TURN: Final = BoundedSemaphore(1)
_WAIT_S: Final = 10.0

_SECRET: Final = {"person": PERSON, "session": SESSION}

Moment = Annotated[
    str | None, Query(max_length=24, description="A UTC day, or a time with milliseconds.")
]


class Wanted(BaseModel):
    """Which calls to add up, and by what; `person` and `session` are exact values."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)

    by: By = "model"
    from_: str | None = Field(default=None, alias="from", max_length=24)
    to: str | None = Field(default=None, max_length=24)
    person: str | None = Field(default=None, min_length=1, max_length=256)
    session: str | None = Field(default=None, min_length=1, max_length=1_024)


@router.get("/usage", response_model=None)
def usage_by(
    request: Request,
    app: AppState,
    looking: AuditorLook,
    *,
    by: By = "model",
    from_: Annotated[Moment, Query(alias="from")] = None,
    to: Moment = None,
) -> dict[str, Any] | Response:
    """Return what calls used and cost by model, day, person or session; JSON, or `text/csv`.

    From `from` until before `to`; the last 31 days unless they are given.
    """
    wanted = Wanted.model_validate({"by": by, "from": from_, "to": to})
    return _told(request, app, looking, wanted)


@router.post("/usage", response_model=None)
def usage_posted(
    request: Request, app: AppState, looking: AuditorLook, wanted: Annotated[Wanted, Body()]
) -> dict[str, Any] | Response:
    """Like `GET /v1/usage`; of one person or one session, whose name comes in the body."""
    return _told(request, app, looking, wanted)


async def _invoice(request: Request, looking: AuditorLook) -> AsyncIterator[IO[bytes]]:
    """Lend the invoice that comes in, on disk without a name, after it is clear who sends it."""
    del looking
    with tempfile.TemporaryFile() as file:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > INVOICE_MAX:
                raise TooLarge("an invoice over HTTP is at most 256 MiB; use the command")
            file.write(part)
        file.seek(0)
        yield file


@router.post(
    "/usage:reconcile",
    response_model=None,
    openapi_extra={"requestBody": {"required": True, "content": {
        "text/csv": {"schema": {"type": "string"}}, JSON: {"schema": {}},
        _NDJSON: {"schema": {"type": "string"}}}}},
)  # fmt: skip
def reconcile_invoice(
    request: Request,
    app: AppState,
    looking: AuditorLook,
    invoice: Annotated[IO[bytes], Depends(_invoice)],
    *,
    form: Annotated[Format | None, Query(alias="format")] = None,
    from_: Annotated[Moment, Query(alias="from")] = None,
    to: Moment = None,
    provider: Annotated[list[str] | None, Query(max_length=64)] = None,
    within_s: Annotated[int, Query(ge=0, le=3_600)] = WITHIN_S,
    tolerance: Annotated[str, Query(max_length=40)] = "0",
    column: Annotated[
        list[str] | None, Query(max_length=16, description="Such as `request_id=Vorgang`.")
    ] = None,
    decimal: Annotated[
        Decimals | None, Query(description="The file's decimal mark, where numbers leave a doubt.")
    ] = None,
) -> dict[str, Any] | Response:
    """Hold a provider's invoice or usage export (CSV, JSON, NDJSON) against what was recorded.

    JSON: counts, sums, and the first thousand lines that do not match; `text/csv`: all lines.
    """
    as_of = caught_up(looking)
    start = invoice.read(64)
    invoice.seek(0)
    terms = Terms(
        from_ms=_moment("from", from_),
        to_ms=_moment("to", to),
        providers=tuple(provider or ()),
        within_s=within_s,
        tolerance=tolerated(tolerance),
    )
    work = Reconciliation(looking.book.database, looking.book.row.schema, terms)
    stated: Format | None = "ndjson" if _NDJSON in request.headers.get("content-type", "") else None
    form = form or stated or form_of("", start)
    lines = charges(invoice, form, columns_of(column or ()), decimal and MARKS[decimal])
    wants_csv = preferred(request.headers.get("accept", ""), JSON, CSV) == CSV
    # Closed by the answer that is made of it.
    sheet = tempfile.TemporaryFile() if wants_csv else None  # noqa: SIM115
    shown: list[dict[str, Any]] = []
    if not _TURN.acquire(timeout=_WAIT_S):
        raise Overloaded("another invoice is being compared; send the same request again")
    try:
        if sheet is None:
            shown = findings_json(work.findings(lines))
        else:
            for part in findings_csv(work.findings(lines)):
                sheet.write(part)
    finally:
        _TURN.release()
    count = sum(work.summary.counts.values())
    looking.note(
        app.shelf, "/v1/usage:reconcile", count=count, size=as_of.position, exported=wants_csv
    )
    if sheet is not None:
        return StreamingResponse(_sent(sheet), media_type=_SHEET)
    return {**as_of_json(as_of), **work.summary.json(), "findings": shown}


def _sent(sheet: IO[bytes]) -> Iterator[bytes]:
    """Yield what is in a file without a name, which is then gone."""
    with sheet:
        sheet.seek(0)
        while part := sheet.read(_PART):
            yield part


def columns_of(named: Iterable[str]) -> dict[str, str]:
    """Read `member=column` pairs; raises MalformedEvent."""
    found = {}
    for one in named:
        member, equals, column = one.partition("=")
        if not equals or not column:
            raise _malformed("/query/column", "a column is named as `request_id=Vorgang`")
        found[member] = column
    return found


def tolerated(text: str) -> Decimal:
    """Read an amount by which two may differ; raises MalformedEvent."""
    if not _AMOUNT.fullmatch(text):
        raise _malformed("/query/tolerance", "a tolerance is a decimal number, such as 0.005")
    return Decimal(text)


def span_of(from_: str | None, to: str | None) -> tuple[int, int]:
    """Return from when and until before when, in ms since 1970: 31 days unless said."""
    end = _moment("to", to)
    end = clock.now_ms() + 1 if end is None else end
    begin = _moment("from", from_)
    begin = max(0, end - _DAYS * clock.DAY_MS) if begin is None else begin
    if begin >= end:
        raise _malformed("/query/to", "a range ends after it has begun")
    return begin, end


def _told(request: Request, app: State, looking: Look, wanted: Wanted) -> dict[str, Any] | Response:
    """Add up, enter the look, answer."""
    begin, end = span_of(wanted.from_, wanted.to)
    fields = sorted(
        field
        for name, field in _SECRET.items()
        if wanted.by == name or getattr(wanted, name) is not None
    )
    if fields and looking.purpose == UNSTATED:
        detail = "what persons and sessions cost is shown to those who state a purpose"
        raise _malformed("/headers/sealtrail-purpose", detail, rule="required")
    as_of = caught_up(looking)
    book = looking.book
    question: Question | None = Question(wanted.by, begin, end)
    if wanted.person is not None:
        subject = book.vault.subject_of(wanted.person)
        question = None if subject is None else Question(wanted.by, begin, end, subject.ref)
    if wanted.session is not None and question is not None:
        events = book.vault.find(SESSION, wanted.session, limit=_SESSION_EVENTS)
        question = question._replace(session=events)
    groups = usage(book.database, book.row.schema, book.vault, question) if question else []
    wants_csv = preferred(request.headers.get("accept", ""), JSON, CSV) == CSV
    looking.note(
        app.shelf,
        "/v1/usage",
        event_ids=[one.event_id for one in groups if one.event_id is not None],
        count=len(groups),
        size=as_of.position,
        fields=fields,
        exported=wants_csv,
    )
    if wants_csv:
        data = groups_csv(groups, wanted.by)
        return Response(data, media_type=_SHEET)
    return {
        **as_of_json(as_of),
        "by": wanted.by,
        "from": clock.rfc3339(begin),
        "to": clock.rfc3339(end),
        "groups": groups_json(groups, wanted.by),
    }


def _moment(name: str, text: str | None) -> int | None:
    """Return a UTC day's beginning, or a time, in ms since 1970."""
    if text is None:
        return None
    try:
        return clock.day_start(text) if len(text) == len("2026-01-14") else clock.parse_time(text)
    except ValueError:
        detail = "a day such as 2026-01-14, or a UTC time with milliseconds"
        raise _malformed(f"/query/{name}", detail) from None


def _malformed(pointer: str, detail: str, rule: str = "form") -> MalformedEvent:
    return MalformedEvent(errors=[FieldError(pointer, rule, detail)])
