# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of a request: recorded just now, recorded before, or refused."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ledger.errors import LedgerError
from ledger.store import Row


class Recorded(NamedTuple):
    """An event that was written just now, durable, in the tree and under a signed checkpoint."""

    row: Row
    path: Sequence[bytes]
    checkpoint: bytes  #: The signed note whose size and root `path` leads to.
    size: int


class Repeated(NamedTuple):
    """An event that was recorded before by the same request; a signed checkpoint covers it."""

    position: int


Outcome = Recorded | Repeated | LedgerError

#: Told once, in a thread of the writer's: an outcome for each request, or what befell them all.
Answer = Callable[[list[Outcome] | LedgerError], None]
