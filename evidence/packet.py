# SPDX-License-Identifier: GPL-3.0-or-later
"""The court packet: entries, their proofs and time stamps, in one file that a stranger can check.

    event ids ──► entries ──► first anchor over each ──► proof under that anchor's checkpoint
    disclosures ──► held against the entry's commitments     │
                                                             ▼
    read-me, proofs, stamps, convenience copies ──► bag ──► zip ──► checked ──► handed out

What lies where: `sealtrail.verify.contents`. A packet shows the personal values that the requester
supplies and the entry commits to, and says which others were erased. Before a packet leaves it
is checked with the published trust, as the stranger will: one that is refuted is never handed out.

The same request over the same log and vault gives the same files, but for the packet's id and date.
Source: RFC 8493 (BagIt), C2SP tlog-proof, RFC 3161.
"""

import logging
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from anchoring.shelf import Book
from evidence import packet_readme
from evidence.anchored import Evidence, entry_file
from evidence.packet_anchors import pem
from ledger import clock
from ledger.erasure.lawful import check_lawful
from ledger.errors import FieldError, IntegrityViolation, MalformedEvent, TooLarge, Unavailable
from ledger.reader import Stored
from ledger.request import UUID7
from sealtrail.verify import canonical
from sealtrail.verify.bag import seal
from sealtrail.verify.build import build_verifier
from sealtrail.verify.contents import LOG_KEYS, TSA_ROOTS
from sealtrail.verify.disclosure import check_disclosure, digest, is_name
from sealtrail.verify.errors import Refuted, VerifyError
from sealtrail.verify.packet import check_packet, read_packet
from sealtrail.verify.report import Verdict
from sealtrail.verify.trust import Trust
from sealtrail.verify.zip import ArchiveRefused, write_zip

log = logging.getLogger("sealtrail.packet")

MAX_ENTRIES: Final = 1_000

#: Why a field is not shown.
GROUND: Final = "not supplied by the requester"
#: … that the ledger itself could not show any more; the id is that of ERASURE entries.
ERASED: Final = "erased at the person's request, see erasure {}"

#: Entries whose values are looked for at a time.
_LOOKED: Final = 200

_VERIFIER: Final = "tools/verify.pyz"

Progress = Callable[[int, int], None]


class TrustUnreadable(Unavailable):
    """The published trust file cannot be read, so no packet can be checked before it leaves."""

    problem = "trust-unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketRequest:
    """Which entries, and for each the disclosures to be shown with it, by the field's name."""

    event_ids: tuple[str, ...]
    disclosures: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)

    def check(self) -> None:
        """Return if the request makes sense by itself; nothing is read for that.

        Raises MalformedEvent. No message repeats what was sent but the ids of events.
        """
        errors = list(self._complaints())
        if errors:
            raise MalformedEvent(errors[0].detail, errors=errors)

    def _complaints(self) -> Sequence[FieldError]:
        if not 1 <= len(self.event_ids) <= MAX_ENTRIES:
            return [FieldError("/event_ids", "count", f"a packet has 1 to {MAX_ENTRIES} entries")]
        errors = []
        seen: set[str] = set()
        for at, event_id in enumerate(self.event_ids):
            if not UUID7.fullmatch(event_id):
                errors.append(FieldError(f"/event_ids/{at}", "uuid7", "is not an event id"))
            elif event_id in seen:
                errors.append(FieldError(f"/event_ids/{at}", "duplicate", "is named before"))
            seen.add(event_id)
        for event_id, shown in self.disclosures.items():
            if event_id not in seen or not UUID7.fullmatch(event_id):
                errors.append(
                    FieldError("/disclosures", "unknown-event", "an event is not among event_ids")
                )
            elif not all(map(is_name, shown)):
                # Whatever stands there instead of a name may be somebody's.
                pointer = f"/disclosures/{event_id}"
                errors.append(FieldError(pointer, "name", "a key is not the name of a field"))
        return errors


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltPacket:
    """A packet that passed our own check."""

    packet_id: str  #: 32 random hex digits.
    data: bytes = field(repr=False)  #: The zip file.
    digest: bytes  #: SHA-256 of `data`.
    verdict: Verdict  #: `verified`, or `incomplete` while a time stamp or a root is missing.
    records: int


