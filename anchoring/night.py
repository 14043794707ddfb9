# SPDX-License-Identifier: GPL-3.0-or-later
"""The night: every closed day gets its report, its stamped checkpoint and its ANCHOR.

The clock that woke us is not trusted: we look at what is missing and do that, one day after the
other, each step safe to repeat after a crash at any line.

    close     the first entry after midnight makes size_d final; if none is there, EPOCH_SEALED is
    report    COMPLETENESS_REPORT over [size_{d-1}, size_d), and the final one of each day that
              has no open attempt any more
    agree     day root and log root by two implementations; where they differ, stop
    choose    the signed checkpoint over all of this, kept before anybody is asked
    stamp     RFC 3161 tokens, verified before they are believed; a failure is recorded once
    anchor    the ANCHOR entry names range, roots, checkpoint and tokens

`interim` does the same for the entries since the last anchor, on demand, and closes no day.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from anchoring.anchors import Anchor, Anchors, StoredToken
from anchoring.checkpoint import open_of_lineage
from anchoring.completeness import Reports, cited
from anchoring.second_opinion import GrowingTree, TreeDisagrees, day_root
from anchoring.shelf import Book
from anchoring.timestamp import Authority, TsaRefused, TsaUnavailable, obtain
from ledger import clock
from ledger.errors import EntryDamaged, LedgerError, Refused, Unavailable
from ledger.lifecycle import OutOfOrder
from ledger.reader import Reader
from ledger.request import ledger_made
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.frontier import Frontier
from sealtrail.verify.merkle import check_consistency
from sealtrail.verify.note import Checkpoint, Note

_STEP: Final = 2_000
_SKEW_MS: Final = 5_000


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
        self._anchors, self._reports = Anchors(book), Reports(book)

    def catch_up(self, now_ms: int) -> Iterator[Anchored]:
        """Finish what was chosen before, then anchor every closed day without an anchor in order.

        A day whose tokens are missing is yielded with `recorded` False; the days after it are
        still closed and reported, so that nothing waits for an authority but the stamp.
        """
        for anchor in [*self._anchors.open("day"), *self._anchors.open("interim")]:
            yield self._finish(anchor, chosen_now=False)
        for day in self.missing_days(now_ms):
            if self._anchors.get(f"day/{day}") is None:
                yield self._day(day)
        self._reports.finals()  # Of days whose last attempt ended since they were anchored.

    def interim(self) -> Anchored:
        """Anchor everything recorded so far."""
        self._book.settle()
        note, checkpoint = self._book.notary.refresh()
        last = self._anchors.last()
        return self._finish(
            self._choose(
                note,
                checkpoint,
                anchor_id=f"interim/{checkpoint.size}",
                kind="interim",
                day=clock.day_of(self._newest_ms(checkpoint.size)),
                from_size=last.to_size if last is not None else 0,
                to_size=checkpoint.size,
            )
        )

    def missing_days(self, now_ms: int) -> list[str]:
        """Name the closed UTC days without an ANCHOR of kind day, oldest first."""
        start = self._first_open_day()
        today = clock.day_start(clock.day_of(now_ms))
        return [clock.day_of(ms) for ms in range(start, today, clock.DAY_MS)]

    def _first_open_day(self) -> int:
        for anchor in self._anchors.newest_days():
            if self._anchors.entry(anchor) is not None:
                return clock.day_start(anchor.day) + clock.DAY_MS
        head = self._book.reader.head()
        first = self._book.reader.at(0).entry.recorded_ms if head.size else head.last_time
        return clock.day_start(clock.day_of(first))

    def _day(self, day: str) -> Anchored:
        begin, end = self._close(day)
        self._reports.provisional(day, begin, end)
        with suppress(Refused, Unavailable):  # Told at the end; no anchor waits for it.
            self._reports.finals()
        self._book.settle()  # An unsigned head is signed first.
        note, checkpoint = self._book.notary.refresh()
        return self._finish(
            self._choose(
                note,
                checkpoint,
                anchor_id=f"day/{day}",
                kind="day",
                day=day,
                from_size=begin,
                to_size=end,
            )
        )

    def _close(self, day: str) -> tuple[int, int]:
        """Return (size_{d-1}, size_d), final: an entry recorded after the day is there."""
        midnight = clock.day_start(day) + clock.DAY_MS
        reader: Reader = self._book.reader
        if reader.first_at_or_after(midnight) is None:
            self._book.settle()  # Crossing midnight seals the epoch: an entry after it.
        end = reader.first_at_or_after(midnight)
        if end is None:
            raise Unavailable(f"the day {day} is not over by the ledger's clock")
        begin = reader.first_at_or_after(midnight - clock.DAY_MS)
        begin = end if begin is None else begin
        self._check_edge(begin, midnight - clock.DAY_MS)
        self._check_edge(end, midnight)
        return begin, end

    def _check_edge(self, position: int, moment: int) -> None:
        """Hold the edge of a day, found by an index column, against the entries' own bytes."""
        before = self._book.reader.at(position - 1).entry.recorded_ms if position else 0
        if not before < moment <= self._book.reader.at(position).entry.recorded_ms:
            raise EntryDamaged(f"the times around position {position} are not in order")

    def _record(self, type_: str, day: str, body: dict[str, Any]) -> None:
        """Record an entry of the day, unless another night was faster."""
        with suppress(OutOfOrder):
            self._book.record_own(ledger_made(type_, day, body))

    def _choose(
        self,
        note: bytes,
        checkpoint: Checkpoint,
        *,
        anchor_id: str,
        kind: str,
        day: str,
        from_size: int,
        to_size: int,
    ) -> Anchor:
        """Agree on the roots under a signed checkpoint and keep it as what is stamped."""
        return self._anchors.choose(
            Anchor(
                anchor_id=anchor_id,
                day=day,
                kind=kind,
                from_size=from_size,
                to_size=to_size,
                size=checkpoint.size,
                root=checkpoint.root,
                frontier=self._agree(checkpoint),
                day_root=self._range_root(from_size, to_size, checkpoint),
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

    def _range_root(self, begin: int, end: int, checkpoint: Checkpoint) -> bytes:
        """Return pymerkle's root over the bytes of [begin, end), proved to be the signed log's.

        Part of the range lies before the last anchor, so it is not what `_agree` has hashed. The
        frontier at `begin` may come from the tiles: a wrong one leads to no signed root.
        """
        nodes = self._book.tree.frontier_nodes(begin)
        tree = GrowingTree(Frontier(size=begin, nodes=nodes))
        root = day_root(tree.extending(self._bodies(begin, end)))
        if end:
            path = self._book.tree.consistency(end, checkpoint.size)
            _check_consistency(end, tree.root(), checkpoint.size, checkpoint.root, path)
        return root

    def _bodies(self, begin: int, end: int) -> Iterator[bytes]:
        for first in range(begin, end, _STEP):
            for stored in self._book.reader.between(first, min(first + _STEP, end)):
                yield stored.entry.data

    def _newest_ms(self, size: int) -> int:
        """Return when the last of `size` entries was recorded."""
        if size == 0:
            return self._book.reader.head().last_time
        return self._book.reader.at(size - 1).entry.recorded_ms

    def _finish(self, anchor: Anchor, *, chosen_now: bool = True) -> Anchored:
        """Get what tokens are missing, and record the ANCHOR when there are enough."""
        held = {token.authority for token in self._anchors.tokens(anchor.anchor_id)}
        failed = []
        self._check_choice(anchor)
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
            if not chosen_now:
                self._check_range(anchor)
            self._record("ANCHOR", anchor.day, self._body(anchor, tokens))
            done = True
        return Anchored(
            anchor_id=anchor.anchor_id,
            size=anchor.size,
            root=anchor.root,
            tokens=[token.authority for token in tokens],
            recorded=done,
            missing=failed,
        )

    def _check_choice(self, anchor: Anchor) -> None:
        """Return if the kept bytes are a checkpoint of ours over the kept root; they may be old.

        Signed perhaps by an earlier incarnation, whose entries this log has inherited.
        """
        try:
            signed = open_of_lineage(anchor.stamped, self._book.row, self._book.keys)
        except VerifyError as error:
            raise TreeDisagrees("what was kept to be stamped is no checkpoint of ours") from error
        if (signed.size, signed.root) != (anchor.size, anchor.root):
            raise TreeDisagrees("what was kept to be stamped has another root than its anchor")

    def _check_range(self, anchor: Anchor) -> None:
        """Return if the range that was kept is still the one over these entries."""
        if anchor.kind == "day":
            midnight = clock.day_start(anchor.day) + clock.DAY_MS
            self._check_edge(anchor.from_size, midnight - clock.DAY_MS)
            self._check_edge(anchor.to_size, midnight)
        checkpoint = Checkpoint(origin=self._book.origin, size=anchor.size, root=anchor.root)
        if self._range_root(anchor.from_size, anchor.to_size, checkpoint) != anchor.day_root:
            raise TreeDisagrees("the kept root of a range is not what its entries give")

    def _stamp(self, anchor: Anchor, authority: Authority) -> None:
        newest = self._book.reader.at(anchor.size - 1).entry.recorded_ms if anchor.size else 0
        not_before = max(self._anchors.newest_gen_time(anchor), newest - _SKEW_MS)
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
        self._record("ANCHOR_FAILED", anchor.day, failure)

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
            final = self._reports.newest_final(anchor.size)
            if final is not None:
                body["completeness"] = cited(final)
        if previous is not None:
            body["previous"] = {"size": previous.size, "root": _text(previous.root)}
            signer = Checkpoint.parse(Note.parse(previous.stamped).text).origin
            if signer != self._book.origin:
                body["previous"]["origin"] = signer
            path = self._book.tree.consistency(previous.size, anchor.size)
            if previous.size:  # Every log extends the empty one.
                _check_consistency(previous.size, previous.root, anchor.size, anchor.root, path)
            body["consistency"] = [_text(node) for node in path]
        return body


def own_signature_only(note: bytes) -> bytes:
    """Return the exact bytes that are stamped: body, blank line, the log's own signatures.

    One, or two while a key is being replaced: readers may know only the one or the other.
    """
    parsed = Note.parse(note)
    origin = Checkpoint.parse(parsed.text).origin
    lines = tuple(line for line in parsed.signatures if line.name == origin)
    return Note(text=parsed.text, signatures=lines).print()


def _check_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: Sequence[bytes]
) -> None:
    try:
        check_consistency(
            old_size=old_size,
            old_root=old_root,
            new_size=new_size,
            new_root=new_root,
            path=path,
        )
    except VerifyError as error:
        raise TreeDisagrees(f"{TreeDisagrees.__doc__} {error}") from error


def _text(digest: bytes) -> str:
    return f"sha256:{digest.hex()}"
