# SPDX-License-Identifier: GPL-3.0-or-later
"""`hold`: legal holds from the server's own shell, by persons with an auditor's token."""

from pathlib import Path
from typing import Annotated, Any

import typer

from anchoring.shelf import Book
from api.holds import hold_json, in_request, person, resolved
from api.identity import auditor, own_book
from ledger.access import Credentials
from ledger.errors import MalformedEvent, Refused
from ledger.hold_record import Hold
from ledger.holds import Holds
from ledger.request import Identity
from scripts.assembly import Ledger, open_ledger, owner_connection
from scripts.configure import settings_from
from scripts.options import BookName, DataDir, Json
from scripts.output import exits, show
from sealtrail.verify import canonical

app = typer.Typer(help="Keep what a matter needs, whatever expires.", no_args_is_help=True)

TokenFile = Annotated[Path, typer.Option(help="File with the auditor's token; nobody else's.")]
_TOKEN_MAX = 256


@app.command()
def apply(
    matter: Annotated[str, typer.Option(help="Number in your register of matters; no names.")],
    authority: Annotated[str, typer.Option(help="By whose order, such as court-order.")],
    scope: Annotated[Path, typer.Option(help="JSON: as in docs/custody.md; may name `persons`.")],
    token_file: TokenFile,
    hold_id: Annotated[
        str | None, typer.Option(help="A UUID of version 7; makes it safe to repeat.")
    ] = None,
    *,
    data: DataDir = None,
    book: BookName = None,
    as_json: Json = False,
) -> None:
    """Place a legal hold: nothing that it means is expired, moved away or erased from now on."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        of, identity = book_of(ledger, token_file, book)
        try:
            wanted = _read(scope)
            persons = _persons(wanted.pop("persons", []))
            hold = Holds.of(of).apply(
                resolved(of, wanted, persons),
                matter=matter,
                authority=authority,
                actor=person(identity),
                hold_id=hold_id,
            )
        except MalformedEvent as error:
            raise _told(error) from None
        show(hold_json(hold), _line(hold), as_json=as_json)


@app.command()
def release(
    hold_id: str,
    authority: Annotated[str, typer.Option(help="By whose order.")],
    token_file: TokenFile,
    reason: Annotated[str | None, typer.Option(help="A code.")] = None,
    *,
    data: DataDir = None,
    book: BookName = None,
    as_json: Json = False,
) -> None:
    """Release a hold: what it kept goes on under its clocks, and what waited for it happens."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        of, identity = book_of(ledger, token_file, book)
        try:
            hold = Holds.of(of).release(
                hold_id, authority=authority, reason=reason, actor=person(identity)
            )
        except MalformedEvent as error:
            raise _told(error) from None
        show(hold_json(hold), _line(hold), as_json=as_json)


@app.command("list")
def list_holds(*, data: DataDir = None, book: BookName = None, as_json: Json = False) -> None:
    """List the holds of each Book, and how many entries each keeps; shows no content."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        rows: list[dict[str, Any]] = []
        lines = []
        for name in [book] if book is not None else list(ledger.shelf.rows()):
            holds = Holds.of(ledger.shelf.book(name))
            for hold in holds.all():
                entries = holds.count(hold.hold_id)
                rows.append({"book": name, **hold_json(hold), "entries": entries})
                lines.append(f"{name:24} {_line(hold)}, {entries} entries")
        show({"holds": rows}, "\n".join(lines) or "no holds", as_json=as_json)


@app.command()
def rebuild(*, data: DataDir = None, book: BookName = None, as_json: Json = False) -> None:
    """Write the table of holds anew from the log, as the database's owner."""
    settings = settings_from(data)
    with (
        exits(as_json=as_json),
        open_ledger(settings) as ledger,
        owner_connection(settings) as owner,
    ):
        names = [book] if book is not None else list(ledger.shelf.rows())
        parts = {name: Holds.of(ledger.shelf.book(name)).rebuild(owner) for name in names}
        lines = [f"{name:24} {count} parts of holds" for name, count in parts.items()]
        show({"parts": parts}, "\n".join(lines), as_json=as_json)


def book_of(ledger: Ledger, token_file: Path, name: str | None) -> tuple[Book, Identity]:
    """Return the Book and the person, as a token from a file says who it is."""
    identity = identity_of(ledger, token_file)
    return own_book(ledger.shelf, identity, name), identity


def identity_of(ledger: Ledger, token_file: Path) -> Identity:
    """Return whose token lies in a file; raises Unauthenticated, Forbidden for a pipeline's."""
    with token_file.open("rb") as file:
        data = file.read(_TOKEN_MAX)
    token = data.decode("ascii", "replace").strip()
    return auditor(Credentials(ledger.database).identify(token))


def _read(path: Path) -> dict[str, Any]:
    try:
        value = canonical.parse(path.read_bytes())
    except canonical.NotCanonical as error:
        raise Refused(f"the scope of a hold is strict JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refused("the scope of a hold is a JSON object, as in docs/events.md")
    return value


def _persons(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise Refused("`persons` in a scope is a list of persons' ids")
    return [str(one) for one in value]


def _told(error: MalformedEvent) -> Refused:
    """Return one sentence for a person at a shell."""
    wrong = in_request(error).errors
    return Refused("; ".join(f"{one.pointer} {one.detail}" for one in wrong))


def _line(hold: Hold) -> str:
    until = f"released {hold.released}" if hold.released else "holds"
    rest = "" if hold.complete else f", {len(hold.scopes)} of {hold.parts} parts placed"
    return f"{hold.hold_id}  matter {hold.matter}, placed {hold.placed}, {until}{rest}"
