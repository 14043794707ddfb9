# SPDX-License-Identifier: GPL-3.0-or-later
"""Costs and findings as JSON and as sheets: CSV in which no cell is a formula."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from evidence.search_export import guarded
from ledger.usage.costs import By, Group, printed
from ledger.usage.reconcile import Finding

JSON = dict[str, Any]

#: Columns by which groups are told apart.
KEYS: Final[Mapping[By, tuple[str, ...]]] = {
    "model": ("provider", "model", "version"),
    "day": ("day",),
    "person": ("person",),
    "session": ("session",),
}
_SUMS: Final = ("calls", "input_tokens", "output_tokens", "images")
_FINDING: Final = ("kind", "line", "event_id", "position", "by", "differing", "detail")
_BLOCK: Final = 500

#: Findings of one JSON answer: those that somebody has to look at.
FINDINGS_MAX: Final = 1_000


def groups_json(groups: Iterable[Group], by: By) -> list[JSON]:
    """Return groups as the API shows them; persons and sessions by names that say nothing."""
    found = []
    for group in groups:
        shown: JSON = dict(zip(KEYS[by], group.key, strict=True))
        if group.event_id is not None:
            shown["event_id"] = group.event_id
        shown |= {name: getattr(group, name) for name in _SUMS}
        shown["cost"] = [
            {
                **({} if one.currency is None else {"currency": one.currency}),
                "amount": printed(one.cost),
                "calls": one.calls,
            }
            for one in group.money.values()
        ]
        found.append(shown)
    return found


def groups_csv(groups: Iterable[Group], by: By) -> bytes:
    """Return groups as CSV, a line for each group and currency; the calls in each of its lines."""
    rows: list[Sequence[object]] = [(*KEYS[by], *_SUMS, "cost", "currency")]
    for group in groups:
        sums = [getattr(group, name) for name in _SUMS]
        key = [guarded(one) for one in group.key]
        rows += [
            (*key, *sums, printed(one.cost), one.currency or "") for one in group.money.values()
        ] or [(*key, *sums, "", "")]
    return _lines(rows)


def findings_csv(findings: Iterable[Finding]) -> Iterator[bytes]:
    """Yield findings as CSV, some hundred lines at a time."""
    yield _lines([_FINDING])
    block: list[Sequence[object]] = []
    for one in findings:
        block.append([_cell(value) for value in one])
        if len(block) >= _BLOCK:
            yield _lines(block)
            block = []
    yield _lines(block)


def findings_json(findings: Iterable[Finding]) -> list[JSON]:
    """Take all findings; return the first thousand that do not match, as the API has them."""
    found: list[JSON] = []
    for one in findings:
        if one.kind != "matched" and len(found) < FINDINGS_MAX:
            found.append(finding_json(one))
    return found


def finding_json(one: Finding) -> JSON:
    """Return a finding; members that say nothing are left out."""
    said = zip(_FINDING, one, strict=True)
    shown: JSON = {name: value for name, value in said if value not in {None, "", ()}}
    if one.differing:
        shown["differing"] = {
            name: {"here": here, "there": there} for name, here, there in one.differing
        }
    return shown


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return guarded(
            "; ".join(f"{name}: {here} here, {there} there" for name, here, there in value)
        )
    return guarded(str(value))


def _lines(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
