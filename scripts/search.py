# SPDX-License-Identifier: GPL-3.0-or-later
"""`search QUERY`, `search status`, `search rebuild`: find entries, and keep the read model.

To find is a look at content. It is entered in the tenant's access Book before anything is shown,
with the person who ran the command as a salted commitment, whose disclosure is handed to them.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer
from typer.core import TyperGroup

from anchoring.shelf import Book
from api.looks import look_body, purpose_code
from evidence.search_export import Result, Tally, csv_manifest, csv_parts
from ledger import clock
from ledger.errors import MalformedEvent, Refused, Unavailable
from ledger.readmodel.follower import AsOf, standings
from ledger.readmodel.follower import rebuild as read_again
from ledger.readmodel.projections import PROJECTIONS
from ledger.readmodel.query import Clause, QueryMalformed, parse
from ledger.readmodel.search import Page, Search, shown
from scripts.assembly import Ledger, open_ledger
from scripts.configure import settings_from
from scripts.options import BookName, DataDir, Json
from scripts.output import INCOMPLETE, exits, progress, show
from scripts.packet import check_person, record_look
from sealtrail.verify.disclosure import PERSON

PATH: Final = "sealtrail-server search"


class QueryFirst(TyperGroup):
    """Takes what is the name of no command for a query."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["find", *args])


app = typer.Typer(help="Find entries; keep the read model.", no_args_is_help=True, cls=QueryFirst)

Query = Annotated[str, typer.Argument(help="docs/search.md; in quotes, and after -- if it is -…")]
Csv = Annotated[Path | None, typer.Option("--csv", help="A new file; all that is found.")]


@app.command("find")
def find(
    query: Query,
    book: Annotated[str, typer.Option(help="The Book, such as acme.")],
    person: Annotated[str, typer.Option(help="Who runs this and answers for it; committed.")],
    purpose: Annotated[str, typer.Option(help="A code, such as incident-42.")],
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Newest entries to show.")] = 50,
    csv: Csv = None,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show the newest entries that a query finds, or write all of them to a CSV with a manifest."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        clauses = _parsed(query)
        look_into = ledger.shelf.book(book)
        note = _noting(ledger, look_into, person, purpose)
        if csv is not None:
            told = _export(Result.of(look_into, clauses), csv, note)
            text = f"{csv}  {told['count']} entries as of {told['as_of']}; {told['manifest']}"
        else:
            search = Search(ledger.database, look_into.vault, look_into.row.schema)
            page = search.page(clauses, limit=limit)
            access = note(_Look([one.event_id for one in page.found], len(page.found), page.as_of))
            told = {**_told(page), "access": access}
            text = _text(page)
        text += f"\naccess   recorded as {told['access']['event_id']}"
        show(told, f"{text}\n         {told['access']['disclosures'][PERSON]}", as_json=as_json)


@app.command("status")
def status(*, data: DataDir = None, book: BookName = None, as_json: Json = False) -> None:
    """Say how far each part of the read model is behind its log."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        told = [
            {"book": row.name, "projection": name, "position": position, "size": size}
            for row in ledger.shelf.rows().values()
            if book in (None, row.name)
            for name, position, size in standings(ledger.database, row.schema)
        ]
        lines = [
            f"{one['book']:24} {one['projection']:12} {one['position']} of {one['size']} entries"
            for one in told
        ]
        show({"projections": told}, "\n".join(lines), as_json=as_json)
    if any(one["position"] != one["size"] for one in told):
        raise typer.Exit(INCOMPLETE)


@app.command("rebuild")
def rebuild(
    *,
    projection: Annotated[str | None, typer.Option(help="One part of it; else all.")] = None,
    data: DataDir = None,
    book: BookName = None,
    as_json: Json = False,
) -> None:
    """Drop what was made of the entries and make it again. Others may search meanwhile."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        chosen = [one for one in PROJECTIONS if projection in (None, one.name)]
        if not chosen:
            names = ", ".join(one.name for one in PROJECTIONS)
            raise Refused(f"the projections are {names}")
        told = []
        for row in ledger.shelf.rows().values():
            if book in (None, row.name):
                began = clock.monotonic()
                with progress(f"read {row.name}", quiet=as_json) as update:
                    read = read_again(ledger.database, row.schema, chosen, progress=update)
                took = f"{clock.monotonic() - began:.1f}"
                told.append({"book": row.name, "entries": read, "seconds": took})
        lines = [f"{one['book']:24} {one['entries']} entries in {one['seconds']} s" for one in told]
        show({"books": told}, "\n".join(lines), as_json=as_json)


def _parsed(query: str) -> tuple[Clause, ...]:
    """Read a query; the sentence of what is wrong is the first thing that its writer needs."""
    try:
        return parse(query)
    except QueryMalformed as error:
        raise QueryMalformed(error.errors[0].detail) from None


class _Look(NamedTuple):
    """What is entered of a look."""

    event_ids: Sequence[str]
    number: int
    as_of: AsOf
    found: str | None = None


def _noting(
    ledger: Ledger, book: Book, person: str, purpose: str
) -> Callable[[_Look], dict[str, Any]]:
    """Return what enters a look of this person's; raises Refused for what has to be changed."""
    check_person(ledger, book.row.tenant, person)
    try:
        code = purpose_code(purpose)
    except MalformedEvent as error:
        raise Refused(error.errors[0].detail) from None

    def note(look: _Look) -> dict[str, Any]:
        body = look_body(
            book=book.row.name,
            path=PATH,
            purpose=code,
            event_ids=look.event_ids,
            count=look.number,
            size=look.as_of.position,
            fields=(),
            exported=look.found is not None,
            found=look.found,
        )
        event_id, disclosure = record_look(ledger.shelf, book.row.tenant, body, person)
        return {"event_id": event_id, "disclosures": {PERSON: disclosure}}

    return note


def _export(result: Result, out: Path, note: Callable[[_Look], dict[str, Any]]) -> dict[str, Any]:
    """Write the CSV and, beside it, its manifest: both new, readable by their owner only."""
    beside = out.with_name(f"{out.name}.manifest.json")
    if out.exists() or beside.exists() or not out.parent.is_dir():
        raise Refused(f"{out} or its manifest exists already, or its directory does not")
    whole = result.whole
    access = note(_Look((), whole.count, whole.as_of, result.positions_digest))
    tally = Tally()
    try:
        with _new(out) as file:
            for part in csv_parts(result):
                file.write(tally(part))
        with _new(beside) as file:
            file.write(json.dumps(csv_manifest(result, tally), indent=1).encode() + b"\n")
    except OSError as error:
        raise Unavailable(f"{out} cannot be written: {error.strerror}") from error
    told = {"file": str(out), "manifest": str(beside), "sha256": tally.digest}
    return {**told, "count": whole.count, "as_of": whole.as_of.position, "access": access}


def _new(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _told(page: Page) -> dict[str, Any]:
    return {
        "found": [shown(one) for one in page.found],
        "more": page.more,
        "as_of": page.as_of.position,
        "behind": page.as_of.behind,
    }


def _text(page: Page) -> str:
    lines = [
        f"{one.position:>10}  {clock.rfc3339(one.recorded_ms)}  {one.type:20}  {one.event_id}"
        f"  {' '.join((*one.values.get('outcome', ()), *one.values.get('flag', ())))}".rstrip()
        for one in page.found
    ]
    more = "; there is more" if page.more else ""
    behind = f", {page.as_of.behind} not read yet" if page.as_of.behind else ""
    return "\n".join([*lines, f"{len(lines)} of {page.as_of.position} entries{behind}{more}"])
