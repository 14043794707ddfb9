# SPDX-License-Identifier: GPL-3.0-or-later
"""Derives every completeness report again: numbers, ranges, counts, open attempts, the tree's root.

    reports   numbered without a gap over both kinds, each naming the one before
    ranges    of a UTC day, by the times of the entries around their ends; of both kinds the same
    counts    of each attempt with an index in the range, as the log was when the report looked
    root      of the tree over all of them

Who has the log key can have a false report signed, and whoever is shown a proof out of it will
believe it: only who has all entries can tell, and this is where. The index columns must have been
compared with the bytes before.
"""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from psycopg import sql

from anchoring.completeness import REPORT, Tally, cited, counts_json
from anchoring.outcomes import Attempt, attempts_of, late_recorded
from anchoring.sum_tree import AttemptTwice, Leaf, build
from anchoring.tile_walk import Damage
from ledger import catalog, clock
from ledger.database import Connection
from ledger.errors import MalformedEvent
from sealtrail.verify.sum_tree import Keys, Node

JSON = dict[str, Any]

TOLD: Final = frozenset({REPORT})


class _Report(NamedTuple):
    """A report of the log."""

    position: int
    body: JSON

    @property
    def as_of(self) -> int | None:
        """Up to which size it looked; reports of the first version do not say."""
        value = self.body.get("as_of")
        return None if value is None else int(value)


class CompletenessWalk:
    """Takes the reports of one log as they come; says at the end what is not so.

    origins: all that the Book's entries were signed under.
    """

    def __init__(self, schema: str, origins: tuple[str, ...]) -> None:
        self._schema, self._origins = schema, origins
        self._reports: list[_Report] = []
        self._anchors: list[tuple[int, JSON]] = []
        self._unfit: list[int] = []  #: Positions of reports that contradict themselves.
        book = sql.Identifier(schema)
        self._named = sql.SQL(
            "SELECT position, event_id::text FROM {}.entry WHERE position = ANY(%s)"
        ).format(book)
        self._times = sql.SQL(
            "SELECT position, recorded_at FROM {}.entry WHERE position = ANY(%s)"
        ).format(book)

    def take(self, position: int, type_: str, body: JSON) -> None:
        """Note a report, or an ANCHOR, at `position`."""
        if type_ == "ANCHOR":
            self._anchors.append((position, body))
            return
        try:
            catalog.validate(REPORT, 1, body, {}, by_ledger=True)
        except MalformedEvent:
            self._unfit.append(position)
        else:
            self._reports.append(_Report(position, body))

    def finish(self, connection: Connection) -> Iterator[Damage]:
        """Compare. A range is read once for its reports of both kinds."""
        yield from _said((position, "contradicts itself") for position in self._unfit)
        yield from _said(self._chain(connection))
        days: dict[str, list[_Report]] = {}
        for report in self._reports:
            days.setdefault(report.body["day"], []).append(report)
        for day, found in days.items():
            yield from _said(self._range(connection, day, found))
            yield from _said(self._outcomes(connection, found))
        yield from self._cited()

    def _chain(self, connection: Connection) -> Iterator[tuple[int, str]]:
        positions = [report.position for report in self._reports]
        names: dict[int, str] = dict(connection.execute(self._named, (positions,)).fetchall())
        before: str | None = None
        for number, (position, body) in enumerate(self._reports, 1):
            if body["number"] != number:
                yield position, f"has number {body['number']}, and is number {number}"
            if body.get("previous") != before:
                yield position, "does not name the report before"
            before = names.get(position)

    def _range(
        self, connection: Connection, day: str, found: list[_Report]
    ) -> Iterator[tuple[int, str]]:
        start = clock.day_start(day)
        for report in found:
            position, body = report
            begin, end = body["from_size"], body["to_size"]
            edges = [begin - 1, begin, end - 1, end]
            times: dict[int, int] = dict(connection.execute(self._times, (edges,)).fetchall())
            fits = end <= position and _parts(times, begin, start)
            if not fits or not _parts(times, end, start + clock.DAY_MS):
                yield position, "has a range that is not its day's"
            if not end <= (end if report.as_of is None else report.as_of) <= position:
                yield position, "looked at another log than there was"

    def _outcomes(self, connection: Connection, found: list[_Report]) -> Iterator[tuple[int, str]]:
        """Compare counts and root; of one day all reports have one range, or were complained of."""
        by_range: dict[tuple[int, int], list[_Report]] = {}
        for report in found:
            edges = report.body["from_size"], report.body["to_size"]
            by_range.setdefault(edges, []).append(report)
        for (begin, end), reports in by_range.items():
            if begin <= end <= min(report.position for report in reports):
                yield from self._compare(connection, begin, end, reports)

    def _compare(
        self, connection: Connection, begin: int, end: int, reports: list[_Report]
    ) -> Iterator[tuple[int, str]]:
        finals = [one for one in reports if one.body["kind"] == "final"]
        tallies = [(one, Tally(one.as_of)) for one in reports if one.as_of is not None]
        origin = finals[0].body["outcomes"]["origin"] if finals else None
        counted = _Counted()
        attempts = attempts_of(connection, self._schema, begin, end, keyed=origin)
        passing = counted.passing(attempts, [tally for _, tally in tallies])
        root: Node | None = None
        for final in finals[:1]:
            try:
                root = build(_leaves(passing, origin or "", final.as_of or 0)).root
            except AttemptTwice:
                yield final.position, "is of a range in which an attempt has two outcomes"
        for _ in passing:
            pass  # All are counted, whatever became of the tree.
        late = late_recorded(connection, self._schema, begin, end)
        yield from _miscounted(tallies, late)
        for report in reports:
            if report.as_of is None and report.body["counts"]["attempts"] != counted.attempts:
                yield report.position, "counts other attempts than the entries give"
        yield from self._misrooted(finals, root)

    def _misrooted(self, finals: list[_Report], root: Node | None) -> Iterator[tuple[int, str]]:
        for report in finals:
            said = report.body["outcomes"]
            if said["origin"] not in self._origins:
                yield report.position, "names a tree under an origin that this log never had"
            elif root is not None and (
                said["root"] != f"sha256:{root.hash.hex()}"
                or report.body["counts"] != counts_json(root.counts)
            ):
                yield report.position, "names another tree than the outcomes give"

    def _cited(self) -> Iterator[Damage]:
        """Compare what anchors say of the newest final report under their checkpoints."""
        finals = [one for one in self._reports if one.body["kind"] == "final"]
        positions = [one.position for one in finals]
        for position, body in self._anchors:
            said = body.get("completeness")
            if said is None:
                continue
            under = bisect_left(positions, body["checkpoint"]["size"])
            if not under or said != cited(finals[under - 1].body):
                sentence = f"the anchor recorded at position {position} names another final report"
                yield position, "report", sentence


