# SPDX-License-Identifier: GPL-3.0-or-later
"""`cap-pack`: some days of a log as a CAP evidence pack, built at the ledger itself.

Like a court packet it is a look at content: entered in the tenant's access Book before an entry is
read, with the person who runs the command as a salted commitment.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from anchoring.receipt import digest_text
from anchoring.shelf import Book, Shelf
from api.looks import look_body, purpose_code
from evidence.cap_pack import BuiltCapPack, build_cap_pack
from evidence.cap_range import CapRequest, Progress, Range, range_of
from ledger import durable
from ledger.errors import MalformedEvent, Refused, Unavailable
from scripts.assembly import Ledger, open_ledger
from scripts.configure import settings_from
from scripts.options import DataDir, Json
from scripts.output import exits, progress, show
from scripts.packet import check_person, record_look
from sealtrail.verify.disclosure import PERSON

PATH: Final = "sealtrail-server cap-pack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A pack on disk, and the look that is recorded for it."""

    pack: BuiltCapPack
    out: Path
    look: str  #: event_id of the ACCESS entry in the access Book.
    person: str = field(repr=False)  #: The disclosure of the person committed to there.

    def json(self) -> dict[str, Any]:
        return {
            "id": self.pack.pack_id,
            "file": str(self.out),
            "sha256": digest_text(self.pack.digest),
            "size": len(self.pack.data),
            "events": self.pack.events,
            "complete": self.pack.complete,
            "part": self.pack.part,
            "parts": self.pack.parts,
            "access": {"event_id": self.look, "disclosures": {PERSON: self.person}},
        }

    def text(self) -> str:
        whole = "" if self.pack.parts == 1 else f"  part {self.pack.part} of {self.pack.parts}"
        ended = "each attempt has its outcome" if self.pack.complete else "attempts are open"
        return (
            f"{self.out}{whole}\n"
            f"  events   {self.pack.events}; {ended}\n"
            f"  sha256   {self.pack.digest.hex()}\n"
            f"  access   recorded as {self.look}; to show later that it was you, keep\n"
            f"           {self.person}\n"
        )


def cap_pack(  # noqa: PLR0917 - Typer reads the parameters by name
    book: Annotated[str, typer.Option(help="The Book, such as acme.")],
    first: Annotated[str, typer.Option("--from", help="The first UTC day, such as 2026-01-14.")],
    last: Annotated[str, typer.Option("--to", help="The last UTC day.")],
    person: Annotated[str, typer.Option(help="Who runs this and answers for it; committed.")],
    purpose: Annotated[str, typer.Option(help="A code, such as audit-2026.")],
    out: Annotated[Path, typer.Option(help="A new file.")],
    part: Annotated[int, typer.Option(help="Which part, where the days have several.")] = 1,
    *,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Build a CAP evidence pack. Entered in the access Book before anything is read."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        with progress("cap-pack", quiet=as_json) as update:
            made = build(
                ledger,
                book=book,
                request=CapRequest(first=first, last=last, part=part),
                person=person,
                purpose=purpose,
                out=out,
                progress=update,
            )
        show(made.json(), made.text(), as_json=as_json)


def build(
    ledger: Ledger,
    *,
    book: str,
    request: CapRequest,
    person: str,
    purpose: str,
    out: Path,
    progress: Progress = lambda _done, _all: None,
) -> Delivered:
    """Build a pack and write it to `out`, readable by its owner only.

    Raises Refused for what the operator has to change (nothing is recorded then), Unavailable if
    the look cannot be recorded or the file not be written, and what `build_cap_pack` raises.
    """
    request.check()
    look_into = ledger.shelf.book(book)
    check_person(ledger, look_into.row.tenant, person)
    try:
        purpose = purpose_code(purpose)
    except MalformedEvent as error:
        raise Refused(error.errors[0].detail) from None
    if out.exists() or not out.parent.is_dir():
        raise Refused(f"{out} exists already, or its directory does not; name a new file")
    within = range_of(look_into, request)
    look, disclosure = _note(
        ledger.shelf, look_into, request, within, person=person, purpose=purpose
    )
    pack = build_cap_pack(
        look_into, request, trust_file=ledger.settings.trust_file, progress=progress
    )
    try:
        durable.write_durably(out, pack.data, mode=0o600)
    except OSError as error:
        raise Unavailable(f"{out} cannot be written: {error.strerror}") from error
    return Delivered(pack=pack, out=out, look=look, person=disclosure)


def _note(
    shelf: Shelf, book: Book, request: CapRequest, within: Range, *, person: str, purpose: str
) -> tuple[str, str]:
    body = look_body(
        book=book.row.name,
        path=f"{PATH} --from {request.first} --to {request.last} --part {request.part}",
        purpose=purpose,
        event_ids=(),
        count=within.end - within.begin,
        size=within.size,
        fields=(),
        exported=True,
    )
    return record_look(shelf, book.row.tenant, body, person)
