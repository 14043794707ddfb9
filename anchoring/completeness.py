# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of every attempt of a closed day: provisionally that night, and then for good.

    day closed ──► provisional: how many attempts, how they ended, which are open
                        │  the last of them ends, by its outcome or by its deadline
                        ▼
                   final: attempts = gen + deny + error, and the root of a tree that holds the
                          outcome of each attempt of the range and fixes these numbers

Reports are numbered over both kinds and each names the one before, so that none can be missing.
Final ones are made in order of their days, once for each (ledger.lifecycle). Each says at which
size of the log it looked: what came later is in no doubt, but not in it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from hashlib import sha256
from typing import Any, Final

from anchoring.outcomes import Attempt, any_open, attempts_of, late_recorded
from anchoring.output_map import output_map
from anchoring.output_roll import roll_due
from anchoring.shelf import Book
from anchoring.sum_tree import Leaf, build
from ledger.lifecycle import OutOfOrder
from ledger.reader import Stored
from ledger.request import ledger_made
from sealtrail.verify import canonical
from sealtrail.verify.sum_tree import Counts, Keys

JSON = dict[str, Any]

REPORT: Final = "COMPLETENESS_REPORT"
LISTED: Final = 64

_PAGE: Final = 64
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('sealtrail.reports'), hashtext(%s))"


class StillOpen(Exception):  # noqa: N818 - not an accident: it is the usual state of a young day
    """An attempt of the range has no outcome yet."""


def reports(book: Book, end: int | None = None) -> Iterator[Stored]:
    """Yield every report of a Book, the newest first; end: only those before that position."""
    while True:
        page = book.reader.of_topic(f"{REPORT}/1", end=end, limit=_PAGE)
        yield from page
        if len(page) < _PAGE:
            return
        end = page[-1].position


def reports_of(book: Book, day: str) -> dict[str, Stored]:
    """Return the reports of one day by their kinds; empty before the day is closed."""
    return {
        stored.entry.value["body"]["kind"]: stored
        for stored in book.reader.of_stream(f"AnchorDay/{day}")
        if stored.entry.value["type"] == REPORT
    }


def waiting(book: Book) -> list[JSON]:
    """Return the provisional reports of all days without a final one, oldest first."""
    newest = ""  # Day of the newest final report: all before it have one.
    found: list[JSON] = []
    for report in reports(book):
        body: JSON = report.entry.value["body"]
        if body["kind"] == "final":
            newest = max(newest, body["day"])
        elif body["day"] <= newest:
            break
        else:
            found.append(body)
    return found[::-1]


def provisional_report(book: Book, *, day: str, from_size: int, to_size: int) -> JSON:
    """Return the first report of the range [from_size, to_size), but for its number."""
    schema, as_of = book.row.schema, book.reader.head().size
    tally = Tally(as_of)
    with book.database.duty(schema, "read") as connection:
        for attempt in attempts_of(connection, schema, from_size, to_size):
            tally.take(attempt)
        late = late_recorded(connection, schema, from_size, to_size)
    return {
        "kind": "provisional",
        "day": day,
        "from_size": from_size,
        "to_size": to_size,
        "as_of": as_of,
        "counts": tally.json(),
        "late_recorded": late,
        **tally.open_json(),
    }


def final_report(book: Book, *, day: str, from_size: int, to_size: int) -> JSON | None:
    """Return the final report of [from_size, to_size), but for its number; None while one is open.

    A million attempts take about a minute, and no more memory than a few. Raises AttemptTwice if
    one has two outcomes.
    """
    schema, as_of = book.row.schema, book.reader.head().size
    with book.database.duty(schema, "read") as connection:
        if any_open(connection, schema, from_size, to_size):
            return None
        late = late_recorded(connection, schema, from_size, to_size)
        keyed = attempts_of(connection, schema, from_size, to_size, keyed=book.origin)
        with closing(keyed) as attempts:
            try:
                root = build(leaves_of(attempts, book.origin, as_of)).root
            except StillOpen:  # Its outcome came just now, and is not counted yet.
                return None
    return {
        "kind": "final",
        "day": day,
        "from_size": from_size,
        "to_size": to_size,
        "as_of": as_of,
        "counts": counts_json(root.counts),
        "late_recorded": late,
        "outcomes": {"origin": book.origin, "root": f"sha256:{root.hash.hex()}"},
    }


