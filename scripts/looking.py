# SPDX-License-Identifier: GPL-3.0-or-later
"""What commands share that show content: whose look it is, what for, and its entry beforehand.

The person who runs the command is a salted commitment of the look, whose disclosure is handed out
to them.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from anchoring.shelf import Book
from api.looks import look_body, purpose_code
from ledger.errors import MalformedEvent, Refused
from scripts.assembly import Ledger, open_ledger
from scripts.configure import settings_from
from scripts.packet import check_person, record_look
from sealtrail.verify.disclosure import PERSON

OneBook = Annotated[str, typer.Option("--book", help="The Book, such as acme.")]
Person = Annotated[str, typer.Option(help="Who runs this and answers for it; committed.")]
Purpose = Annotated[str, typer.Option(help="A code, such as incident-42.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """A person at the server's own shell, looking into one Book."""

    ledger: Ledger
    book: Book
    person: str
    purpose: str

    def note(
        self,
        path: str,
        *,
        count: int,
        size: int,
        event_ids: Sequence[str] = (),
        fields: Sequence[str] = (),
        exported: bool = False,
    ) -> dict[str, Any]:
        """Record the look, durable on return; returns its event_id and the person's disclosure."""
        body = look_body(
            book=self.book.row.name,
            path=path,
            purpose=self.purpose,
            event_ids=event_ids,
            count=count,
            size=size,
            fields=fields,
            exported=exported,
        )
        event_id, person = record_look(self.ledger.shelf, self.book.row.tenant, body, self.person)
        return {"event_id": event_id, "disclosures": {PERSON: person}}


@contextlib.contextmanager
def looking_into(data: Path | None, book: str, person: str, purpose: str) -> Iterator[Looking]:
    """Open the ledger for a look; raises Refused before anything is read."""
    with open_ledger(settings_from(data)) as ledger, told():
        found = ledger.shelf.book(book)
        check_person(ledger, found.row.tenant, person)
        code = purpose_code(purpose)
        yield Looking(ledger=ledger, book=found, person=person, purpose=code)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Say what is wrong with an option in one sentence for a person at a shell."""
    try:
        yield
    except MalformedEvent as error:
        raise Refused("; ".join(one.detail for one in error.errors)) from None


def access_line(access: dict[str, Any]) -> str:
    """Say where the look is recorded, and how to show later whose it was."""
    return (
        f"access recorded as {access['event_id']}; to show later that it was you, keep\n"
        f"  {access['disclosures'][PERSON]}\n"
    )
