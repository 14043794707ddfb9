# SPDX-License-Identifier: GPL-3.0-or-later
"""`packet`: build a court packet at the ledger itself, and check one as any stranger would.

Building is a look at content. It is entered in the tenant's access Book before an entry is read,
with the person who ran the command as a salted commitment: the ledger keeps no name. The disclosure
that opens the commitment is handed to the person, who alone can show later that it was them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from anchoring.receipt import digest_text
from anchoring.shelf import Book, Shelf
from api.looks import look_body, purpose_code
from evidence.packet import BuiltPacket, PacketRequest, Progress, build_packet
from ledger import durable
from ledger.access import Credentials
from ledger.errors import MalformedEvent, Refused, Unavailable
from ledger.lookup import LOG_ID
from ledger.outcome import Recorded
from ledger.personal import with_person
from ledger.request import ledger_made
from scripts.assembly import Ledger
from sealtrail.verify import canonical, command
from sealtrail.verify.disclosure import PERSON
from sealtrail.verify.errors import VerifyError

#: What ACCESS entries name instead of a credential, and instead of a path of the API.
CREDENTIAL: Final = "cli"
PATH: Final = "sealtrail-server packet build"

_PERSON_MAX: Final = 256
_DISCLOSURES_MAX: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A packet on disk, and the look that is recorded for it."""

    packet: BuiltPacket
    out: Path
    look: str  #: event_id of the ACCESS entry in the access Book.
    person: str = field(repr=False)  #: The disclosure of the person committed to there.

    def json(self) -> dict[str, Any]:
        return {
            "id": self.packet.packet_id,
            "file": str(self.out),
            "sha256": digest_text(self.packet.digest),
            "size": len(self.packet.data),
            "records": self.packet.records,
            "verdict": self.packet.verdict,
            "access": {"event_id": self.look, "disclosures": {PERSON: self.person}},
        }

    def text(self) -> str:
        return (
            f"{self.out}  {self.packet.verdict}\n"
            f"  entries  {self.packet.records}\n"
            f"  sha256   {self.packet.digest.hex()}\n"
            f"  access   recorded as {self.look}; to show later that it was you, keep\n"
            f"           {self.person}\n"
        )


def build(
    ledger: Ledger,
    *,
    book: str,
    event_ids: Sequence[str],
    disclosures: Path | None,
    person: str,
    purpose: str,
    out: Path,
    progress: Progress = lambda _done, _all: None,
) -> Delivered:
    """Build a packet of a Book's entries and write it to `out`, readable by its owner only.

    disclosures: a JSON file {event id: {field name: disclosure}}. person: who runs the command and
    answers for it; purpose: a code such as incident-42.

    Raises Refused for what the operator has to change (nothing is recorded then), Unavailable if
    the look cannot be recorded or the file not be written, and what `build_packet` raises.
    """
    request = PacketRequest(event_ids=tuple(event_ids), disclosures=_read(disclosures))
    request.check()
    look_into = ledger.shelf.book(book)
    check_person(ledger, look_into.row.tenant, person)
    try:
        purpose = purpose_code(purpose)
    except MalformedEvent as error:
        raise Refused(error.errors[0].detail) from None
    if out.exists() or not out.parent.is_dir():
        raise Refused(f"{out} exists already, or its directory does not; name a new file")

    look, disclosure = note_look(
        ledger.shelf, look_into, request=request, person=person, purpose=purpose
    )
    packet = build_packet(
        look_into, request, trust_file=ledger.settings.trust_file, progress=progress
    )
    try:
        durable.write_durably(out, packet.data, mode=0o600)
    except OSError as error:
        raise Unavailable(f"{out} cannot be written: {error.strerror}") from error
    return Delivered(packet=packet, out=out, look=look, person=disclosure)


def verify(file: Path, *, trust: Path | None, as_json: bool = False) -> int:
    """Check a packet with a trust file as verify.pyz does; print the report, return the exit code.

    0 verified, 1 refuted, 2 usage, 3 incomplete, 4 unreadable.
    """
    trusted = [] if trust is None else [f"--trust={trust}"]
    return command.main([*trusted, *(["--json"] if as_json else []), "--", str(file)])


def note_look(
    shelf: Shelf, book: Book, *, request: PacketRequest, person: str, purpose: str
) -> tuple[str, str]:
    """Record the look durably, before anything is read; raises Unavailable.

    Returns the ACCESS entry's event_id and the disclosure of the person.
    """
    body = look_body(
        book=book.row.name,
        path=PATH,
        purpose=purpose,
        event_ids=request.event_ids,
        count=len(request.event_ids),
        size=book.notary.size,
        fields=sorted({name for shown in request.disclosures.values() for name in shown}),
        exported=True,
    )
    return record_look(shelf, book.row.tenant, body, person)


def record_look(shelf: Shelf, tenant: str, body: dict[str, Any], person: str) -> tuple[str, str]:
    """Record the look of whoever runs a command; see `note_look`."""
    actor = {"kind": "human", "credential": CREDENTIAL}
    entry = with_person(ledger_made("ACCESS", LOG_ID, body, actor=actor), person)
    try:
        outcome = shelf.access_book(tenant).record_own(entry)
    except TimeoutError:
        raise Unavailable("the look was not recorded in time; run the command again") from None
    if not isinstance(outcome, Recorded):  # Cannot be: its id was made just now.
        raise Unavailable("the look could not be recorded; run the command again")
    return entry.event_id, entry.disclosures[PERSON]


def check_person(ledger: Ledger, tenant: str, person: str) -> None:
    """Return if this can be a natural person's id; the message never repeats it."""
    if not 1 <= len(person) <= _PERSON_MAX or not person.isprintable() or not person.strip():
        raise Refused("a person's id is 1 to 256 printable characters, such as an employee number")
    if person in Credentials(ledger.database).pipelines(tenant):
        raise Refused("this name is registered as a pipeline's; name the person who answers for it")


def _read(path: Path | None) -> dict[str, dict[str, str]]:
    """Read a file of disclosures."""
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            data = file.read(_DISCLOSURES_MAX + 1)
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from error
    try:
        value = canonical.parse(data) if len(data) <= _DISCLOSURES_MAX else None
    except VerifyError:
        value = None  # The complaint could quote the file; the rule below says enough.
    if not isinstance(value, dict):
        raise Refused(_WANTED)
    found: dict[str, dict[str, str]] = {}
    for event_id, shown in value.items():
        if not isinstance(shown, dict):
            raise Refused(_WANTED)
        texts = {name: text for name, text in shown.items() if isinstance(text, str)}
        if len(texts) != len(shown):
            raise Refused(_WANTED)
        found[event_id] = texts
    return found


_WANTED: Final = "the file of disclosures is JSON of the form {event id: {field name: disclosure}}"
