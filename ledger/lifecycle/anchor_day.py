# SPDX-License-Identifier: GPL-3.0-or-later
"""One UTC day of one log: reported, then anchored; reported for good when all has ended."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ledger.lifecycle.aggregate import JSON, Aggregate, Others


@dataclass(frozen=True, slots=True)
class AnchorDay(Aggregate):
    """One UTC day of one log: its report, its anchor, its final report; interim anchors any time.

    The final report needs the first one, and may come before the day's anchor or after it.
    """

    kind: ClassVar[str] = "AnchorDay"

    reported: bool = False
    final: bool = False  #: Whether every attempt's outcome is reported.
    anchored: bool = False
    interims: frozenset[int] = frozenset()  #: Up to which sizes: two processes may do the same one.
    failures: frozenset[tuple[str, str]] = frozenset()

    @property
    def phase(self) -> str:
        if self.anchored:
            return "anchored"
        return "reported" if self.reported else "open"

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        del others, by_ledger
        if body.get("day", self.id) != self.id:
            raise self.refuse(type_, "this is the stream of another day", pointer="/body/day")
        if type_ == "COMPLETENESS_REPORT":
            self._check_report(type_, body)
        if type_ == "ANCHOR" and body["kind"] == "day" and not self.reported:
            raise self.refuse(type_, "a day is reported before it is anchored")
        if type_ == "ANCHOR" and body["kind"] == "day" and self.anchored:
            raise self.refuse(type_, "this day was anchored before")
        if type_ == "ANCHOR" and body["kind"] == "interim" and body["to_size"] in self.interims:
            raise self.refuse(type_, "this range was anchored before")
        if type_ == "ANCHOR_FAILED" and (body["anchor"], body["authority"]) in self.failures:
            raise self.refuse(type_, "this failure was recorded before")

    def after(self, type_: str, body: JSON) -> Self:
        kind = body["kind"] if type_ == "ANCHOR" else None
        failed = {(body["anchor"], body["authority"])} if type_ == "ANCHOR_FAILED" else set()
        return replace(
            self,
            version=self.version + 1,
            reported=self.reported or type_ == "COMPLETENESS_REPORT",
            final=self.final or (type_ == "COMPLETENESS_REPORT" and body.get("kind") == "final"),
            anchored=self.anchored or kind == "day",
            interims=self.interims | ({body["to_size"]} if kind == "interim" else set()),
            failures=self.failures | failed,
        )

    def _check_report(self, type_: str, body: JSON) -> None:
        if body["kind"] != "final" and self.reported:
            raise self.refuse(type_, "this day was reported before")
        if body["kind"] == "final" and not self.reported:
            raise self.refuse(type_, "a day is reported before it is reported for good")
        if body["kind"] == "final" and self.final:
            raise self.refuse(type_, "this day was reported for good before")
