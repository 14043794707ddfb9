# SPDX-License-Identifier: GPL-3.0-or-later
"""`alerts`: what the ledger noticed and a person must look at, from the server's own shell."""

from typing import Annotated, Any

import typer

from anchoring.alerts import Alert, acknowledge, alerts
from anchoring.alerts import rebuild as rebuild_alerts
from api.alerts import alert_json
from api.holds import checked_id, in_request, person
from ledger import clock
from ledger.errors import MalformedEvent, Refused
from scripts.assembly import open_ledger
from scripts.configure import settings_from
from scripts.hold import TokenFile, book_of
from scripts.options import BookName, DataDir, Json
from scripts.output import exits, show

app = typer.Typer(help="See what the ledger noticed, and say that it was seen.")


@app.callback(invoke_without_command=True)
def list_alerts(
    context: typer.Context,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also those acknowledged.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many.")] = 100,
    data: DataDir = None,
    book: BookName = None,
    as_json: Json = False,
) -> None:
    """List open alerts of each Book, the newest first; shows no content."""
    if context.invoked_subcommand is not None:
        return
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        rows: list[dict[str, Any]] = []
        lines = []
        for name in [book] if book is not None else list(ledger.shelf.rows()):
            for one in alerts(ledger.shelf.book(name), open_only=not everything, limit=limit):
                rows.append({"book": name, **alert_json(one)})
                lines.append(f"{name:24} {_line(one)}")
        show({"alerts": rows}, "\n".join(lines) or "no alerts", as_json=as_json)


@app.command()
def ack(
    event_id: str,
    token_file: TokenFile,
    reason: Annotated[str | None, typer.Option(help="What became of it: a code.")] = None,
    *,
    data: DataDir = None,
    book: BookName = None,
    as_json: Json = False,
) -> None:
    """Say that a person, whose token lies in the file, has seen an alert; safe to repeat."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        of, identity = book_of(ledger, token_file, book)
        try:
            found = acknowledge(
                of, checked_id(event_id, "alert"), actor=person(identity), reason=reason
            )
        except MalformedEvent as error:
            wrong = in_request(error).errors
            raise Refused("; ".join(f"{one.pointer} {one.detail}" for one in wrong)) from None
        show(alert_json(found), _line(found), as_json=as_json)


@app.command()
def rebuild(*, data: DataDir = None, book: BookName = None, as_json: Json = False) -> None:
    """Make the table of alerts anew from the log."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        names = [book] if book is not None else list(ledger.shelf.rows())
        made = {name: rebuild_alerts(ledger.shelf.book(name)) for name in names}
        lines = [f"{name:24} {count} alerts" for name, count in made.items()]
        show({"alerts": made}, "\n".join(lines), as_json=as_json)


def _line(alert: Alert) -> str:
    facts = " ".join(f"{name}={value}" for name, value in alert.facts.items())
    state = "open" if alert.acknowledged is None else "acknowledged"
    at = clock.rfc3339(alert.raised_ms)
    return f"{alert.event_id}  {at}  {state:12} {alert.code}: {alert.about}  {facts}".rstrip()
