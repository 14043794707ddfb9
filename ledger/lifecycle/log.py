# SPDX-License-Identifier: GPL-3.0-or-later
"""The one stream of what the ledger notes about itself."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ledger.lifecycle.aggregate import JSON, Aggregate, Others


@dataclass(frozen=True, slots=True)
class Log(Aggregate):
    """What the ledger notes about itself: epochs and looks."""

    kind: ClassVar[str] = "Log"

    epoch: int = 0  #: The epoch that is sealed next.

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        del others, by_ledger
        if type_ == "EPOCH_SEALED" and body["epoch"] != self.epoch:
            why = "epochs are sealed one after the other"
            raise self.refuse(type_, why, pointer="/body/epoch")

    def after(self, type_: str, body: JSON) -> Self:
        epoch = body["epoch"] + 1 if type_ == "EPOCH_SEALED" else self.epoch
        return replace(self, version=self.version + 1, epoch=epoch)
