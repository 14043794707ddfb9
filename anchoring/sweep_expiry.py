# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of what may go: announced, anchored, checked, and seven days later gone.

    announce   RETENTION_EXPIRED commits to a manifest: every leaf, and before when it stays
    anchor     the night stamps a checkpoint over it, as over everything
    check      the manifest is compared with all that it lists, while that is still there
    drop       seven days after the anchor, past every floor, and held by nobody

An announcement that was found to list anything wrongly is never carried out. Source:
docs/formats.md; the construction's own rules for expiry.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from anchoring.sweep_desk import AHEAD_MS, Desk, Row, Step, leaf_of, may_move
from anchoring.sweep_payload import Payload
from ledger import clock
from ledger.errors import LedgerError, Unavailable
from ledger.lookup import LOG_ID
from ledger.request import ledger_made
from ledger.retention import members as bits
from ledger.retention.classes import WHAT, What
from ledger.retention.manifest import WINDOW_MS, Leaf, Manifest, cut, digest_of
from ledger.retention.policy import Claim
from sealtrail.verify.merkle import leaf_hash

#: Checks that are looked for behind the oldest open announcement: several a day, for weeks.
_CHECKS: Final = 100_000

_OPEN: Final = """
SELECT a.event_id::text, a.digest, e.position FROM {book}.manifest a
  LEFT JOIN {book}.entry e ON e.event_id = a.event_id
 WHERE EXISTS (SELECT 1 FROM {book}.tombstone t WHERE t.event_id = a.event_id
                AND NOT EXISTS (SELECT 1 FROM {book}.expired x
                                 WHERE (x.number, x.event_id) = (t.number, t.event_id)))
 ORDER BY e.position NULLS FIRST, a.event_id
"""
_CARRIED_OUT: Final = "SELECT number FROM {book}.expired WHERE event_id = %s::uuid"
_BYTES: Final = "SELECT bytes FROM {book}.manifest WHERE event_id = %s::uuid"
_KEEP: Final = "INSERT INTO {book}.manifest (event_id, what, digest, bytes) VALUES (%s, %s, %s, %s)"
_BURY: Final = (
    "INSERT INTO {book}.tombstone (number, event_id, what, members) VALUES (%s, %s, %s, %s)"
)
_DONE: Final = (
    "INSERT INTO {book}.expired (number, event_id) VALUES (%s, %s) ON CONFLICT DO NOTHING"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """One announcement that is not carried out in full."""

    event_id: str
    manifest: Manifest
    position: int | None  #: Of RETENTION_EXPIRED; None: it was never recorded.
    anchored_ms: int | None = None  #: When the first ANCHOR over it was recorded.
    sound: bool | None = None  #: What the check found; None: it was not checked yet.

    def ready(self, now_ms: int) -> bool:
        """Say if what it lists may go now, holds apart."""
        return (
            self.sound is True
            and self.anchored_ms is not None
            and self.anchored_ms + WINDOW_MS <= now_ms
            and self.manifest.not_before_ms <= now_ms
        )


class Expiry:
    """Lets go what is due in one Book."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._payload = Payload(desk)

    # Announcing

    def due(self, what: What) -> tuple[list[list[Leaf]], int]:
        """Return what is due soon and not announced, in units, and how many more are held."""
        units, held = [], 0
        for rows, claim in self._payload.candidates(what):
            due = self._desk.due(what, rows, claim)
            if due is None or due > self._desk.now_ms + AHEAD_MS:
                continue
            on_hold = self._desk.held([row.position for row in rows])
            # A bundle goes as a whole or stays; values and artifacts go one entry at a time.
            staying = rows if on_hold and what == "entry" else []
            staying = staying or [row for row in rows if row.position in on_hold]
            held += len(staying)
            leaves = [leaf_of(row, claim, due) for row in rows if row not in staying]
            units += [leaves] if leaves else []
        return units, held

    def announce(self) -> Iterator[Step]:
        """Announce what is due soon. First what was written down and never recorded."""
        for one in self.open():
            if one.position is None:
                yield self._record(one.event_id, one.manifest, 0)
        policy = self._desk.policies.current(self._desk.now_ms)
        for what in WHAT if policy is not None else ():
            units, held = self.due(what)
            for leaves in cut(units):
                manifest = Manifest(
                    origin=self._desk.book.row.first_origin,
                    what=what,
                    policy=policy.ref() if policy is not None else {},
                    leaves=leaves,
                )
                event_id = str(clock.new_id())
                self._write_down(event_id, manifest)
                yield self._record(event_id, manifest, held)

    def _write_down(self, event_id: str, manifest: Manifest) -> None:
        data = manifest.encode()
        self._desk.insert(_KEEP, [(event_id, manifest.what, sha256(data).digest(), data)])
        self._desk.insert(
            _BURY,
            [
                (number, event_id, manifest.what, members)
                for number, members in manifest.runs().items()
            ],
        )

    def _record(self, event_id: str, manifest: Manifest, held: int) -> Step:
        body = manifest.body(holds_skipped=held)
        self._desk.book.record_own(
            ledger_made("RETENTION_EXPIRED", LOG_ID, body, event_id=event_id)
        )
        count = len(manifest.leaves)
        return Step(
            what="announced",
            count=count,
            sentence=f"{manifest.what} of {count} entries will go after {body['not_before']}",
        )

    # Looking

    def open(self) -> Iterator[Announced]:
        """Yield every announcement that is not carried out in full, oldest first."""
        rows = self._desk.select(_OPEN)
        first = min((at for _, _, at in rows if at is not None), default=0)
        checks, anchors = self._checks(first), self._anchors()
        for event_id, digest, position in rows:
            ((data,),) = self._desk.select(_BYTES, event_id)
            anchored = [ms for size, ms in anchors if position is not None and size > position]
            yield Announced(
                event_id=event_id,
                manifest=Manifest.decode(bytes(data)),
                position=position,
                anchored_ms=min(anchored, default=None),
                sound=checks.get((event_id, f"sha256:{bytes(digest).hex()}")),
            )

    def _checks(self, begin: int) -> Mapping[tuple[str, str], bool]:
        """Return what the log says of checked manifests; one bad check outweighs any good one."""
        found: dict[tuple[str, str], bool] = {}
        reader = self._desk.book.reader
        for stored in reader.of_topic("INTEGRITY_CHECK/1", begin=begin, limit=_CHECKS):
            body = stored.entry.value["body"]
            key = (body["expiry"], body["tombstone_digest"])
            found[key] = found.get(key, True) and body["damaged"] == 0
        return found

    def _anchors(self) -> list[tuple[int, int]]:
        """Return (size of the stamped checkpoint, when its ANCHOR was recorded), newest first."""
        return [
            (stored.entry.value["body"]["checkpoint"]["size"], stored.entry.recorded_ms)
            for stored in self._desk.book.reader.of_topic("ANCHOR/1", limit=1_000)
        ]

    # Checking

    def check(self) -> Iterator[Step]:
        """Compare what is anchored and unchecked with all that it lists; record the result."""
        for one in self.open():
            if one.anchored_ms is None or one.sound is not None:
                continue
            damaged = self.compare(one.manifest)
            body = {
                "subject": "retention-expired",
                "expiry": one.event_id,
                "tombstone_digest": digest_of(one.manifest.encode()),
                "checked": len(one.manifest.leaves),
                "damaged": damaged,
            }
            self._desk.book.record_own(ledger_made("INTEGRITY_CHECK", LOG_ID, body))
            what = "checked" if not damaged else "refused"
            sentence = f"{damaged} of {len(one.manifest.leaves)} announced entries do not fit"
            yield Step(what=what, count=damaged, sentence=sentence)

    def compare(self, manifest: Manifest) -> int:
        """Return how many lines of a manifest do not fit the entries that they list."""
        rows = {
            row.position: row for row in self._desk.rows([one.index for one in manifest.leaves])
        }
        damaged = 0
        for number, leaves in _by_run(manifest.leaves).items():
            try:
                bodies = self._payload.bodies(number, [leaf.index for leaf in leaves])
            except Unavailable:
                raise  # An archive that is away says nothing about what is in it.
            except LedgerError:
                bodies = {}  # Damaged or gone: then nobody can say that they fit.
            for leaf in leaves:
                row, body = rows.get(leaf.index), bodies.get(leaf.index)
                if row is None or body is None or not self._fits(manifest.what, leaf, row, body):
                    damaged += 1
        return damaged

    def _fits(self, what: What, leaf: Leaf, row: Row, body: tuple[bytes, Claim]) -> bool:
        data, claim = body
        due = self._desk.due(what, [row], claim)
        expected = leaf_of(row, claim, leaf.not_before_ms)
        return (
            expected == leaf
            and leaf_hash(data) == leaf.leaf
            and may_move(row)
            and due is not None
            and due <= leaf.not_before_ms
        )

    # Letting go

    def left(self, one: Announced) -> dict[int, list[int]]:
        """Return the positions, by run, of an announcement that are not gone yet."""
        carried_out = {number for (number,) in self._desk.select(_CARRIED_OUT, one.event_id)}
        return {
            number: [leaf.index for leaf in leaves]
            for number, leaves in _by_run(one.manifest.leaves).items()
            if number not in carried_out
        }

    def forecast(self, one: Announced) -> tuple[int, int]:
        """Return how many entries of an announcement that is ready would go, and how many stay."""
        going = staying = 0
        for number, positions in self.left(one).items():
            if self._desk.held(positions) or self._payload.kept(
                one.manifest.what, number, positions
            ):
                staying += len(positions)
            else:
                going += len(positions)
        return going, staying

    def drop(self) -> Iterator[Step]:
        """Carry out what is ready; what is held stays until it is released."""
        for one in self.open():
            if one.position is None or not one.ready(self._desk.now_ms):
                continue
            gone = 0
            for number, positions in self.left(one).items():
                if self._payload.drop(one.manifest.what, number, positions):
                    self._desk.insert(_DONE, [(number, one.event_id)])
                    gone += len(positions)
            if gone:
                sentence = f"{one.manifest.what} of {gone} entries expired"
                yield Step(what="expired", count=gone, sentence=sentence)


def _by_run(leaves: Sequence[Leaf]) -> dict[int, list[Leaf]]:
    by_index = {leaf.index: leaf for leaf in leaves}
    return {
        number: [by_index[at] for at in positions]
        for number, positions in bits.by_run(by_index).items()
    }
