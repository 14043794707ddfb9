# SPDX-License-Identifier: GPL-3.0-or-later
"""`redaction rules|status|follow`: what is hidden in the searchable copies of prompts."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ledger.errors import Refused
from ledger.migrate import BookRow, find_book
from ledger.redaction.follower import Follower
from ledger.redaction.standing import publish, standing
from scripts.assembly import Ledger, open_ledger, owner_connection
from scripts.configure import settings_from
from scripts.options import BookName, DataDir, Json
from scripts.output import INCOMPLETE, exits, progress, show

app = typer.Typer(help="Redacted copies of prompts, for auditors to search.", no_args_is_help=True)

Book = Annotated[str, typer.Option("--book", help="The tenant's main Book, such as acme.")]
RulesFile = Annotated[Path, typer.Argument(help="JSON; its members are in docs/operations.md.")]
_RULES_MAX = 262_144


@app.command("rules")
def rules(file: RulesFile, book: Book, *, data: DataDir = None, as_json: Json = False) -> None:
    """Publish a tenant's rules: every copy is made anew by them. Needs the owner."""
    with exits(as_json=as_json), owner_connection(settings_from(data)) as owner:
        row = find_book(owner, book)
        _check_main(row)
        content = file.read_bytes()
        if len(content) > _RULES_MAX:
            raise Refused("rules of redaction have at most 256 KiB")
        made = publish(owner, row.schema, content)
        text = f"{book}: rules {made.version}; copies by older ones are searched no more"
        show({"book": book, "version": made.version}, text, as_json=as_json)


@app.command("status")
def status(*, data: DataDir = None, book: BookName = None, as_json: Json = False) -> None:
    """Say how far the copies are behind the log, and how many texts are withheld."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        found = {}
        for row in _mains(ledger, book):
            with ledger.database.duty(row.schema, "read") as connection:
                found[row.name] = standing(connection, row.schema)
        lines = [
            f"{name:24} {one.copies} copies by rules {one.version}, {one.behind} entries behind,"
            f" {one.withheld} texts withheld"
            for name, one in found.items()
        ]
        told = [{"book": name, **asdict(one)} for name, one in found.items()]
        show({"books": told}, "\n".join(lines), as_json=as_json)
    if any(one.behind or one.withheld for one in found.values()):
        raise typer.Exit(INCOMPLETE)


@app.command("follow")
def follow(*, data: DataDir = None, book: BookName = None, as_json: Json = False) -> None:
    """Make the copies that are missing now; the scheduler does it all the time."""
    settings = settings_from(data)
    with exits(as_json=as_json), open_ledger(settings) as ledger:
        told = []
        for row in _mains(ledger, book):
            of = ledger.shelf.book(row.name)
            model = settings.redaction_model
            follower = Follower(ledger.database, of.vault, row.schema, model=model)
            with progress(f"redact {row.name}", quiet=as_json) as update:
                done = follower.run(budget_s=float("inf"), progress=update)
            told.append({"book": row.name, **done._asdict()})
        lines = [
            f"{one['book']:24} {one['copies']} copies, {one['withheld']} withheld" for one in told
        ]
        show({"books": told}, "\n".join(lines), as_json=as_json)


def _mains(ledger: Ledger, book: str | None) -> list[BookRow]:
    """Return the Books that hold prompts, or the one that is named; raises NotFound, Refused."""
    if book is None:
        return [one for one in ledger.shelf.rows().values() if one.kind == "main"]
    row = ledger.shelf.book(book).row
    _check_main(row)
    return [row]


def _check_main(row: BookRow) -> None:
    if row.kind != "main":
        raise Refused("prompts are in the tenant's main Book")
