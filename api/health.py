# SPDX-License-Identifier: GPL-3.0-or-later
"""Is it alive, would it record, what does it count; and the keys that strangers verify with."""

from typing import Any

from fastapi import APIRouter, Response

from anchoring.shelf import Book
from api.caching import BRIEFLY
from api.state import AppState, State
from ledger.errors import LedgerError, NotFound, Unavailable

router = APIRouter(tags=["operation"])


@router.get("/livez")
def livez() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "alive"}


@router.get("/readyz", response_model=None)
def readyz(app: AppState) -> Response | dict[str, Any]:
    """Say if a POST would be recorded now: database, checkpoint store and every open Book."""
    found = _problems(app)
    if found:
        refusal = NotReady()
        refusal.facts = {**found}
        raise refusal
    return {"status": "ready"}


@router.get("/metrics", response_class=Response)
def metrics(app: AppState) -> Response:
    """Return counters in the Prometheus text format."""
    lines = [
        "# HELP sealtrail_log_size Entries under the newest signed checkpoint.",
        "# TYPE sealtrail_log_size gauge",
    ]
    books = app.shelf.open_books()
    lines += [f'sealtrail_log_size{{book="{b.row.name}"}} {b.notary.size}' for b in books]
    lines += [
        "# HELP sealtrail_writer_stopped 1 when writing stopped because of a contradiction.",
        "# TYPE sealtrail_writer_stopped gauge",
    ]
    lines += [
        f'sealtrail_writer_stopped{{book="{b.row.name}"}} {int(b.writer.stopped is not None)}'
        for b in books
    ]
    lines += [
        "# HELP sealtrail_writer_waiting Events that wait to be recorded.",
        "# TYPE sealtrail_writer_waiting gauge",
    ]
    lines += [f'sealtrail_writer_waiting{{book="{b.row.name}"}} {b.writer.waiting}' for b in books]
    return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


@router.get("/.well-known/sealtrail/trust.json", response_class=Response)
def trust(app: AppState) -> Response:
    """Return the public keys of this ledger's logs and the roots of its time-stamp authorities.

    A convenience: whoever doubts the ledger takes them from somewhere else, too.
    """
    try:
        data = app.trust_file.read_bytes()
    except OSError as error:
        raise NotFound("this ledger has published no trust file") from error
    headers = {"cache-control": BRIEFLY}
    return Response(data, media_type="application/json", headers=headers)


class NotReady(Unavailable):
    """A POST would be refused now."""

    problem = "not-ready"


def _problems(app: State) -> dict[str, str]:
    """Name what would refuse a POST."""
    try:
        app.shelf.database.check_clock(app.shelf.database.now_ms())
        app.credentials.answers()
    except LedgerError as error:
        return {"database": error.problem}
    found: dict[str, str] = {}
    for book in app.shelf.open_books():
        problem = _book_problem(book)
        if problem is not None:
            found[book.row.name] = problem
    return found


def _book_problem(book: Book) -> str | None:
    if book.writer.stopped is not None:
        return book.writer.stopped.problem
    try:
        book.notary.refresh()
    except LedgerError as error:
        return error.problem
    return None
