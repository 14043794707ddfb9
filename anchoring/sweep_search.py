# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be searched for in each tier: the index of an entry shrinks as it grows old.

    hot    30 days   every identifier, and the redacted copies of prompts
    warm   90 days   digests of content: many values, few entries each
    cold   after     position, event, stream, type and date, which stay for ever

TIER_MOVED comes first, the rows go afterwards; if that was cut short, the next sweep finishes it.
What is held keeps its index. Rows that go can be made again from what is sealed.

The terms of search follow by themselves: its projection reads TIER_MOVED as it reads every entry,
and each key says in which tier it is still kept (ledger.readmodel.keys).
"""

from collections.abc import Iterator
from typing import Final

from psycopg import sql

from anchoring.sweep_desk import Desk, Step
from ledger import clock
from ledger.lookup import LOG_ID
from ledger.readmodel import bits
from ledger.readmodel.keys import beyond
from ledger.request import ledger_made
from ledger.retention.cold import objects_digest

#: Of the fields that can be searched for (ledger.vault.owners.IDENTIFIERS), those of the warm tier.
WARM: Final = (
    "asset.sha256",
    "asset.pixel_sha256",
    "asset_sha256",
    "inputs[*].sha256",
    "outputs[*].sha256",
    "outputs[*].pixel_sha256",
)

#: Moves that are looked at again: more of them were never cut short.
_AGAIN: Final = 8

_HOT_ROWS: Final = """
SELECT count(*) FROM {book}.blind b JOIN {book}.entry e USING (event_id)
 WHERE e.position >= %s AND e.position < %s AND b.field <> ALL (%s)
"""
_REDACTED: Final = "SELECT count(*) FROM {book}.redacted WHERE position >= %s AND position < %s"
_TERMS: Final = """
SELECT count(*) FROM {book}.search_term WHERE block >= %s AND block <= %s AND key = ANY(%s)
"""
_FORGET: Final = """
DELETE FROM {book}.blind b USING {book}.entry e
 WHERE e.event_id = b.event_id AND e.position >= %s AND e.position < %s AND b.field <> ALL (%s)
   AND e.position <> ALL (%s)
"""
_FORGET_REDACTED: Final = """
DELETE FROM {book}.redacted WHERE position >= %s AND position < %s AND position <> ALL (%s)
"""


class Search:
    """The index rows of one Book."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def due(self) -> range:
        """Return the positions that leave the hot tier."""
        desk = self._desk
        policy = desk.policies.current(desk.now_ms)
        if policy is None:
            return range(0)
        old = desk.first_after(desk.now_ms - policy.hot_days * clock.DAY_MS)
        return range(self._warmed(), min(old, desk.anchored))

    def leaving(self) -> int:
        """Return how many entries leave the hot tier, if anything of theirs is indexed there."""
        due = self.due()
        return len(due) if due and self._rows(due) else 0

    def cool(self) -> Iterator[Step]:
        """Record what leaves the hot tier, then delete the index rows that go with it."""
        due = self.due()
        if due and self._rows(due):
            body = {
                "from": "hot",
                "to": "warm",
                "from_position": due.start,
                "to_position": due.stop,
                "objects": 0,
                "objects_digest": objects_digest([]),
                "verified": "none-needed",
            }
            self._desk.book.record_own(ledger_made("TIER_MOVED", LOG_ID, body))
        gone = 0
        for stored in self._desk.book.reader.of_topic("TIER_MOVED/1", limit=_AGAIN):
            body = stored.entry.value["body"]
            kept = WARM if body["to"] == "warm" else ()
            gone += self._forget(range(body["from_position"], body["to_position"]), kept)
        if gone:
            yield Step(what="cooled", count=gone, sentence=f"{gone} index rows are gone")

    def _warmed(self) -> int:
        """Return the position up to which entries have left the hot tier."""
        for stored in self._desk.book.reader.of_topic("TIER_MOVED/1", limit=1_000):
            if stored.entry.value["body"]["to"] == "warm":
                return int(stored.entry.value["body"]["to_position"])
        return 0

    def _rows(self, of: range) -> int:
        ((blind,),) = self._desk.select(_HOT_ROWS, of.start, of.stop, list(WARM))
        ((redacted,),) = self._desk.select(_REDACTED, of.start, of.stop)
        blocks = (of.start // bits.BLOCK, (of.stop - 1) // bits.BLOCK)
        ((terms,),) = self._desk.select(_TERMS, *blocks, beyond("warm"))
        return int(blind) + int(redacted) + int(terms)

    def _forget(self, of: range, kept: tuple[str, ...]) -> int:
        book = sql.Identifier(self._desk.book.row.schema)
        with self._desk.holds.frozen() as frozen:
            held = sorted({at for at, _ in frozen.on_positions(of.start, of.stop)})
            blind = frozen.connection.execute(
                sql.SQL(_FORGET).format(book=book), (of.start, of.stop, list(kept), held)
            )
            redacted = frozen.connection.execute(
                sql.SQL(_FORGET_REDACTED).format(book=book), (of.start, of.stop, held)
            )
        return blind.rowcount + redacted.rowcount
