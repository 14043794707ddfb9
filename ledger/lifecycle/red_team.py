# SPDX-License-Identifier: GPL-3.0-or-later
"""A red team's suite: each of its runs stands for itself."""

from dataclasses import dataclass
from typing import ClassVar

from ledger.lifecycle.aggregate import JSON, Aggregate, Others


@dataclass(frozen=True, slots=True)
class RedTeamSuite(Aggregate):
    """One suite of attacks, run again and again."""

    kind: ClassVar[str] = "RedTeamSuite"
    tail: ClassVar[bool] = True

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        """Any run may follow any other."""