def build_packet(
    book: Book,
    request: PacketRequest,
    *,
    trust_file: Path,
    now: datetime | None = None,
    progress: Progress = lambda _done, _all: None,
) -> BuiltPacket:
    """Build a packet and check it as a stranger would, with the trust that we publish.

    progress(done, all) is called after each entry; about 3 ms per entry in all.
    Raises MalformedEvent for disclosures that an entry does not commit to, NotFound, Conflict for
    an entry that was not signed yet, TooLarge, TrustUnreadable, and IntegrityViolation if the
    ledger's own evidence does not hold.
    """
    request.check()
    now = clock.now() if now is None else now
    trust = read_trust(trust_file)
    steps = _Steps(progress, 2 * len(request.event_ids) + 1)

    records = _records(book, request, steps)
    evidence = Evidence(book, [record.stored for record in records], trust, now)
    files = evidence.files(steps.done)
    for record in records:
        files |= record.files()
    files |= _copies(book.row.origins, trust)
    packet_id = clock.random_bytes(16).hex()
    files[packet_readme.NAME] = packet_readme.read_me(
        packet_id=packet_id,
        made=clock.rfc3339(int(now.timestamp() * 1000)),
        origin=book.origin,
        entries=_lines(records, evidence),
        covers=evidence.covers,
        files=files,
    )
    data = _pack(files, packet_id, book.origin, now)
    verdict = _check(data, trust, now)
    steps.done()
    return BuiltPacket(
        packet_id=packet_id,
        data=data,
        digest=sha256(data).digest(),
        verdict=verdict,
        records=len(records),
    )


@dataclass(slots=True)
class _Steps:
    _progress: Progress
    _all: int
    _done: int = 0

    def done(self) -> None:
        self._done += 1
        self._progress(self._done, self._all)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """One entry and what is shown of its committed fields, by name."""

    stored: Stored
    shown: Mapping[str, str] = field(repr=False)
    erasures: Sequence[str]  #: That took something of this event.
    kept: Container[str]  #: Digests of what the vault could still open.

    @property
    def committed(self) -> Sequence[str]:
        digests: Sequence[str] = self.stored.entry.value.get("_sd", ())
        return digests

    def files(self) -> dict[str, bytes]:
        position = self.stored.position
        files = dict([entry_file(self.stored)])
        if self.shown:
            # Sorted by name, so that the order in which they came does not show.
            shown = [self.shown[name] for name in sorted(self.shown)]
            files[f"data/records/{position}.disclosures.json"] = canonical.encode(list(shown))
        covered = {digest(disclosure) for disclosure in self.shown.values()}
        withheld = [one for one in self.committed if one not in covered]
        if withheld:
            files[f"data/records/{position}.withheld.json"] = canonical.encode(
                [{"digest": one, "ground": self._ground(one)} for one in withheld]
            )
        return files

    def _ground(self, one: str) -> str:
        """Return why a field is not shown. Nobody can say which of two erasures took it."""
        if not self.erasures or one in self.kept:
            return GROUND
        return ERASED.format(" or ".join(self.erasures))


def _records(book: Book, request: PacketRequest, steps: _Steps) -> list[_Record]:
    """Read the entries, in order of position, and hold the disclosures against them."""
    found, errors = [], []
    for event_id in request.event_ids:
        stored = book.reader.find(event_id)
        shown = request.disclosures.get(event_id, {})
        sd = stored.entry.value.get("_sd", ())
        for name, disclosure in shown.items():
            rule = _broken_rule(name, disclosure, sd)
            if rule is not None:
                pointer = f"/disclosures/{event_id}/{name}"
                errors.append(FieldError(pointer, rule, _RULES[rule]))
        found.append((stored, shown))
        steps.done()
    if errors:
        raise MalformedEvent(errors[0].detail, errors=errors)
    found.sort(key=lambda one: one[0].position)
    return [
        record
        for begin in range(0, len(found), _LOOKED)
        for record in _with_grounds(book, found[begin : begin + _LOOKED])
    ]


