# SPDX-License-Identifier: GPL-3.0-or-later
"""From warm to cold: copy, read back, TIER_MOVED, and only then drop.

    run of 256 entries, all of them older than `warm_days` and under an anchor
      ──► bundles, one for each retention class ──► archive, locked until they are due
      ──► read back: every body hashes to its leaf
      ──► TIER_MOVED names them by digest ──► the bodies that nobody holds leave the database

Whoever is killed between two arrows goes on from there. What is held is copied, too, and stays in
the database until it is released.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from anchoring.sweep_desk import Desk, Row, Step, may_move
from ledger import clock
from ledger.archive.store import ObjectMissing
from ledger.errors import NotFound
from ledger.lookup import LOG_ID
from ledger.reader import Stored
from ledger.request import ledger_made
from ledger.retention import members as bits
from ledger.retention.bodies import BodiesBusy
from ledger.retention.classes import add_months
from ledger.retention.cold import Bundle, Cold, objects_digest
from ledger.retention.policy import Claim

#: Runs that one TIER_MOVED names at most.
RUNS: Final = 64

#: The lock of what nothing says when it may go, in months; made longer as long as that is so.
_SEVEN_YEARS: Final = 84

#: Locks that end within this time are looked at each night, if they may have to be longer.
_SOON_MS: Final = 40 * clock.DAY_MS
#: What is held is locked for so long at least.
_HELD_MS: Final = 90 * clock.DAY_MS

_BUNDLED: Final = """
SELECT coalesce(max(b.number), -1) FROM {book}.bundle b JOIN {book}.moved m USING (name)
  JOIN {book}.entry e ON e.event_id = m.event_id
"""
_UNRECORDED: Final = """
SELECT DISTINCT m.event_id::text FROM {book}.moved m
 WHERE NOT EXISTS (SELECT 1 FROM {book}.entry e WHERE e.event_id = m.event_id)
"""
_STILL_THERE: Final = """
SELECT p.position FROM {book}.entry_body p JOIN {book}.bundle b ON b.number = p.position >> 8
   AND get_bit(b.members, (p.position & 255)::int) = 1
  JOIN {book}.moved m USING (name) JOIN {book}.entry e ON e.event_id = m.event_id
 WHERE p.position < %s ORDER BY 1
