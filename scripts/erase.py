# SPDX-License-Identifier: GPL-3.0-or-later
"""`erase`: a person's values, at the server's shell: two auditors decide, the night destroys."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from anchoring.shelf import Book
from api.holds import in_request
from evidence.spool import Spool
from ledger.erasure.cases import Case
from ledger.erasure.erasures import Erasures
from ledger.errors import MalformedEvent, Refused
from scripts.assembly import Ledger, open_ledger
from scripts.configure import settings_from
from scripts.hold import TokenFile, book_of
from scripts.options import BookName, DataDir, Json
from scripts.output import INCOMPLETE, exits, progress, show
from sealtrail.verify import canonical

app = typer.Typer(help="Make a person's values unreadable for good.", no_args_is_help=True)

SubjectFile = Annotated[
    Path, typer.Option(help='JSON: {"person": "<id>"} or {"subject_ref": "<uuid>"}.')
]


@app.command()
def plan(
    subject_file: SubjectFile,
    token_file: TokenFile,
    *,
    data: DataDir = None,
    book: BookName = None,
    as_json: Json = False,
) -> None:
    """Show what an erasure would take and what it would leave. Nothing goes."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        of, _ = book_of(ledger, token_file, book)
        erasures = Erasures.of(of)
        subject, planned = erasures.plan(**_subject(subject_file))
        held = erasures.held_by(subject.ref)
        shown = {"subject_ref": str(subject.ref), **planned.json(), "held_by": list(held)}
        goes = ", ".join(f"{count} {what}" for what, count in planned.body().items())
        lines = [f"{subject.ref}", f"  goes   {goes}"]
        lines += [f"  stays  {sentence}" for sentence in shown["stays"]]
        lines += [f"  HELD   by {hold_id}" for hold_id in held]
        show(shown, "\n".join(lines), as_json=as_json)


@app.command()
def request(
    subject_file: SubjectFile,
    basis: Annotated[str, typer.Option(help="The ground in law, such as gdpr-17-1-b.")],
    token_file: TokenFile,
    *,
    data: DataDir = None,
    book: BookName = None,
    as_json: Json = False,
) -> None:
    """Ask for an erasure; nothing goes before a second auditor approves."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        of, identity = book_of(ledger, token_file, book)
        try:
            case = Erasures.of(of).request(basis=basis, by=identity, **_subject(subject_file))
        except MalformedEvent as error:
            raise Refused("; ".join(one.detail for one in in_request(error).errors)) from None
        show(case.json(), _line(case), as_json=as_json)


@app.command()
def approve(
    erasure_id: str,
    subject_file: SubjectFile,
    token_file: TokenFile,
    *,
    data: DataDir = None,
    book: BookName = None,
    as_json: Json = False,
) -> None:
    """Approve as a second auditor, naming the subject anew; it is unreadable at once."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        of, identity = book_of(ledger, token_file, book)
        case = Erasures.of(of).approve(erasure_id, by=identity, **_subject(subject_file))
        _forget_packets(ledger, of)
        show(case.json(), _line(case), as_json=as_json)


@app.command()
def status(*, data: DataDir = None, book: BookName = None, as_json: Json = False) -> None:
    """List the erasures of each Book by random names, and what they wait for."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        rows: list[dict[str, Any]] = []
        lines = []
        for name in _names(ledger, book):
            for case in Erasures.of(ledger.shelf.book(name)).all():
                rows.append({"book": name, **case.json()})
                lines.append(f"{name:24} {_line(case)}")
        show({"erasures": rows}, "\n".join(lines) or "no erasures", as_json=as_json)


@app.command()
def complete(*, data: DataDir = None, book: BookName = None, as_json: Json = False) -> None:
    """Destroy now what is approved and not held, as the night does; safe to interrupt."""
    with exits(as_json=as_json):
        settings = settings_from(data)
        with open_ledger(settings) as ledger:
            rows: list[dict[str, Any]] = []
            lines, waiting = [], 0
            for name in _names(ledger, book):
                of: Book = ledger.shelf.book(name)
                with progress(f"erase {name}", quiet=as_json) as update:
                    erasures = Erasures.of(of)
                    finished, moved = erasures.complete(
                        progress=_steps(update), backup_keep_d=settings.backup_keep_d
                    )
                if moved:
                    _forget_packets(ledger, of)
                waiting += sum(case.state == "pending" for case in erasures.all())
                destroyed = list(finished.destroyed)
                erased = [case.json() for case in moved]
                rows.append({"book": name, "keys_destroyed": destroyed, "erasures": erased})
                lines += [f"{name:24} {_line(case)}" for case in moved]
            show({"books": rows}, "\n".join(lines) or "nothing to erase", as_json=as_json)
            if waiting:
                raise typer.Exit(INCOMPLETE)


def _forget_packets(ledger: Ledger, of: Book) -> None:
    """Remove packets that may hold what is unreadable from now on, as far as they lie here."""
    settings = ledger.settings
    Spool(settings.packet_dir, ttl_s=settings.packet_ttl_h * 3600).forget(of.row.name)


def _names(ledger: Ledger, book: str | None) -> list[str]:
    return [book] if book is not None else list(ledger.shelf.rows())


def _steps(update: Callable[[int, int], None]) -> Callable[[str, int, int], None]:
    return lambda _step, done, whole: update(done, whole)


def _subject(path: Path) -> dict[str, str]:
    """Read who it is about from a file: a command line is read by everybody on the machine."""
    try:
        value = canonical.parse(path.read_bytes())
    except canonical.NotCanonical:
        value = None
    if isinstance(value, dict) and len(value) == 1:
        ((name, text),) = value.items()
        if name in ("person", "subject_ref") and isinstance(text, str):
            return {"person" if name == "person" else "ref": text}
    raise Refused('the file names one subject: {"person": "<id>"} or {"subject_ref": "<uuid>"}')


def _line(case: Case) -> str:
    holds = f" by {', '.join(case.hold_ids)}" if case.hold_ids else ""
    return f"{case.erasure_id}  subject {case.subject_ref}  {case.state}{holds}"
