# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch after its COMMIT, and what its requests are told once its checkpoint is stored."""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.batch import Built
from ledger.errors import HistoryRewritten, LedgerError
from ledger.lookup import Known
from ledger.outcome import Outcome, Recorded, Repeated
from ledger.store import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A batch after its COMMIT, or after it turned out that nothing had to be written."""

    placed: Sequence[Row | Known | LedgerError]
    built: Built | None

    def outcomes(self, sealed: bytes | LedgerError) -> list[Outcome] | LedgerError:
        """Give each request its outcome, now that the checkpoint is stored or could not be."""
        if isinstance(sealed, LedgerError):
            return sealed
        return [_outcome(place, self.built, sealed) for place in self.placed]


def _outcome(place: Row | Known | LedgerError, built: Built | None, checkpoint: bytes) -> Outcome:
    if isinstance(place, LedgerError):
        return place
    if isinstance(place, Known):
        return Repeated(position=place.position)
    if built is None:  # Cannot be: a row was placed.
        raise HistoryRewritten
    swap = built.swap
    return Recorded(
        row=place,
        path=built.paths[place.link.position - swap.before.size],
        checkpoint=checkpoint,
        size=swap.after.size,
    )
