# SPDX-License-Identifier: GPL-3.0-or-later
"""`completeness`: how the attempts of a closed day ended, asked at the ledger itself.

Reports are entries, so it is a look like any other: entered in the tenant's access Book before
anything is shown, with the person who runs the command as a salted commitment.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from anchoring.shelf import Book
from api.looks import look_body, purpose_code
from evidence.completeness import Completeness, Question, completeness
from evidence.packet import read_trust
from ledger import durable
from ledger.errors import MalformedEvent, Refused, Unavailable
from scripts.assembly import Ledger, open_ledger
from scripts.configure import settings_from
from scripts.options import DataDir, Json
from scripts.output import INCOMPLETE, exits, show
from scripts.packet import check_person, record_look
from sealtrail.verify.disclosure import PERSON

PATH: Final = "sealtrail-server completeness"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the log says of a day, and the look that is recorded for it."""

    found: Completeness
    out: Path | None
    look: str  #: event_id of the ACCESS entry in the access Book.
    person: str = field(repr=False)  #: The disclosure of the person committed to there.

    def json(self) -> dict[str, Any]:
        access = {"event_id": self.look, "disclosures": {PERSON: self.person}}
        told: dict[str, Any] = {**self.found.json(), "access": access}
        if self.out is not None:
            told["statement"] = str(self.out)
        return told

    def text(self) -> str:
        found = self.found
        lines = [f"{found.origin}  {found.day}"]
        for kind in ("provisional", "final"):
            stored = found.reports.get(kind)
            said = _report(stored.entry.value["body"]) if stored else "not yet"
            lines.append(f"  {kind:12} {said}")
        if found.attempt is not None:
            lines.append(f"  {'attempt':12} {_attempt(found.attempt)}")
        if self.out is not None:
            lines.append(f"  {'statement':12} {self.out}")
        lines.append(
            f"  {'access':12} recorded as {self.look}; to show later that it was you, keep"
        )
        return "\n".join([*lines, f"  {'':12} {self.person}"])


def day_completeness(  # noqa: PLR0917 - Typer reads the parameters by name
    day: Annotated[str, typer.Argument(help="A closed UTC day, such as 2026-01-14.")],
    book: Annotated[str, typer.Option(help="The Book, such as acme.")],
    person: Annotated[str, typer.Option(help="Who runs this and answers for it; committed.")],
    purpose: Annotated[str, typer.Option(help="A code, such as audit-2026.")],
    attempt: Annotated[str | None, typer.Option(help="A Generation: how exactly it ended.")] = None,
    out: Annotated[Path | None, typer.Option(help="A new file for the statement.")] = None,
    *,
    entries: Annotated[
        bool, typer.Option("--entries", help="Show the attempt's own entries, too.")
    ] = False,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show a day's reports; prove one attempt's outcome. Exit code 3 while attempts may be open."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        question = Question(day=day, attempt_id=attempt, entries=entries)
        answer = ask(ledger, question, book=book, person=person, purpose=purpose, out=out)
        show(answer.json(), answer.text(), as_json=as_json)
        if "final" not in answer.found.reports:
            raise typer.Exit(INCOMPLETE)


def ask(
    ledger: Ledger,
    question: Question,
    *,
    book: str,
    person: str,
    purpose: str,
    out: Path | None = None,
) -> Answer:
    """Answer a question about a Book's day; the statement goes to `out`, for its owner only.

    Raises Refused for what the operator has to change (nothing is recorded then), Unavailable if
    the look cannot be recorded or the file not be written, and what `completeness` raises.
    """
    look_into = ledger.shelf.book(book)
    _check_file(out)
    look, disclosure = _look(ledger, look_into, question, person=person, purpose=purpose)
    found = completeness(look_into, question, trust=read_trust(ledger.settings.trust_file))
    if out is not None:
        _write(out, found)
    return Answer(found=found, out=out, look=look, person=disclosure)


def _check_file(out: Path | None) -> None:
    if out is not None and (out.exists() or not out.parent.is_dir()):
        raise Refused(f"{out} exists already, or its directory does not; name a new file")


def _look(
    ledger: Ledger, book: Book, question: Question, *, person: str, purpose: str
) -> tuple[str, str]:
    """Record the look before anything is read; returns its event and the person's disclosure."""
    try:
        question.check()
        purpose = purpose_code(purpose)
    except MalformedEvent as error:
        raise Refused(error.errors[0].detail) from None
    check_person(ledger, book.row.tenant, person)
    body = look_body(
        book=book.row.name,
        path=f"{PATH} {question.day}",
        purpose=purpose,
        event_ids=(),
        count=4 if question.entries else 2,
        size=book.notary.size,
        fields=(),
        exported=True,
    )
    return record_look(ledger.shelf, book.row.tenant, body, person)


def _write(out: Path, found: Completeness) -> None:
    data = json.dumps(found.statement, indent=1).encode() + b"\n"
    try:
        durable.write_durably(out, data, mode=0o600)
    except OSError as error:
        raise Unavailable(f"{out} cannot be written: {error.strerror}") from error


def _attempt(said: dict[str, Any]) -> str:
    if "outcome_index" not in said:
        return str(said["state"])
    where = f"at position {said['outcome_index']}, attempted at {said['attempt_index']}"
    return f"{said['state']}, {where}{', late' if said['late'] else ''}"


def _report(body: dict[str, Any]) -> str:
    counts = body["counts"]
    still = f", {body['open_count']} open" if "open_count" in body else ""
    root = f", root {body['outcomes']['root']}" if "outcomes" in body else ""
    return (
        f"number {body['number']}, positions {body['from_size']} to {body['to_size']}:"
        f" {counts['attempts']} attempts, {counts['gen']} gen, {counts['deny']} deny,"
        f" {counts['error']} error ({counts['late']} late){still}{root}"
    )
