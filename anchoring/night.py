# SPDX-License-Identifier: GPL-3.0-or-later
"""The night: every closed day gets its report, its stamped checkpoint and its ANCHOR.

The clock that woke us is not trusted: we look at what is missing and do that, one day after the
other, each step safe to repeat after a crash at any line.

    close     the first entry after midnight makes size_d final; if none is there, EPOCH_SEALED is
    report    COMPLETENESS_REPORT over [size_{d-1}, size_d)
    agree     day root and log root by two implementations; where they differ, stop
    choose    the signed checkpoint over all of this, kept before anybody is asked
    stamp     RFC 3161 tokens, verified before they are believed; a silent authority is recorded once
    anchor    the ANCHOR entry names range, roots, checkpoint and tokens

`interim` does the same for the entries since the last anchor, on demand, and closes no day.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from ledger import clock
from ledger.errors import LedgerError, Unavailable
from ledger.reader import Reader
from ledger.request import ledger_made
from sealtrail.verify.frontier import Frontier
from sealtrail.verify.note import Checkpoint, Note

from anchoring.anchors import Anchor, Anchors, StoredToken
from anchoring.completeness import provisional_report
from anchoring.second_opinion import GrowingTree, TreeDisagrees, day_root
from anchoring.shelf import Book
from anchoring.timestamp import Authority, TsaRefused, TsaUnavailable, obtain

_STEP: Final = 2_000
_SKEW_MS: Final = 5_000


class NotEnoughTokens(Unavailable):
    """Too few time-stamp authorities answered; the anchor is queued and tried again."""

    problem = "not-enough-tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchored:
    """One step of the night, for whoever watches."""

    anchor_id: str
    size: int
    root: bytes
    tokens: Sequence[str]  #: Authorities whose tokens are kept.
    recorded: bool  #: Whether the ANCHOR entry is written.
    missing: Sequence[str] = ()  #: Authorities that did not answer or whose reply was refused.


class Night:
    """Anchors one Book."""

    def __init__(self, book: Book, authorities: Sequence[Authority], *, quorum: int = 1) -> None:
        self._book, self._authorities, self._quorum = book, authorities, quorum
        self._anchors = Anchors(book)

    def catch_up(self, now_ms: int) -> Iterator[Anchored]:
        """Finish what was chosen before, then anchor every closed day without an anchor in order.

        A day whose tokens are missing is yielded with `recorded` False; the days after it are
        still closed and reported, so that nothing waits for an authority but the stamp.
        """
        for anchor in [*self._anchors.open("day"), *self._anchors.open("interim")]:
            yield self._finish(anchor)
        for day in self.missing_days(now_ms):
            if self._anchors.get(f"day/{day}") is None:
                yield self._day(day)

    def interim(self) -> Anchored:
        """Anchor everything recorded so far."""
        self._book.record([]).result()
        head = self._book.reader.head()
        last = self._anchors.last()
        anchor = self._choose(
            anchor_id=f"interim/{head.size}",
            kind="interim",
            day=clock.day_of(max(head.last_time, 0)),
            from_size=last.to_size if last is not None else 0,
            to_size=head.size,
        )
        return self._finish(anchor)

    def missing_days(self, now_ms: int) -> list[str]:
        """Name the closed UTC days without an ANCHOR of kind day, oldest first."""
        start = self._first_open_day()
        today = clock.day_start(clock.day_of(now_ms))
        return [clock.day_of(ms) for ms in range(start, today, clock.DAY_MS)]

    def _first_open_day(self) -> int:
        for stored in self._book.reader.of_topic("ANCHOR/1", limit=400):
            body = stored.entry.value["body"]
            if body["kind"] == "day":
                return clock.day_start(body["day"]) + clock.DAY_MS
        head = self._book.reader.head()
        first = self._book.reader.at(0).entry.recorded_ms if head.size else head.last_time
        return clock.day_start(clock.day_of(first))

    def _day(self, day: str) -> Anchored:
        begin, end = self._close(day)
        self._report(day, begin, end)
        return self._finish(
            self._choose(
                anchor_id=f"day/{day}", kind="day", day=day, from_size=begin, to_size=end
            )
        )

    def _close(self, day: str) -> tuple[int, int]:
        """Return (size_{d-1}, size_d), final: an entry recorded after the day is there."""
        midnight = clock.day_start(day) + clock.DAY_MS
        reader: Reader = self._book.reader
        if reader.first_at_or_after(midnight) is None:
            self._book.record([]).result()  # Crossing midnight seals the epoch: an entry after it.
        end = reader.first_at_or_after(midnight)
        if end is None:
            raise Unavailable(f"the day {day} is not over by the ledger's clock")
        begin = reader.first_at_or_after(midnight - clock.DAY_MS)
        return (end if begin is None else begin), end

    def _report(self, day: str, begin: int, end: int) -> None:
        stream = self._book.reader.of_stream(f"AnchorDay/{day}")
        if any(stored.entry.value["type"] == "COMPLETENESS_REPORT" for stored in stream):
            return
        body = provisional_report(self._book, day=day, from_size=begin, to_size=end)
        self._book.record_own(ledger_made("COMPLETENESS_REPORT", day, body))

    def _choose(
        self, *, anchor_id: str, kind: str, day: str, from_size: int, to_size: int
    ) -> Anchor:
        """Agree on the roots of the newest signed checkpoint and keep it as what is stamped."""
        self._book.record([]).result()  # An unsigned head is signed first.
        note, checkpoint = self._book.notary.refresh()
        frontier = self._agree(checkpoint)
        root = day_root(self._bodies(from_size, to_size))
        return self._anchors.choose(
            Anchor(
                anchor_id=anchor_id,
                day=day,
                kind=kind,
                from_size=from_size,
                to_size=to_size,
                size=checkpoint.size,
                root=checkpoint.root,
                frontier=frontier,
                day_root=root,
                stamped=own_signature_only(note),
            )
        )

    def _agree(self, checkpoint: Checkpoint) -> Frontier:
        """Have pymerkle compute the log root from what was agreed before and the new entries."""
        last = self._anchors.last()
        agreed = last.frontier if last is not None else Frontier.empty()
        tree = GrowingTree(agreed)
        tree.extend(self._bodies(agreed.size, checkpoint.size))
        if tree.root() != checkpoint.root:
            raise TreeDisagrees
        frontier = Frontier(
            size=checkpoint.size, nodes=self._book.tree.frontier_nodes(checkpoint.size)
        )
        tree.agree(frontier)
        return frontier

    def _bodies(self, begin: int, end: int) -> Iterator[bytes]:
        for first in range(begin, end, _STEP):
            for stored in self._book.reader.between(first, min(first + _STEP, end)):
                yield stored.entry.data

    def _finish(self, anchor: Anchor) -> Anchored:
        """Get what tokens are missing, and record the ANCHOR when there are enough."""
        held = {token.authority for token in self._anchors.tokens(anchor.anchor_id)}
        failed = []
        for authority in self._authorities:
            if authority.name not in held:
                try:
                    self._stamp(anchor, authority)
                except (TsaUnavailable, TsaRefused) as error:
                    failed.append(authority.name)
                    self._record_failure(anchor, authority, error)
        tokens = self._anchors.tokens(anchor.anchor_id)
        done = self._anchors.entry(anchor) is not None
        if not done and len(tokens) >= self._quorum:
            body = self._body(anchor, tokens)
            self._book.record_own(ledger_made("ANCHOR", anchor.day, body))
            done = True
        return Anchored(
            anchor_id=anchor.anchor_id,
            size=anchor.size,
            root=anchor.root,
            tokens=[token.authority for token in tokens],
            recorded=done,
            missing=failed,
        )

    def _stamp(self, anchor: Anchor, authority: Authority) -> None:
        newest = self._book.reader.at(anchor.size - 1).entry.recorded_ms if anchor.size else 0
        not_before = max(self._anchors.newest_gen_time(), newest - _SKEW_MS)
        token = obtain(
            authority, anchor.stamped, now=clock.now(), not_before=clock.from_ms(not_before)
        )
        gen_time_ms = int(token.stamp.gen_time.timestamp() * 1000)
        self._anchors.keep_token(
            anchor.anchor_id,
            StoredToken(
                authority=authority.name,
                query=token.query,
                reply=token.reply,
                gen_time_ms=gen_time_ms,
            ),
        )

    def _record_failure(self, anchor: Anchor, authority: Authority, error: LedgerError) -> None:
        """Record a silent or lying authority once per anchor."""
        for stored in self._book.reader.of_stream(f"AnchorDay/{anchor.day}"):
            body = stored.entry.value["body"]
            if stored.entry.value["type"] == "ANCHOR_FAILED" and (
                body["anchor"],
                body["authority"],
            ) == (anchor.anchor_id, authority.name):
                return
        failure = {
            "anchor": anchor.anchor_id,
            "authority": authority.name,
            "reason": str(error.facts.get("reason", error.problem)),
            "since": clock.rfc3339(clock.now_ms()),
        }
        self._book.record_own(ledger_made("ANCHOR_FAILED", anchor.day, failure))

    def _body(self, anchor: Anchor, tokens: Sequence[StoredToken]) -> dict[str, Any]:
        previous = next(iter(self._anchors.before(anchor.size)), None)
        body: dict[str, Any] = {
            "kind": anchor.kind,
            "day": anchor.day,
            "from_size": anchor.from_size,
            "to_size": anchor.to_size,
            "day_root": _text(anchor.day_root),
            "checkpoint": {
                "size": anchor.size,
                "root": _text(anchor.root),
                "digest": _text(sha256(anchor.stamped).digest()),
            },
            "tokens": [
                {
                    "authority": token.authority,
                    "gen_time": clock.rfc3339(token.gen_time_ms),
                    "token_digest": _text(sha256(token.reply).digest()),
                }
                for token in tokens
            ],
            "witnesses": [],
        }
        if anchor.kind == "day":
            body["size_d"] = anchor.to_size
        if previous is not None:
            body["previous"] = {"size": previous.size, "root": _text(previous.root)}
            path = self._book.tree.consistency(previous.size, anchor.size)
            body["consistency"] = [_text(node) for node in path]
        return body


def own_signature_only(note: bytes) -> bytes:
    """Return the exact bytes that are stamped: body, blank line, the log's own signature line."""
    parsed = Note.parse(note)
    origin = Checkpoint.parse(parsed.text).origin
    lines = tuple(line for line in parsed.signatures if line.name == origin)
    return Note(text=parsed.text, signatures=lines[:1]).print()


def _text(digest: bytes) -> str:
    return f"sha256:{digest.hex()}"
