# SPDX-License-Identifier: GPL-3.0-or-later
"""A month or a year of outputs: rolled into one map, once."""

from dataclasses import dataclass
from typing import ClassVar

from ledger.lifecycle.aggregate import JSON, Aggregate, Others


@dataclass(frozen=True, slots=True)
class OutputPeriod(Aggregate):
    """A UTC month or year, by its name."""

    kind: ClassVar[str] = "OutputPeriod"

    @property
    def phase(self) -> str:
        return "rolled" if self.version else "open"

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        del others, by_ledger
        if body["period"] != self.id:
            raise self.refuse(type_, "this is another period's stream", pointer="/body/period")
        if self.version:
            raise self.refuse(type_, "this period was rolled before")
