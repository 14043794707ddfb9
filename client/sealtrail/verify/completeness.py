# SPDX-License-Identifier: Apache-2.0
"""How the attempts of one day ended, or how one of them did, as the log itself has reported it.

    {"statement": "completeness/1", "origin": "ledger.example/acme", "made": "2026-01-15T...",
     "day": "2026-01-14",
     "reports": {"provisional": 1042, "final": 1044},           positions; `final` when there is one
     "totals": {"siblings": [...], "terminal": {...}},           the way to the key of 32 zero bytes
     "attempt": {"attempt_id": "a-1", "state": "gen", "path": {...},
                 "entries": {"attempt": 7, "outcome": 9}},
     "anchored": {"files": {...}}}

`state` is gen, deny, error or absent, which a path to the final report's root shows; or open, which
the list of the provisional report shows, in part or whole (`open`, held against its digest); or
ended, for which there is no proof before the final report. A path also shows the totals, so a
statement without an attempt has one in `totals`. The roots are taken from the reports, and from
nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, Final

from sealtrail.verify import canonical
from sealtrail.verify.anchored import Claim
from sealtrail.verify.errors import Incomplete, Refuted, Unreadable, VerifyError
from sealtrail.verify.report import Told
from sealtrail.verify.sum_tree import (
    STATES,
    Counts,
    Keys,
    Outcome,
    SumPath,
    check_path,
    read_count,
)

#: What no such statement shows; the ledger prints the same.
LIMITS: Final = (
    "whether every GEN_ATTEMPT of the range is in the map: only someone with all entries can check",
    "whether the range is the whole day, and the log holds no other report of it: the same",
    "outcomes that came late, after the report: they are counted in that of the day they came in",
    "whether an attempt was never sent to the ledger",
)
_SINCE: Final = "what became of the attempt since then: no final report of its day is shown"
_UNSEEN: Final = (
    "what the entries at the positions of the attempt and its outcome say: they are not shown; hold"
    " the position against a receipt"
)

_STATES: Final = frozenset({*STATES, "absent", "open", "ended"})
_OUTCOMES: Final = {"GEN": "gen", "GEN_DENY": "deny", "GEN_ERROR": "error"}
_OPEN_MOST: Final = 100_000
_ZERO: Final = bytes(32)

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Report:
    """A report as its entry says it."""

    position: int
    body: Mapping[str, Any]
    begin: int
    end: int
    as_of: int | None
    counts: Counts
    attempts: int


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What is said of one attempt."""

    id: str
    state: str
    path: SumPath | None
    everyone: list[canonical.JSON] | None
    entries: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Said:
    """A statement, read."""

    day: str
    provisional: int | None
    final: int | None
    totals: SumPath | None
    attempt: _Attempt | None

    @property
    def name(self) -> str:
        return f"attempts of {self.day}"


def judge_completeness(claim: Claim) -> None:
    """Enter the findings about a statement `completeness/1`."""
    said = _read(claim.value)
    claim.open_points.extend(LIMITS)
    docket, name = claim.docket, said.name
    provisional = final = None
    if said.provisional is not None:
        at = said.provisional
        action = partial(_report, claim, said, at, "provisional")
        provisional = docket.judge(name, "first report", action, _tell_report)
    if said.final is None and said.attempt is not None and said.attempt.state == "open":
        claim.open_points.append(_SINCE)
    elif said.final is None:
        sentence = "There is no final report of this day: its attempts may still be open."
        docket.enter(name, "final report", "incomplete", sentence)
    if said.final is not None:
        action = partial(_report, claim, said, said.final, "final")
        final = docket.judge(name, "final report", action, _tell_report)
    if provisional is not None and final is not None:
        docket.judge(name, "one range", partial(_same_range, provisional, final), _tell_range)
    if final is not None and said.totals is not None:
        action_totals = partial(_totals, final, said.totals)
        docket.judge(name, "totals", action_totals, _tell_totals)
    if said.attempt is not None:
        _judge_attempt(claim, said.attempt, provisional, final)


def _judge_attempt(
    claim: Claim, attempt: _Attempt, provisional: _Report | None, final: _Report | None
) -> None:
    subject = f"attempt {attempt.id}"
    docket = claim.docket
    if final is not None:
        judged = docket.judge(
            subject, "outcome", partial(_ended, attempt, final), partial(_tell_ended, final)
        )
        outcome = None if judged is None else judged[0]
    else:
        docket.judge(subject, "outcome", partial(_open, attempt, provisional), _tell_open)
        outcome = None
    if not attempt.entries:
        claim.open_points.append(_UNSEEN)
        return
    docket.judge(
        subject,
        "entries",
        partial(_shown, claim, attempt, outcome, final),
        lambda types: (f"the entries there are its {' and its '.join(types)}", {}),
    )


# Reports


