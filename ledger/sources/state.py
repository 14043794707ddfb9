# SPDX-License-Identifier: GPL-3.0-or-later
"""One sequence of a producer: which of its numbers are not in the log.

A sequence begins with 0 or 1 and has no gaps. Numbers may come out of their order, so a gap is
noticed when a larger number is recorded, and is closed when its own numbers are. The end of a
sequence nobody can see from its numbers: a writer says in each heartbeat which one was its last.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final, NamedTuple

#: Gaps of one sequence that are kept one by one; of more, only how many numbers are missing.
LISTED: Final = 1_000


class Gap(NamedTuple):
    """Numbers that are not in the log, and which entry showed that."""

    first: int
    last: int
    position: int
    noticed_ms: int

    @property
    def numbers(self) -> int:
        return self.last - self.first + 1


@dataclass(slots=True, kw_only=True)
class Source:
    """A sequence as far as the log was read."""

    source_id: str
    recorded: int = 0
    last_n: int = -1
    gaps: list[Gap] = field(default_factory=list)  #: Lowest first, at most LISTED.
    unlisted: int = 0  #: Numbers missing in gaps that are not listed.
    said_n: int = -1
    said_ms: int | None = None
    running: bool | None = None
    heartbeat_s: int | None = None
    seen_ms: int = 0

    @property
    def missing(self) -> int:
        """How many numbers below the largest recorded one are not in the log."""
        return self.unlisted + sum(gap.numbers for gap in self.gaps)

    @property
    def tail(self) -> int:
        """How many numbers after it the writer says that it gave; it need not have given 0."""
        return max(0, self.said_n - max(self.last_n, 0))

    def take(self, n: int, position: int, ms: int) -> None:
        """Fold one number; each is recorded once."""
        self.recorded += 1
        self.seen_ms = ms
        begin = self.last_n + 1 if self.last_n >= 0 else min(n, 1)
        if n > self.last_n:
            if n > begin:
                self._open(Gap(begin, n - 1, position, ms))
            self.last_n = n
        elif n > 0:  # Whether a sequence begins with 0 is known only when 0 comes.
            self._close(n)

    def hear(self, type_: str, last_n: int | None, heartbeat_s: int | None, ms: int) -> None:
        """Fold what the sequence's writer says of itself."""
        self.said_n = max(self.said_n, -1 if last_n is None else last_n)
        self.said_ms = self.seen_ms = ms
        self.running = type_ != "WRITER_STOPPED"
        if heartbeat_s is not None:
            self.heartbeat_s = heartbeat_s

    def _open(self, gap: Gap) -> None:
        if len(self.gaps) < LISTED:
            self.gaps.append(gap)
        else:
            self.unlisted += gap.numbers

    def _close(self, n: int) -> None:
        at = bisect_right(self.gaps, n, key=lambda gap: gap.first) - 1
        if at < 0 or self.gaps[at].last < n:
            self.unlisted = max(0, self.unlisted - 1)
            return
        gap = self.gaps.pop(at)
        after = gap._replace(first=n + 1)
        before = gap._replace(last=n - 1)
        parts = [part for part in (before, after) if part.first <= part.last]
        self.gaps[at:at] = parts
        while len(self.gaps) > LISTED:
            self.unlisted += self.gaps.pop().numbers