_OPEN: Final = ("open_count", "open", "open_digest")


def _miscounted(tallies: list[tuple[_Report, Tally]], late: int) -> Iterator[tuple[int, str]]:
    for report, tally in tallies:
        body = report.body
        if body["counts"] != tally.json() or body.get("late_recorded") != late:
            yield report.position, "counts other outcomes than the entries give"
        told = {name: body[name] for name in _OPEN if name in body}
        if body["kind"] == "provisional" and told != tally.open_json():
            yield report.position, "names other open attempts than the entries give"


class _Counted:
    """Counts attempts on their way to somebody else."""

    attempts = 0

    def passing(self, attempts: Iterator[Attempt], tallies: list[Tally]) -> Iterator[Attempt]:
        for attempt in attempts:
            self.attempts += 1
            for tally in tallies:
                tally.take(attempt)
            yield attempt


def _leaves(attempts: Iterator[Attempt], origin: str, as_of: int) -> Iterator[Leaf]:
    """Yield the leaves of what had ended; what had not is missing, as the counts will show."""
    keys = Keys(origin)
    for attempt in attempts:
        outcome = attempt.outcome(as_of)
        if outcome is not None:
            yield keys.key(attempt.attempt_id), outcome


def _parts(times: dict[int, int], position: int, moment: int) -> bool:
    """Say if all before `position` was recorded before a moment, and all from there on after it."""
    before, after = times.get(position - 1), times.get(position)
    return (position == 0 or (before is not None and before < moment)) and (
        after is not None and moment <= after
    )


def _said(found: Iterator[tuple[int, str]]) -> Iterator[Damage]:
    for position, wrong in found:
        yield position, "report", f"the report at position {position} {wrong}"