def _report(claim: Claim, said: _Said, position: int, kind: str) -> _Report:
    """The report at a position, if it is one of that day and kind."""
    entry = claim.entries.get(position)
    if entry is None:
        raise Refuted("The report is not among the entries of the statement.")
    body = entry["body"]
    stream = {"type": "AnchorDay", "id": said.day}
    aggregate = {name: entry["aggregate"].get(name) for name in stream}
    told = (entry["type"], body.get("kind"), body.get("day"))
    if aggregate != stream or told != ("COMPLETENESS_REPORT", kind, said.day):
        raise Refuted(f"The entry at that position is not the {kind} report of this day.")
    try:
        report = _parsed(position, body)
    except VerifyError:
        report = None
    if report is None or not report.begin <= report.end <= position:
        raise Refuted("The entry at that position does not say what such a report says.")
    if kind == "final" and report.counts.attempts != report.attempts:
        raise Refuted("The final report counts other attempts than outcomes.")
    return report


def _parsed(position: int, body: Mapping[str, Any]) -> _Report:
    counts = body.get("counts")
    if not isinstance(counts, dict):
        raise Unreadable
    return _Report(
        position=position,
        body=body,
        begin=read_count(body.get("from_size")),
        end=read_count(body.get("to_size")),
        as_of=read_count(body["as_of"]) if "as_of" in body else None,
        counts=Counts(*(read_count(counts.get(name)) for name in Counts._fields)),
        attempts=read_count(counts.get("attempts")),
    )


def _tell_report(report: _Report) -> Told:
    counts = report.counts
    sentence = (
        f"number {report.body.get('number')}, of positions {report.begin} to {report.end - 1}:"
        f" {report.attempts} attempts, {counts.gen} gen, {counts.deny} deny, {counts.error} error,"
        f" {counts.late} of these late"
    )
    if report.begin == report.end:
        sentence = f"number {report.body.get('number')}, of no positions: nothing was recorded"
    still = report.body.get("open_count")
    if still is not None:
        sentence += f", {still} open"
    return sentence, {
        "number": str(report.body.get("number")),
        "from_size": str(report.begin),
        "to_size": str(report.end),
        "attempts": str(report.attempts),
        **{name: str(count) for name, count in counts._asdict().items()},
    }


def _same_range(provisional: _Report, final: _Report) -> _Report:
    if (provisional.begin, provisional.end) != (final.begin, final.end):
        raise Refuted("The two reports of the day are of different ranges.")
    if provisional.attempts != final.attempts or provisional.position >= final.position:
        raise Refuted("The two reports of the day are not about the same attempts.")
    return final


def _tell_range(final: _Report) -> Told:
    return f"both reports are about the same {final.attempts} attempts", {}


def _root(final: _Report) -> tuple[str, bytes]:
    """The origin and the root that a final report names."""
    named = final.body.get("outcomes")
    origin, root = (named.get("origin"), named.get("root")) if isinstance(named, dict) else (0, 0)
    if not isinstance(origin, str) or not isinstance(root, str) or not root.startswith("sha256:"):
        raise Refuted("The final report names no tree of outcomes.")
    try:
        return origin, bytes.fromhex(root.removeprefix("sha256:"))
    except ValueError:
        raise Refuted("The final report names no tree of outcomes.") from None


def _totals(final: _Report, path: SumPath) -> Counts:
    _, root = _root(final)
    _, counts = check_path(root, _ZERO, path)
    return _agreed(final, counts)


def _agreed(final: _Report, counts: Counts) -> Counts:
    if counts != final.counts:
        raise Refuted("The tree holds other totals than the final report names.")
    return counts


def _tell_totals(counts: Counts) -> Told:
    return f"the tree's root fixes them: {counts.attempts} attempts in it", {}


# One attempt


def _ended(attempt: _Attempt, final: _Report) -> tuple[Outcome | None]:
    """What the final report's tree holds for the attempt; in a tuple, for None is an answer."""
    if attempt.state not in (*STATES, "absent"):
        raise Refuted("The day was reported for good, and then no attempt of it is open.")
    if attempt.path is None:
        raise Incomplete("There is no path to the final report's root.")
    origin, root = _root(final)
    outcome, counts = check_path(root, Keys(origin).key(attempt.id), attempt.path)
    _agreed(final, counts)
    if (None if attempt.state == "absent" else attempt.state) != (outcome and outcome.state):
        raise Refuted("The tree holds another outcome than the statement says.")
    if outcome is not None:
        if not final.begin <= outcome.attempt_index < final.end:
            raise Refuted("The tree holds an attempt that is not in the report's range.")
        before = final.position if final.as_of is None else min(final.as_of, final.position)
        if not outcome.attempt_index < outcome.outcome_index < before:
            raise Refuted("The tree holds an outcome that cannot follow the attempt.")
    return (outcome,)


