# SPDX-License-Identifier: GPL-3.0-or-later
"""The nightly retention sweep of one Book, and the plan of what it would do.

    partitions ahead ─ announce what is due soon ─ check what is anchored ─ let go what is ready
                     ─ copy to the cold tier ─ drop what is cold ─ shrink the index
                     ─ keep locks long enough

Each step starts from what is recorded, so a sweep that was killed is simply started again, and two
do no harm: one has the turn, the other says so. Without a published policy nothing is moved and
nothing expires. Without an archive nothing is moved, and what is in the database can expire.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from anchoring.shelf import Book
from anchoring.sweep_desk import Desk, Step
from anchoring.sweep_expiry import Expiry
from anchoring.sweep_search import Search
from anchoring.sweep_tiers import Tiers
from ledger.archive.store import Archive
from ledger.errors import Unavailable
from ledger.retention.classes import WHAT
from ledger.retention.published import end_turn, publishing, take_turn


class SweepBusy(Unavailable):
    """Another process is sweeping this Book; ask again when it has finished."""

    problem = "sweep-busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a sweep would do now. Numbers are entries unless they say otherwise."""

    policy: str | None  #: Version in force, such as `acme-retention/2`.
    size: int
    anchored: int
    to_warm: int
    to_cold: int
    runs: int  #: Of 256, that would be copied to the archive.
    to_drop: int  #: Cold already, still in the database, and not held.
    to_announce: dict[str, int]
    held: dict[str, int]  #: Due, and kept by a hold.
    waiting: int  #: Announced; their seven days, or their floors, are not over.
    to_expire: int
    kept: int  #: Announced and due, and kept by a hold, or by the archive's lock.
    refused: int  #: Announced, and found not to fit: nothing of it goes.


class RetentionSweep:
    """Sweeps one Book, as of the newest entry of its log."""

    def __init__(self, book: Book, archive: Archive | None) -> None:
        self._book, self._archive = book, archive

    def run(self) -> Iterator[Step]:
        """Do what is due; yields each thing done. Raises SweepBusy, and what an archive raises."""
        schema = self._book.row.schema
        with self._book.database.connection() as connection:
            if not take_turn(connection, schema):
                raise SweepBusy
            try:
                yield from self._steps()
            finally:
                end_turn(connection, schema)

    def _steps(self) -> Iterator[Step]:
        tiers = Tiers(self._desk())
        yield from tiers.make_room()
        expiry = Expiry(self._desk())
        yield from expiry.check()
        yield from expiry.drop()
        yield from expiry.announce()
        yield from tiers.move()
        yield from tiers.drop()
        yield from tiers.fold()
        yield from Search(self._desk()).cool()
        yield from tiers.keep_locked()

    def plan(self) -> Plan:
        """Say what `run` would do; changes nothing."""
        desk = self._desk()
        tiers, expiry = Tiers(desk), Expiry(desk)
        policy = desk.policies.current(desk.now_ms)
        runs = tiers.runs_due() if desk.cold is not None else range(0)
        due = {what: expiry.due(what) for what in WHAT} if policy is not None else {}
        waiting = going = kept = refused = 0
        for one in expiry.open():
            if one.ready(desk.now_ms):
                goes, stays = expiry.forecast(one)
                going, kept = going + goes, kept + stays
            elif one.sound is False:
                refused += len(one.manifest.leaves)
            else:
                waiting += len(one.manifest.leaves)
        droppable = tiers.droppable()
        return Plan(
            policy=None if policy is None else f"{policy.id}/{policy.version}",
            size=desk.size,
            anchored=desk.anchored,
            to_warm=Search(desk).leaving(),
            to_cold=tiers.movable(runs),
            runs=len(runs),
            to_drop=len(droppable) - len(desk.held(droppable)),
            to_announce={what: sum(map(len, units)) for what, (units, _) in due.items()},
            held={what: held for what, (_, held) in due.items()},
            waiting=waiting,
            to_expire=going,
            kept=kept,
            refused=refused,
        )

    def _desk(self) -> Desk:
        return Desk.open(self._book, self._archive)


def publish_policy(book: Book, document: dict[str, object]) -> str:
    """Record the next version of a Book's policy; returns its event's id.

    Raises MalformedEvent, PolicyConflict, SweepBusy.
    """
    schema = book.row.schema
    with book.database.connection() as connection:
        if not take_turn(connection, schema):
            raise SweepBusy
        try:
            prepared = publishing(book.reader, document)
            book.record_own(prepared)
        finally:
            end_turn(connection, schema)
    return prepared.event_id