"""


class Tiers:
    """Moves the bodies of one Book down."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def make_room(self) -> Iterator[Step]:
        """Make the partitions into which the log will grow."""
        desk = self._desk
        monthly = desk.size - desk.first_after(desk.now_ms - 30 * clock.DAY_MS)
        try:
            for name in desk.bodies.make_ahead(desk.size, monthly):
                yield Step(what="partition", count=1, sentence=f"made the partition {name}")
        except BodiesBusy:  # The rest takes what comes until next time.
            yield Step(what="busy", count=1, sentence="partitions are made next time")

    def fold(self) -> Iterator[Step]:
        """Drop the partitions that hold nothing any more that may go."""
        try:
            folded = self._desk.bodies.fold(self._desk.size)
        except BodiesBusy:
            return  # There is no hurry.
        for name in folded:
            yield Step(what="folded", count=1, sentence=f"dropped the empty partition {name}")

    def runs_due(self) -> range:
        """Return the runs that are old enough to go and have not gone."""
        desk = self._desk
        policy = desk.policies.current(desk.now_ms)
        if policy is None:
            return range(0)
        old = desk.first_after(desk.now_ms - policy.warm_days * clock.DAY_MS)
        ((last,),) = desk.select(_BUNDLED)
        return range(last + 1, min(old, desk.anchored) // bits.WIDTH)

    def movable(self, runs: range) -> int:
        """Return how many entries of these runs would be copied: never the log's own words."""
        return sum(self._movable(number) for number in runs)

    def _movable(self, number: int) -> int:
        begin = number * bits.WIDTH
        present = self._desk.bodies.present(begin, begin + bits.WIDTH)
        return sum(map(may_move, self._desk.rows(present)))

    def move(self) -> Iterator[Step]:
        """Bring what is due into the archive, and record it; drops nothing."""
        cold = self._desk.cold
        if cold is None:
            return
        for (event_id,) in self._desk.select(_UNRECORDED):
            yield self._record(cold, event_id)
        due = self.runs_due()
        for first in range(due.start, due.stop, RUNS):
            bundles: list[Bundle] = []
            for number in range(first, min(first + RUNS, due.stop)):
                bundles += self._run(cold, number)
            if bundles:
                event_id = str(clock.new_id())
                cold.mark_moved(bundles, event_id)
                yield self._record(cold, event_id)

    def droppable(self) -> list[int]:
        """Return the positions that are cold and still in the database, held ones included."""
        ((last,),) = self._desk.select(_BUNDLED)
        end = (last + 1) * bits.WIDTH
        return [position for (position,) in self._desk.select(_STILL_THERE, end)]

    def drop(self) -> Iterator[Step]:
        """Drop from the database what is cold and not held."""
        yield from drop_unheld(self._desk, self.droppable(), "dropped")

    def keep_locked(self) -> Iterator[Step]:
        """Make the locks longer of what became due later, or is held."""
        cold, desk = self._desk.cold, self._desk
        if cold is None:
            return
        soon, held_any = desk.now_ms + _SOON_MS, desk.holds.any()
        changed = held_any or len(desk.policies.versions) > 1
        kept = desk.first_after(add_months(soon, -_SEVEN_YEARS)) // bits.WIDTH
        bundles = cold.bundles(
            "m.name IS NOT NULL AND ((b.due <= %s AND %s) OR (b.due IS NULL AND b.number < %s))",
            soon,
            changed,
            kept,
        )
        positions = [position for one in bundles for position in one.positions]
        held = desk.held(positions) if held_any else set()
        longer = 0
        for one in bundles:
            until = self._lock_ms(desk.rows(one.positions), one.claim)
            if held.intersection(one.positions):
                until = max(until, desk.now_ms + _HELD_MS)
            if until > desk.now_ms:
                longer += self._extend(cold, one, until)
        if longer:
            yield Step(what="locked", count=longer, sentence=f"{longer} locks were made longer")

    def _extend(self, cold: Cold, one: Bundle, until_ms: int) -> int:
        stored = cold.archive.stat(one.name)
        until = clock.from_ms(until_ms)
        if stored is None or (stored.until is not None and stored.until >= until):
            return 0  # Expired, or locked long enough.
        try:
            cold.archive.extend(one.name, until)
        except ObjectMissing:
            return 0
        return 1

    # One run

    def _run(self, cold: Cold, number: int) -> list[Bundle]:
        """Return the bundles of one run, each in the archive, locked and read back."""
        begin = number * bits.WIDTH
        present = self._desk.bodies.present(begin, begin + bits.WIDTH)
        stored = {one.position: one for one in self._desk.stored(present)}
        rows = {row.position: row for row in self._desk.rows(present) if may_move(row)}
        # Written down by a sweep that did not get further: the same bytes have the same name.
        known = {
            (one.members, one.claim): one
            for one in cold.bundles("b.number = %s AND m.name IS NULL", number)
        }
        return [
            self._bundle(cold, claim, group, stored, known)
            for claim, group in self._groups(list(rows.values()), stored)
        ]

    def _groups(
        self, rows: Sequence[Row], stored: dict[int, Stored]
    ) -> Iterator[tuple[Claim, list[Row]]]:
        """Sort entries by what decides when they may go: what goes together lies together.

        A bundle goes as a whole, when the last of it may. A run of a quiet log takes months, so its
        entries are sorted by the month in which they are due, too: none waits a month for others.
        """
        groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        claims: dict[tuple[Any, ...], Claim] = {}
        for row in rows:
            claim = Claim.of(stored[row.position].entry.value)
            kinds = tuple(one.classes_of(row.type) for one in self._desk.policies.versions)
            due = self._desk.due("entry", [row], claim)
            month = None if due is None else clock.day_of(due)[:7]
            key = (claim.name, claim.not_before_ms, kinds, month)
            claims[key] = claim
            groups[key].append(row)
        for key, group in groups.items():
            yield claims[key], group

    def _bundle(
        self,
        cold: Cold,
        claim: Claim,
        rows: list[Row],
        stored: Mapping[int, Stored],
        known: Mapping[tuple[bytes, Claim], Bundle],
    ) -> Bundle:
        """Return one bundle, in the archive, locked and read back."""
        positions = [row.position for row in rows]
        bodies = [stored[position].entry.data for position in positions]
        made = known.get((bits.pack(positions), claim))
        sealed = None if made is None else cold.make_again(made, bodies)
        if made is None or sealed is None:
            made, sealed = cold.make(positions, bodies, claim, self._desk.due("entry", rows, claim))
            cold.write_down(made)
        until = max(self._lock_ms(rows, claim), self._desk.now_ms + clock.DAY_MS)
        cold.upload(made, sealed, clock.from_ms(until))
        cold.read(made)
        return made

    def _lock_ms(self, rows: Sequence[Row], claim: Claim) -> int:
        due = self._desk.due("entry", rows, claim)
        return (
            add_months(max(row.recorded_ms for row in rows), _SEVEN_YEARS) if due is None else due
        )

    def _record(self, cold: Cold, event_id: str) -> Step:
        """Record the move of the bundles that are marked with this id."""
        bundles = cold.bundles("m.event_id = %s::uuid", event_id)
        locks = [stored.until for one in bundles if (stored := cold.archive.stat(one.name))]
        if len(locks) != len(bundles) or not all(locks):
            raise NotFound("a bundle that was read back is not in the archive any more")
        begin = min(one.positions[0] for one in bundles)
        end = max(one.positions[-1] for one in bundles) + 1
        earliest = min(lock for lock in locks if lock is not None)
        body = {
            "from": "warm",
            "to": "cold",
            "from_position": begin,
            "to_position": end,
            "objects": len(bundles),
            "objects_digest": objects_digest(bundles),
            "verified": "read-back",
            "lock_until": clock.rfc3339(int(earliest.timestamp() * 1000)),
        }
        self._desk.book.record_own(ledger_made("TIER_MOVED", LOG_ID, body, event_id=event_id))
        count = sum(len(one.positions) for one in bundles)
        return Step(what="moved", count=count, sentence=f"{count} entries below {end} are cold")


def drop_unheld(desk: Desk, positions: Sequence[int], what: str) -> Iterator[Step]:
    """Drop bodies that nobody holds, partition by partition, each while no hold can be placed."""
    for child, inside in desk.bodies.children(positions):
        step = _drop_child(desk, child, inside, what)
        if step is not None:
            yield step


def _drop_child(desk: Desk, child: str, inside: Sequence[int], what: str) -> Step | None:
    with desk.holds.frozen() as frozen:
        held = {at for at, _ in frozen.on_positions(min(inside), max(inside) + 1)}
        gone = [position for position in inside if position not in held]
        if not gone:
            return None
        try:
            count = desk.bodies.drop(frozen.connection, child, gone)
        except BodiesBusy as error:
            return Step(what="busy", count=len(gone), sentence=str(error))
    return Step(what=what, count=count, sentence=f"{count} bodies left the database")
