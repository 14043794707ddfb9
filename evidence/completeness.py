# SPDX-License-Identifier: GPL-3.0-or-later
"""How the attempts of a closed day ended, or one of them, as a statement that a stranger can check.

    day ──► its reports, anchored          attempt ──► final report: the way to its leaf in the tree
                                                  └──► not yet:     its place in the open list

What is claimed is derived from the entries again, and held against the roots and digests in the
reports: one that does not fit is our own damage (IntegrityViolation) and never handed out. What is
checked with it: `sealtrail.verify.completeness`.
"""

from collections import OrderedDict
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any, Final

from anchoring.completeness import StillOpen, leaves_of, open_digest, reports_of
from anchoring.outcomes import FULL, attempts_of, position_of
from anchoring.shelf import Book
from anchoring.sum_tree import AttemptTwice, Crown, Leaf
from evidence.anchored import anchored_entries
from ledger import clock
from ledger.errors import FieldError, IntegrityViolation, MalformedEvent, NotFound
from ledger.reader import Stored
from sealtrail.verify import canonical
from sealtrail.verify.completeness import LIMITS
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.statement import check_statement, read_statement
from sealtrail.verify.sum_tree import Counts, Keys, Outcome, SumPath, check_path
from sealtrail.verify.trust import Trust

JSON = dict[str, Any]

#: A list of more open attempts than this is not shown whole; the statement is then incomplete.
OPEN_SHOWN: Final = 10_000

_NO_LONGER: Final = "the outcomes in the log no longer give the root that their final report names"
_NOBODY: Final = Trust(origins={}, tsa_roots=())
_ZERO: Final = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """What the log says of the attempts of one day."""

    origin: str
    day: str
    reports: Mapping[str, Stored]  #: By kind; there is no final one while attempts may be open.
    attempt: JSON | None  #: Of the attempt that was asked for: id, state, and positions.
    statement: JSON = field(repr=False)
    event_ids: list[str]  #: Of all entries that the statement shows.

    def json(self) -> JSON:
        """Return the reports as they stand in the log, and the statement to check them by."""
        told: JSON = {"origin": self.origin, "day": self.day}
        for kind in ("provisional", "final"):
            stored = self.reports.get(kind)
            told[kind] = None
            if stored is not None:
                where = {"event_id": stored.entry.event_id, "position": stored.position}
                told[kind] = {**where, **stored.entry.value["body"]}
        if self.attempt is not None:
            told["attempt"] = self.attempt
        return {**told, "statement": self.statement}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which day, and which attempt of it if any.

    entries: whether to show the attempt's own entries, too, so that nothing about it is taken on
    the word of a report.
    """

    day: str
    attempt_id: str | None = None
    entries: bool = False

    def check(self) -> None:
        """Return if the question makes sense by itself; raises MalformedEvent."""
        try:
            clock.day_start(self.day)
        except ValueError:
            detail = "a day is written YYYY-MM-DD"
            raise MalformedEvent(errors=[FieldError("/query/day", "day", detail)]) from None


def completeness(
    book: Book, question: Question, *, trust: Trust = _NOBODY, now: datetime | None = None
) -> Completeness:
    """Return what is known of a closed day, with its proof.

    The first question about a day reads all of its attempts, a million in about a minute; later
    ones some of them. Raises MalformedEvent, NotFound for a day that was not reported or an attempt
    that is none of it, IntegrityViolation, and what evidence.anchored raises.
    """
    question.check()
    now = clock.now() if now is None else now
    found = reports_of(book, question.day)
    if "provisional" not in found:
        raise NotFound("there is no report of this day: it is not closed, or the night has not run")
    statement: JSON = {
        "statement": "completeness/1",
        "origin": book.origin,
        "made": clock.rfc3339(int(now.timestamp() * 1000)),
        "day": question.day,
        "reports": {kind: stored.position for kind, stored in found.items()},
        "limits": list(LIMITS),
    }
    positions = [stored.position for stored in found.values()]
    attempt: JSON | None = None
    if question.attempt_id is not None:
        said = _attempt(book, question, found)
        statement["attempt"] = said
        shown = {name: said[name] for name in said if name not in ("path", "open")}
        attempt = {**shown, **_positions(said)}
        positions += said.get("entries", {}).values()
    elif "final" in found:
        statement["totals"] = _path(book, found["final"], _ZERO).json()
    statement["anchored"] = anchored_entries(book, positions, trust=trust, now=now)
    _check(statement, trust, now)
    shown_ids = [stored.entry.event_id for stored in found.values()]
    if attempt is not None:
        own = attempt.get("entries", {}).values()
        shown_ids += [book.reader.at(position).entry.event_id for position in own]
    return Completeness(
        origin=book.origin,
        day=question.day,
        reports=found,
        attempt=attempt,
        statement=statement,
        event_ids=shown_ids,
    )


def _positions(said: JSON) -> JSON:
    """Return what the end of a path says of the attempt itself."""
    end: JSON = said.get("path", {}).get("terminal", {})
    if said["state"] not in ("gen", "deny", "error"):
        return {}
    return {name: end[name] for name in ("attempt_index", "outcome_index", "late")}


def _attempt(book: Book, question: Question, found: Mapping[str, Stored]) -> JSON:
    attempt_id = question.attempt_id or ""
    if "final" in found:
        outcome, path = _walk(book, found["final"], attempt_id)
        state = "absent" if outcome is None else outcome.state
        said: JSON = {"attempt_id": attempt_id, "state": state, "path": path.json()}
        if question.entries and outcome is not None:
            said["entries"] = {
                "attempt": outcome.attempt_index,
                "outcome": outcome.outcome_index,
            }
        return said
    return _before_the_final(book, question, attempt_id, found["provisional"])


# Of a day that was reported for good


def _walk(book: Book, final: Stored, attempt_id: str) -> tuple[Outcome | None, SumPath]:
    """Return what the final report's tree holds for an attempt, and the way there."""
    body = final.entry.value["body"]
    key = Keys(body["outcomes"]["origin"]).key(attempt_id)
    path = _path(book, final, key)
    return _checked(body, key, path)[0], path


