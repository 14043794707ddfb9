# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that sends events: it starts, lives and stops, and its numbers never go back."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ledger.lifecycle.aggregate import JSON, Aggregate, Others


@dataclass(frozen=True, slots=True)
class Writer(Aggregate):
    """One sequence of a producer; it falls without a word and then starts again.

    Every event of the stream says the last number, but for a first start, so that the newest one
    tells the state.
    """

    kind: ClassVar[str] = "Writer"
    tail: ClassVar[bool] = True

    running: bool = False
    last_n: int = -1  #: The last number that it spoke of.

    @property
    def phase(self) -> str:
        if not self.version:
            return "absent"
        return "running" if self.running else "stopped"

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        del others, by_ledger
        if type_ != "WRITER_STARTED" and not self.running:
            raise self.refuse(type_, f"{type_} needs a WRITER_STARTED before it")
        last_n = body.get("last_n")
        if last_n is not None and last_n < self.last_n:
            why = "the numbers of a sequence never go back; begin another sequence"
            raise self.refuse(type_, why, pointer="/body/last_n")
        if last_n is None and type_ == "WRITER_STARTED" and self.last_n >= 0:
            why = "this sequence has numbers already; say the last one"
            raise self.refuse(type_, why, pointer="/body/last_n")

    def after(self, type_: str, body: JSON) -> Self:
        return replace(
            self,
            version=self.version + 1,
            running=type_ != "WRITER_STOPPED",
            last_n=body.get("last_n", self.last_n),
        )
