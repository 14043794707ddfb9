# SPDX-License-Identifier: GPL-3.0-or-later
"""Which entries a CAP pack speaks of: those of its days, each call with its whole life.

A call belongs to the pack in whose range its attempt lies, wherever in the log its outcome stands;
an outcome in the range whose attempt is older belongs to an earlier pack. So each attempt is in
just one pack, and no pack shows an outcome without its attempt.
"""

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from anchoring.shelf import Book
from evidence.cap_calls import Call
from evidence.cap_events import Fact, export, ingest, train
from evidence.cap_json import JSON
from evidence.cap_sign import hash_text
from ledger import clock
from ledger.erasure.lawful import check_lawful
from ledger.errors import FieldError, MalformedEvent
from ledger.reader import Stored
from sealtrail.verify import canonical
from sealtrail.verify.disclosure import digest

#: Entries that one pack looks at, at most; what has more is asked for in parts of so many.
PART_ENTRIES: Final = 20_000
DAYS_MAX: Final = 366
_CHUNK: Final = 500
DIRECT: Final[dict[str, Callable[[Fact], JSON]]] = {
    "INGEST": ingest,
    "TRAIN": train,
    "EXPORT": export,
}
_SAID: Final = frozenset(
    {
        *DIRECT,
        "GEN_ATTEMPT",
        "OUTCOME_LATE",
        "GEN",
        "GEN_DENY",
        "GEN_ERROR",
        "MODERATION",
        "GEN_ESCALATED",
        "HUMAN_REVIEW",
        "HUMAN_OVERRIDE",
        "OUTPUT_RELEASED",
        "OUTPUT_DESTROYED",
    }
)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CapRequest:
    """From the first UTC day to the last, both included; a long range in numbered parts, from 1."""

    first: str
    last: str
    part: int = 1

    def check(self) -> None:
        """Return if these are days in their order; raises MalformedEvent, reads nothing."""
        errors = []
        for pointer, day in (("/from", self.first), ("/to", self.last)):
            try:
                clock.day_start(day)
            except ValueError:
                errors.append(FieldError(pointer, "day", "a day is written as 2026-01-14"))
        if not errors and not 0 <= self._days() <= DAYS_MAX:
            detail = f"the last day is not before the first, and at most {DAYS_MAX} days after it"
            errors.append(FieldError("/to", "range", detail))
        if not 1 <= self.part <= 1_000_000:
            errors.append(FieldError("/part", "range", "parts are counted from 1"))
        if errors:
            raise MalformedEvent(errors[0].detail, errors=errors)

    @property
    def start_ms(self) -> int:
        return clock.day_start(self.first)

    @property
    def end_ms(self) -> int:
        """The first moment that is outside."""
        return clock.day_start(self.last) + clock.DAY_MS

    def _days(self) -> int:
        return (clock.day_start(self.last) - clock.day_start(self.first)) // clock.DAY_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Positions [begin, end) of one part, under the first `size` entries of the log."""

    begin: int
    end: int
    size: int
    part: int
    parts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the range says in CAP, in the order of the log; not chained yet."""

    events: list[JSON]
    late: int  #: Outcomes that came after the ledger had closed their attempt.


def range_of(book: Book, request: CapRequest) -> Range:
    """Find the positions of the asked days; reads recorded times only.

    Raises MalformedEvent for a part that is not there.
    """
    size = book.notary.refresh()[1].size
    begin = book.reader.first_at_or_after(request.start_ms)
    end = book.reader.first_at_or_after(request.end_ms)
    first = size if begin is None else min(begin, size)
    last = size if end is None else min(end, size)
    parts = max(1, -(-(last - first) // PART_ENTRIES))
    if request.part > parts:
        detail = f"these days have {parts} parts of {PART_ENTRIES} entries"
        raise MalformedEvent(detail, errors=[FieldError("/part", "range", detail)])
    start = first + (request.part - 1) * PART_ENTRIES
    return Range(
        begin=start,
        end=min(last, start + PART_ENTRIES),
        size=size,
        part=request.part,
        parts=parts,
    )


def say(book: Book, within: Range, progress: Progress = lambda _done, _all: None) -> Said:
    """Read the entries of a range and say them in CAP's events.

    progress(done, all): entries read. Raises BodyCold or BodyExpired for an entry whose bytes are
    not at hand, ErasureUnknown for values that are gone and no erasure in the log says so.
    """
    events: list[tuple[int, JSON]] = []
    calls: dict[str, Call] = {}
    late = 0
    for fact in _facts(book, within, progress):
        if fact.type in DIRECT:
            events.append((fact.stored.position, DIRECT[fact.type](fact)))
        elif fact.type == "GEN_ATTEMPT":
            calls[fact.aggregate_id] = Call(fact)
        elif fact.aggregate_id in calls:
            calls[fact.aggregate_id].add(fact)
            late += fact.type == "OUTCOME_LATE"
    for id_, call in calls.items():
        if call.outcome is None or "quarantined" in _dispositions(call):
            _follow(book, id_, call, within)
        events += [(one["Sealtrail"]["Position"], one) for one in call.events()]
    return Said(events=[one for _, one in sorted(events, key=_place)], late=late)


def _dispositions(call: Call) -> list[str]:
    outputs = call.outcome.body.get("outputs", ()) if call.outcome is not None else ()
    return [one.get("disposition", "") for one in outputs]


def _place(placed: tuple[int, JSON]) -> int:
    return placed[0]


def _facts(book: Book, within: Range, progress: Progress) -> Iterator[Fact]:
    for at in range(within.begin, within.end, _CHUNK):
        end = min(at + _CHUNK, within.end)
        stored = book.reader.between(at, end)
        yield from facts_of(book, [one for one in stored if one.entry.value["type"] in _SAID])
        progress(end - within.begin, within.end - within.begin)


def _follow(book: Book, id_: str, call: Call, within: Range) -> None:
    """Look behind the range for what became of a call."""
    entries = book.reader.of_stream(f"Generation/{id_}")
    later = [one for one in entries if within.end <= one.position < within.size]
    for fact in facts_of(book, later):
        call.add(fact)


def facts_of(book: Book, entries: Sequence[Stored]) -> list[Fact]:
    """Return entries with the digests of what they commit to, by name; no value is kept."""
    sealed = {one.entry.event_id: one.entry.value.get("_sd", ()) for one in entries}
    opened = book.vault.open_all({event_id: sd for event_id, sd in sealed.items() if sd})
    check_lawful(book, [gone for one in opened.values() for gone in one.gone])
    named = {
        event_id: {name: _hexadecimal(digest(text)) for name, text in one.disclosures.items()}
        for event_id, one in opened.items()
    }
    return [
        Fact(
            stored=one,
            tenant=book.row.tenant,
            origin=book.origin,
            committed=named.get(one.entry.event_id, {}),
            sealed_by_client=hash_text(canonical.encode(list(sealed[one.entry.event_id]))),
        )
        for one in entries
    ]


def _hexadecimal(digest_: str) -> str:
    """Return a digest of `_sd`, which is in base64url, as CAP spells one."""
    return f"sha256:{base64.urlsafe_b64decode(digest_ + '=').hex()}"