#: The uppermost nodes of the trees that were asked about last, by schema and the report's event.
_crowns: Final[OrderedDict[tuple[str, str], Crown]] = OrderedDict()
_crowns_lock: Final = Lock()
_CROWNS_MOST: Final = 32


def _path(book: Book, final: Stored, key: bytes) -> SumPath:
    """Return the way to a key in the final report's tree, which must have that report's root."""
    body, name = final.entry.value["body"], (book.row.schema, final.entry.event_id)
    with _crowns_lock:
        crown = _crowns.get(name)
    try:
        if crown is None:
            with closing(_leaves(book, body)) as leaves:
                crown = Crown.of(leaves)
            with _crowns_lock:
                _crowns[name] = crown
                while len(_crowns) > _CROWNS_MOST:
                    _crowns.popitem(last=False)
        path = crown.path(key, lambda first, last: list(_leaves(book, body, (first, last))))
    except (StillOpen, AttemptTwice):
        raise IntegrityViolation(_NO_LONGER) from None
    try:
        _checked(body, key, path)
    except IntegrityViolation:
        with _crowns_lock:
            _crowns.pop(name, None)  # Made of what was not so.
        raise
    return path


def _leaves(
    book: Book, body: JSON, between: tuple[bytes, bytes] = FULL
) -> Generator[Leaf, None, None]:
    """Yield leaves of the final report's tree in the order of their keys."""
    origin, schema = body["outcomes"]["origin"], book.row.schema
    begin, end = body["from_size"], body["to_size"]
    with (
        book.database.duty(schema, "read") as connection,
        closing(
            attempts_of(connection, schema, begin, end, keyed=origin, between=between)
        ) as attempts,
    ):
        yield from leaves_of(attempts, origin, body["as_of"])


def _checked(body: JSON, key: bytes, path: SumPath) -> tuple[Outcome | None, Counts]:
    root = bytes.fromhex(body["outcomes"]["root"].removeprefix("sha256:"))
    try:
        return check_path(root, key, path)
    except VerifyError as error:
        raise IntegrityViolation(_NO_LONGER) from error


# Before that


def _before_the_final(book: Book, question: Question, attempt_id: str, first: Stored) -> JSON:
    """Return what the provisional report says of an attempt."""
    body = first.entry.value["body"]
    with book.database.duty(book.row.schema, "read") as connection:
        index = position_of(connection, book.row.schema, attempt_id)
    if index is None or not body["from_size"] <= index < body["to_size"]:
        raise NotFound("there is no attempt of this id in this day")
    said: JSON = {"attempt_id": attempt_id, "state": "open"}
    listed = any(one["attempt_id"] == attempt_id for one in body["open"])
    if not listed and "open_digest" not in body:
        said["state"] = "ended"
    elif not listed:
        everyone = _open_then(book, first)
        if not any(one["attempt_id"] == attempt_id for one in everyone):
            said["state"] = "ended"
        elif len(everyone) <= OPEN_SHOWN:
            said["open"] = everyone
    if question.entries:
        said["entries"] = {"attempt": index}
    return said


def _open_then(book: Book, first: Stored) -> list[JSON]:
    """Return all attempts that were open when the provisional report looked."""
    body, schema = first.entry.value["body"], book.row.schema
    as_of = int(body.get("as_of", first.position))
    with book.database.duty(schema, "read") as connection:
        everyone = [
            {"attempt_id": attempt.attempt_id, "index": attempt.position}
            for attempt in attempts_of(connection, schema, body["from_size"], body["to_size"])
            if attempt.outcome(as_of) is None
        ]
    if open_digest(everyone) != body["open_digest"]:
        raise IntegrityViolation(
            "the attempts in the log are not those that the provisional report lists as open"
        )
    return everyone


def _check(statement: JSON, trust: Trust, now: datetime) -> None:
    """Return if our own check does not refute the statement."""
    try:
        read = read_statement(canonical.encode(statement))
        report = check_statement(read, trust=trust if trust.origins else None, now=now)
    except VerifyError as error:
        raise IntegrityViolation("the statement that was made cannot be read") from error
    for finding in report.findings:
        if finding.verdict == "refuted":
            raise IntegrityViolation(
                f"our own check refutes the statement: {finding.check}: {finding.sentence}"
            )
