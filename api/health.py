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
    """Say if a POST would be recorded now: database, checkpoint store and every Book in use.

    As long as one tenant can be served the answer is 200; `refused` names each Book that is not.
    """
    problem = _database_problem(app)
    if problem is not None:
        raise _not_ready({"database": problem})
    try:
        app.shelf.store.check_ready()
    except LedgerError as error:
        harmed = ["checkpoint_store", *(book.row.name for book in app.shelf.open_books())]
        raise _not_ready(dict.fromkeys(harmed, error.problem)) from error
    tenants, refused = _books(app)
    if refused and not tenants:
        raise _not_ready(refused)
    return {"status": "ready", **({"refused": refused} if refused else {})}


@router.get("/metrics", response_class=Response)
def metrics(app: AppState) -> Response:
    """Return gauges in the Prometheus text format."""
    books = app.shelf.open_books()
    families: list[tuple[str, str, dict[str, float]]] = [
        ("sealtrail_log_size", "Entries under the newest signed checkpoint.",
         {book.row.name: book.notary.latest()[1].size for book in books}),
        ("sealtrail_writer_stopped", "1 when writing stopped because of a contradiction.",
         {book.row.name: int(book.writer.stopped is not None) for book in books}),
        ("sealtrail_writer_waiting", "Events that wait to be recorded.",
         {book.row.name: book.writer.waiting for book in books}),
        ("sealtrail_book_unopened", "1 when the Book could not be opened when last tried.",
         dict.fromkeys(app.shelf.unopened(), 1)),
    ]  # fmt: skip
    owed = app.night_watch.owed(app.shelf)
    families += [
        ("sealtrail_anchors_waiting", "UTC days with an anchor that is due and not recorded.",
         {name: len(one.days) for name, one in owed.items()}),
        ("sealtrail_stamped_seconds", "When an authority last stamped this log; 0 if none did.",
         {name: one.stamped_ms / 1000 for name, one in owed.items()}),
    ]  # fmt: skip
    families.append(
        ("sealtrail_artifacts_missing", "Contents that were promised and have not arrived.",
         app.archive_watch.missing(app.storeroom, books)),
    )  # fmt: skip
    families.append(
        ("sealtrail_alerts_open", "Alerts that nobody has acknowledged.",
         app.alert_watch.open(books)),
    )  # fmt: skip
    lines = []
    for name, meaning, samples in families:
        lines += [f"# HELP {name} {meaning}", f"# TYPE {name} gauge"]
        lines += [f'{name}{{book="{book}"}} {value}' for book, value in samples.items()]
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


def _not_ready(found: dict[str, str]) -> NotReady:
    refusal = NotReady()
    refusal.facts = {**found}
    return refusal


def _database_problem(app: State) -> str | None:
    try:
        app.shelf.database.check_ready()
        app.credentials.answers()
    except LedgerError as error:
        return error.problem
    return None


def _books(app: State) -> tuple[set[str], dict[str, str]]:
    """Return the tenants that are served as they should be, and the problem of each other Book."""
    refused: dict[str, str] = {}
    for name in app.shelf.unopened():
        try:
            app.shelf.book(name)
        except Exception as error:  # noqa: BLE001 - whatever it is, its Book is not served
            refused[name] = error.problem if isinstance(error, LedgerError) else "internal-error"
    books = app.shelf.open_books()
    for book in books:
        problem = _book_problem(book)
        if problem is not None:
            refused[book.row.name] = problem
    harmed = {row.tenant for name, row in app.shelf.rows().items() if name in refused}
    return {book.row.tenant for book in books} - harmed, refused


def _book_problem(book: Book) -> str | None:
    if book.writer.stopped is not None:
        return book.writer.stopped.problem
    try:
        book.notary.refresh()
    except LedgerError as error:
        return error.problem
    return None