def _with_grounds(
    book: Book, found: Sequence[tuple[Stored, Mapping[str, str]]]
) -> Iterator[_Record]:
    """Yield records that know what was erased of them.

    What is opened for it is shown to nobody: only its digests are compared. A vault that was
    tampered with takes nobody's proofs away; then no field is said to be erased.
    """
    wanted = {one.entry.event_id: one.entry.value.get("_sd", ()) for one, _ in found}
    try:
        opened = book.vault.open_all(wanted)
        check_lawful(book, [one for of in opened.values() for one in of.gone])
    except IntegrityViolation as error:
        log.critical("a packet says nothing of erasures: %s", error.problem)
        opened = {}
    for stored, shown in found:
        of = opened.get(stored.entry.event_id)
        erasures = of.erasures if of is not None else ()
        kept = {digest(text) for text in of.disclosures.values()} if of is not None else set[str]()
        yield _Record(stored=stored, shown=shown, erasures=erasures, kept=kept)


_RULES: Final = {
    "disclosure": "the text is not a disclosure",
    "not-committed": "the entry does not commit to this disclosure",
    "name": "the disclosure shows another field than the one it is given for",
}


def _broken_rule(name: str, disclosure: str, sd: Sequence[str]) -> str | None:
    try:
        shown, _ = check_disclosure(disclosure, sd)
    except Refuted:
        return "not-committed"
    except VerifyError:
        return "disclosure"
    return None if shown == name else "name"


def _lines(records: Sequence[_Record], evidence: Evidence) -> list[packet_readme.Line]:
    """Return the table of contents."""
    return [
        packet_readme.Line(
            position=record.stored.position,
            type=record.stored.entry.value["type"],
            recorded=record.stored.entry.value["time"]["recorded"],
            shown=len(record.shown),
            committed=len(record.committed),
            anchor=None if cover is None else cover.size,
        )
        for record in records
        for cover in [evidence.over[record.stored.position]]
    ]


def read_trust(path: Path) -> Trust:
    """Return what is published to be trusted; raises TrustUnreadable."""
    """Return what we publish for others to trust; raises TrustUnreadable."""
    try:
        return Trust.parse(path.read_bytes())
    except (OSError, VerifyError) as error:
        raise TrustUnreadable from error


def _copies(origins: Sequence[str], trust: Trust) -> dict[str, bytes]:
    """Return what is there for convenience and proves nothing: keys, roots, the verifier."""
    files = {_VERIFIER: _verifier()}
    keys = [key for origin in origins for key in trust.origins.get(origin, ())]
    if keys:
        files[LOG_KEYS] = "".join(f"{key.vkey()}\n" for key in keys).encode()
    if trust.tsa_roots:
        files[TSA_ROOTS] = pem(trust.tsa_roots)
    return files


@cache
def _verifier() -> bytes:
    return build_verifier()


def _pack(files: Mapping[str, bytes], packet_id: str, origin: str, now: datetime) -> bytes:
    info = {
        "External-Identifier": packet_id,
        "External-Description": f"Entries of the audit log {origin} with their proofs",
        "Bagging-Date": f"{now:%Y-%m-%d}",
    }
    bag = seal(files, info)
    try:
        return write_zip({f"packet-{packet_id}/{name}": data for name, data in bag.items()})
    except ArchiveRefused as error:
        raise TooLarge("the packet would be larger than 256 MiB; ask for fewer entries") from error


def _check(data: bytes, trust: Trust, now: datetime) -> Verdict:
    """Return the verdict of our own check; a refuted packet is evidence against this ledger."""
    try:
        report = check_packet(read_packet(data), trust=trust, now=now)
    except VerifyError as error:
        raise IntegrityViolation("the packet that was built cannot be read") from error
    for finding in report.findings:
        if finding.verdict == "refuted":
            raise IntegrityViolation(
                f"our own check refutes the packet: {finding.subject}, {finding.check}:"
                f" {finding.sentence}"
            )
    return report.verdict
