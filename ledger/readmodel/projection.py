# SPDX-License-Identifier: GPL-3.0-or-later
"""What a projection is given and what it has to be.

A projection turns entries into rows of its own tables, in the order of the log. What it writes may
depend on the entries it was given and on its own tables, and on nothing else: not on the clock, not
on where one call ends and the next begins. Then dropping its tables and reading the log again ends
with the same rows.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from ledger.database import Connection

JSON = dict[str, Any]


class Item(NamedTuple):
    """One entry whose bytes hash to its leaf. A tuple: one is made per entry."""

    position: int
    event_id: str
    type: str  #: Such as `GEN_DENY`.
    recorded_ms: int
    leaf: bytes
    entry: JSON  #: All of it: what the canonical bytes say.


class Bare(NamedTuple):
    """What the index still says of an entry whose bytes are not at hand: cold, expired, damaged."""

    position: int
    event_id: str
    type: str
    recorded_ms: int
    stream: str  #: `<aggregate type>/<aggregate id>`.
    body: JSON  #: What was kept of it, where a stream's state needs it (ledger.retention.remains).


class Projection(Protocol):
    """One question's tables."""

    @property
    def name(self) -> str:
        """Its stable name: its position is kept under it."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of its tables inside the Book's schema; a rebuild truncates them.

        The migration that makes them grants the role `append` what `write` does, and TRUNCATE to
        `retain`.
        """

    def write(self, connection: Connection, schema: str, items: Sequence[Item]) -> None:
        """Write what these entries say, within the follower's transaction, as `append`.

        items: in order of the log, a few thousand at most; each is given once, and once more after
        each rebuild. What it raises leaves the projection where it was, and harms no other.
        """


@runtime_checkable
class WholeProjection(Protocol):
    """A projection that keeps something of entries whose bytes are not at hand, too."""

    def write_whole(
        self, connection: Connection, schema: str, items: Sequence[Item], bare: Sequence[Bare]
    ) -> None:
        """Like `write`, instead of it, with what is left of all others of the same stretch."""
