# SPDX-License-Identifier: GPL-3.0-or-later
"""What the archive is told after the deed: legal holds, and what may go once its lock has run out.

A hold is an entry of the log and is obeyed from then on, whatever the archive knows. It is put on
the objects as well, so that nobody with the archive's account deletes one whose date has passed.
What was erased or has expired lies there without a key until its date; then it is deleted, unless
it is held.
"""

import logging
from typing import Any, Final
from uuid import UUID

from psycopg import sql

from ledger.archive.store import Archive, ArchiveLocked, ObjectMissing
from ledger.clock import Clock
from ledger.holds import Frozen, HeldBook, Holds

log = logging.getLogger("sealtrail.archive")

_BATCH: Final = 200

#: Whatever is said to be held or may have to be: nothing, as long as nobody holds anything.
_ANY: Final = """
SELECT EXISTS (SELECT 1 FROM {book}.hold WHERE released IS NULL)
    OR EXISTS (SELECT 1 FROM {book}.artifact WHERE held)
"""
_HERE: Final = """
SELECT artifact_id, event_id::text, object, digest, held FROM {book}.artifact
 WHERE object IS NOT NULL AND stored_at IS NOT NULL AND gone_at IS NULL AND artifact_id > %s
 ORDER BY artifact_id LIMIT %s
"""
_TO_GO: Final = """
SELECT artifact_id, event_id::text, object, digest, held FROM {book}.artifact
 WHERE state IN ('erased', 'expired') AND object IS NOT NULL AND gone_at IS NULL
   AND artifact_id > %s
 ORDER BY artifact_id LIMIT %s
"""
_HELD: Final = "UPDATE {book}.artifact SET held = %s WHERE artifact_id = %s"
_GONE: Final = "UPDATE {book}.artifact SET gone_at = %s WHERE artifact_id = %s"


class Upkeep:
    """Brings the archive's holds, and what lies there for nobody, in line with the log."""

    def __init__(self, book: HeldBook, archive: Archive, *, now_ms: Clock) -> None:
        self._holds, self._archive, self._now_ms = Holds.of(book), archive, now_ms
        self._book = sql.Identifier(book.row.schema)

    def follow_holds(self) -> int:
        """Put legal holds on objects, or take them off; returns how many. Safe to break off."""
        changed, after = 0, UUID(int=0)
        while True:
            with self._holds.frozen() as frozen:
                row = frozen.connection.execute(self._sql(_ANY)).fetchone()
                found = self._batch(frozen, _HERE, after) if row is not None and row[0] else []
                keep = self._held(frozen, found)
                for artifact_id, _, object_, _, held in found:
                    wanted = artifact_id in keep
                    if wanted != held and self._told(object_, wanted):
                        frozen.connection.execute(self._sql(_HELD), (wanted, artifact_id))
                        changed += 1
            if not found:
                return changed
            after = found[-1][0]

    def bury(self) -> int:
        """Delete objects that nobody can open any more and nothing keeps; returns how many."""
        buried, after = 0, UUID(int=0)
        while True:
            with self._holds.frozen() as frozen:  # Nobody can place a hold meanwhile.
                found = self._batch(frozen, _TO_GO, after)
                kept = self._held(frozen, found)
                for artifact_id, _, object_, _, _ in found:
                    if artifact_id in kept:
                        continue
                    try:
                        self._archive.delete(object_)
                    except ArchiveLocked:
                        continue  # Its date has not come.
                    values = (self._now_ms(), artifact_id)
                    frozen.connection.execute(self._sql(_GONE), values)
                    buried += 1
            if not found:
                return buried
            after = found[-1][0]

    def _told(self, name: str, wanted: bool) -> bool:
        try:
            self._archive.hold(name, wanted)
        except ObjectMissing:
            log.critical("an archived object is gone: %s", name)
            return False
        return True

    def _batch(self, frozen: Frozen, query: str, after: UUID) -> list[tuple[Any, ...]]:
        return frozen.connection.execute(self._sql(query), (after, _BATCH)).fetchall()

    def _held(self, frozen: Frozen, found: list[tuple[Any, ...]]) -> set[UUID]:
        """Return those that a hold keeps: by event, content or object.

        A hold on a person holds each event with values of theirs, so it is among those.
        """
        if not found or not frozen.any():
            return set()
        events = frozen.on_events([event_id for _, event_id, *_ in found])
        held = set()
        for artifact_id, event_id, object_, digest, _ in found:
            names = [object_] if digest is None else [object_, digest.hex()]
            if event_id in events or any(frozen.on_artifact(name) for name in names):
                held.add(artifact_id)
        return held

    def _sql(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(book=self._book)