def _tell_ended(final: _Report, judged: tuple[Outcome | None]) -> Told:
    (outcome,) = judged
    if outcome is None:
        said = "no attempt of this id is in the tree of the day"
        return said, {"state": "absent"}
    late = "; an outcome came late, after the ledger's own timeout" if outcome.late else ""
    sentence = (
        f"exactly one: {outcome.state}, at position {outcome.outcome_index}, of the attempt at"
        f" position {outcome.attempt_index}{late}; in one tree with {final.attempts - 1} others"
    )
    told = {name: str(value) for name, value in outcome._asdict().items()}
    return sentence, {**told, "late": outcome.late}


def _open(attempt: _Attempt, provisional: _Report | None) -> _Report:
    """The provisional report, if it lists the attempt as open."""
    if provisional is None:
        raise Incomplete("No report of the day is shown that could say anything of the attempt.")
    if attempt.state != "open":
        raise Incomplete("Its outcome is proven by the final report, which is still to come.")
    listed = provisional.body.get("open")
    everyone = attempt.everyone
    count, digest = provisional.body.get("open_count"), provisional.body.get("open_digest")
    if everyone is not None and digest is not None:
        found = f"sha256:{sha256(canonical.encode(list(everyone))).hexdigest()}"
        if digest != found or count != len(everyone):
            raise Refuted("The list of open attempts is not the one that the report commits to.")
        listed = everyone
    if isinstance(listed, list) and any(
        isinstance(one, dict) and one.get("attempt_id") == attempt.id for one in listed
    ):
        return provisional
    if everyone is None and digest is not None:
        raise Incomplete("The report lists more open attempts than it names; no list is shown.")
    raise Refuted("The attempt is not among those that the report lists as open.")


def _tell_open(provisional: _Report) -> Told:
    when = "" if provisional.as_of is None else f", when the log had {provisional.as_of} entries"
    return f"it was open when the first report was made{when}", {"state": "open"}


def _shown(
    claim: Claim, attempt: _Attempt, outcome: Outcome | None, final: _Report | None
) -> list[str]:
    """The types of the entries at the attempt's positions, if they are what is said of them."""
    types = []
    for what, position in attempt.entries.items():
        entry = claim.entries.get(position)
        if entry is None:
            raise Refuted("An entry of the attempt is not among those of the statement.")
        aggregate, type_ = entry["aggregate"], str(entry["type"])
        if (aggregate.get("type"), aggregate.get("id")) != ("Generation", attempt.id):
            raise Refuted("An entry shown for the attempt is about another one.")
        fits = type_ == "GEN_ATTEMPT"
        told = None if outcome is None else outcome.attempt_index
        if what == "outcome":
            fits = _OUTCOMES.get(type_) == attempt.state
            told = None if outcome is None else outcome.outcome_index
        if not fits or (told is not None and told != position):
            raise Refuted("An entry shown for the attempt is not the one that the tree names.")
        if attempt.state == "absent" and final is not None and final.begin <= position < final.end:
            raise Refuted("The attempt was recorded in the day, and the day's tree leaves it out.")
        types.append(type_)
    return types


# The document


def _read(value: Mapping[str, canonical.JSON]) -> _Said:
    optional = {"statement", "origin", "made", "limits", "totals", "attempt"}
    needed = {"day", "reports", "anchored"}
    if not needed <= value.keys() <= needed | optional:
        raise Unreadable("The statement does not have exactly the members of its kind.")
    reports = _positions(value["reports"], {"provisional", "final"})
    return _Said(
        day=_text(value["day"]),
        provisional=reports.get("provisional"),
        final=reports.get("final"),
        totals=SumPath.parse(value["totals"]) if "totals" in value else None,
        attempt=_attempt(value["attempt"]) if "attempt" in value else None,
    )


def _attempt(value: canonical.JSON) -> _Attempt:
    names = {"attempt_id", "state", "path", "open", "entries"}
    if not isinstance(value, dict) or not {"attempt_id", "state"} <= value.keys() <= names:
        raise Unreadable("What is said of the attempt does not have the members for that.")
    everyone, state = value.get("open"), _text(value["state"])
    if state not in _STATES or not isinstance(everyone, list | None):
        raise Unreadable("What is said of the attempt is no state, or no list of open ones.")
    if everyone is not None and len(everyone) > _OPEN_MOST:
        raise Unreadable(f"A list of open attempts has more than {_OPEN_MOST}.")
    return _Attempt(
        id=_text(value["attempt_id"]),
        state=state,
        path=SumPath.parse(value["path"]) if "path" in value else None,
        everyone=everyone,
        entries=_positions(value.get("entries", {}), {"attempt", "outcome"}),
    )


def _positions(value: canonical.JSON, names: set[str]) -> dict[str, int]:
    if not isinstance(value, dict) or not value.keys() <= names:
        raise Unreadable(f"The statement names other entries than {', '.join(sorted(names))}.")
    return {name: read_count(position) for name, position in value.items()}


def _text(value: canonical.JSON) -> str:
    if not isinstance(value, str):
        raise Unreadable("A member of the statement that has to be text is none.")
    return value