def leaves_of(attempts: Iterator[Attempt], origin: str, as_of: int) -> Iterator[Leaf]:
    """Yield the leaves of attempts that come in the order of their keys."""
    keys = Keys(origin)
    for attempt in attempts:
        outcome = attempt.outcome(as_of)
        if outcome is None:
            raise StillOpen
        yield keys.key(attempt.attempt_id), outcome


class Tally:
    """Counts the attempts of a range as they had ended at one size of the log."""

    def __init__(self, as_of: int) -> None:
        self._as_of = as_of
        self._counts: Counter[str] = Counter()
        self._open: list[tuple[int, str]] = []

    def take(self, attempt: Attempt) -> None:
        """Count one; in any order."""
        self._counts["attempts"] += 1
        outcome = attempt.outcome(self._as_of)
        if outcome is None:
            self._open.append((attempt.position, attempt.attempt_id))
        else:
            self._counts[outcome.state] += 1
            self._counts["late"] += outcome.late

    def json(self) -> dict[str, int]:
        """Return the member `counts`."""
        return {name: self._counts[name] for name in ("attempts", *Counts._fields)}

    def open_json(self) -> JSON:
        """Return the members that say which attempts were open."""
        everyone = [{"attempt_id": id_, "index": index} for index, id_ in sorted(self._open)]
        told: JSON = {"open_count": len(everyone), "open": everyone[:LISTED]}
        if len(everyone) > LISTED:
            told["open_digest"] = open_digest(everyone)
        return told


def open_digest(everyone: Sequence[JSON]) -> str:
    """Return what commits to all open attempts of a range, each with its id and index."""
    return f"sha256:{sha256(canonical.encode(list(everyone))).hexdigest()}"


def counts_json(counts: Counts) -> dict[str, int]:
    """Return the member `counts` of a final report."""
    return {"attempts": counts.attempts, **counts._asdict()}


def cited(final: JSON) -> JSON:
    """Return what an ANCHOR says of the newest final report under its checkpoint."""
    return {"day": final["day"], "root": final["outcomes"]["root"]}


class Reports:
    """Makes the reports of one Book; safe to repeat, and beside another process."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def provisional(self, day: str, begin: int, end: int) -> None:
        """Report a closed day, unless it was."""
        if "provisional" not in reports_of(self._book, day):
            self._record(provisional_report(self._book, day=day, from_size=begin, to_size=end))

    def newest_final(self, size: int) -> JSON | None:
        """Return the newest final report among the first `size` entries."""
        found = (one for one in reports(self._book, size) if _is_final(one))
        return next((one.entry.value["body"] for one in found), None)

    def finals(self) -> list[str]:
        """Report for good every day whose attempts have all ended, in order; returns the days."""
        done = []
        for body in waiting(self._book):
            begin, end = body["from_size"], body["to_size"]
            final = final_report(self._book, day=body["day"], from_size=begin, to_size=end)
            if final is None:
                break
            if self._book.row.kind == "main":  # Nothing is put out by a record of looks.
                final["outputs"] = output_map(self._book, body["day"], begin, end)
            self._record(final)
            done.append(body["day"])
        if done and self._book.row.kind == "main":
            roll_due(self._book, done[-1])
        return done

    def _record(self, body: JSON) -> None:
        """Number a report and record it, unless another night was faster."""
        with self._turn(), suppress(OutOfOrder):
            numbered = body | {"number": 1}
            for last in self._book.reader.of_topic(f"{REPORT}/1", limit=1):
                numbered["number"] = last.entry.value["body"]["number"] + 1
                numbered["previous"] = last.entry.event_id
            self._book.record_own(ledger_made(REPORT, body["day"], numbered))

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until nobody else numbers a report of this Book."""
        schema = self._book.row.schema
        with (
            self._book.database.duty(schema, "append") as connection,
            connection.transaction(),
        ):
            connection.execute(_LOCK, (schema,))
            yield


def _is_final(report: Stored) -> bool:
    return bool(report.entry.value["body"]["kind"] == "final")
