# SPDX-License-Identifier: GPL-3.0-or-later
"""`reviews` and `takedowns`: what people have to decide or to do in time, at the server's shell."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import typer

from anchoring.shelf import Book
from api.reviews import CASE_STATES
from ledger.desk.reviews import Case, ReviewProjection
from ledger.desk.reviews import reviews as find_reviews
from ledger.desk.takedowns import Takedown, TakedownProjection
from ledger.desk.takedowns import takedowns as find_takedowns
from ledger.readmodel.follower import catch_up
from scripts.assembly import Ledger, open_ledger
from scripts.configure import settings_from
from scripts.options import BookName, DataDir, Json
from scripts.output import exits, show

Limit = Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many of each Book.")]
CaseState = Literal["open", "waiting", "opened", "assigned", "decided", "all"]
TakedownState = Literal["open", "overdue", "met", "late", "invalid", "all"]


def reviews(
    *,
    queue: Annotated[str | None, typer.Option(help="One queue; else all.")] = None,
    state: Annotated[CaseState, typer.Option(help="Where the case stands.")] = "open",
    overdue: Annotated[bool, typer.Option("--overdue", help="Only after the deadline.")] = False,
    limit: Limit = 100,
    data: DataDir = None,
    book: BookName = None,
    as_json: Json = False,
) -> None:
    """List cases that wait for people, with their deadlines; shows no content."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        rows: list[dict[str, Any]] = []
        lines = []
        for name, of in _books(ledger, book):
            catch_up(of.database, of.row.schema, [ReviewProjection.name])
            now = of.database.now_ms()
            for case in find_reviews(
                of.database,
                of.row.schema,
                queue=queue,
                states=CASE_STATES[state],
                overdue_ms=now if overdue else None,
                limit=limit,
            ):
                rows.append({"book": name, **case.json(now)})
                lines.append(f"{name:24} {_case_line(case, now)}")
        show({"reviews": rows}, "\n".join(lines) or "no cases", as_json=as_json)


def takedowns(
    *,
    state: Annotated[TakedownState, typer.Option(help="Where the request stands.")] = "all",
    limit: Limit = 100,
    data: DataDir = None,
    book: BookName = None,
    as_json: Json = False,
) -> None:
    """List requests to take pictures down with their 48 hours; shows no content."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        rows: list[dict[str, Any]] = []
        lines = []
        for name, of in _books(ledger, book):
            catch_up(of.database, of.row.schema, [TakedownProjection.name])
            now = of.database.now_ms()
            for one in find_takedowns(
                of.database, of.row.schema, state=state, now_ms=now, limit=limit
            ):
                rows.append({"book": name, **one.json(now)})
                lines.append(f"{name:24} {_takedown_line(one, now)}")
        show({"takedowns": rows}, "\n".join(lines) or "no takedowns", as_json=as_json)


def _books(ledger: Ledger, name: str | None) -> Iterator[tuple[str, Book]]:
    for one in [name] if name is not None else list(ledger.shelf.rows()):
        yield one, ledger.shelf.book(one)


def _case_line(case: Case, now_ms: int) -> str:
    told = case.json(now_ms)
    late = "  OVERDUE" if told["overdue"] else ""
    until = f"  until {told['deadline']}" if "deadline" in told else ""
    outcome = f" {case.outcome}" if case.outcome else ""
    queue = case.queue or "no queue"
    return f"{case.generation} {case.case_id}  {queue}: {case.state}{outcome}{until}{late}"


def _takedown_line(one: Takedown, now_ms: int) -> str:
    told = one.json(now_ms)
    gone = f", removed {told['removed_at']}" if "removed_at" in told else ""
    return f"{one.export_id} {one.request_id}  {told['state']}, due {told['due_at']}{gone}"
