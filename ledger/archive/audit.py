# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what the ledger says is archived lies in the archive, whole and locked.

Without reading: each object is there, has the length that its content gives, has a lock, and the
hold that was put on it. With reading: its bytes have the digest that is its name. Whether they can
be opened is not asked: that would be a look.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from ledger.archive.rows import Artifact, ArtifactRows
from ledger.archive.store import Archive, ObjectDamaged, ObjectMissing
from ledger.archive.stream import sealed_size

_BATCH: Final = 500
_FIRST: Final = UUID(int=0)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveFinding:
    """One artifact that is not in the archive as the ledger says."""

    artifact_id: str
    object: str
    problem: str  #: `object-missing`, `-damaged`, `-size`, `-unlocked` or `-released`.

    @property
    def sentence(self) -> str:
        return f"artifact {self.artifact_id}: {self.problem} ({self.object})"


def audit(
    rows: ArtifactRows,
    archive: Archive,
    *,
    read: bool,
    progress: Progress | None = None,
) -> tuple[int, list[ArchiveFinding]]:
    """Compare every stored artifact with the archive; returns how many, and what was found.

    Costs a question each; with `read`, every byte. Raises ArchiveUnreachable.
    """
    whole, done = rows.stored(), 0
    found: list[ArchiveFinding] = []
    for one in _stored(rows):
        problem = _problem(one, archive, read=read)
        if problem is not None:
            found.append(
                ArchiveFinding(
                    artifact_id=str(one.artifact_id), object=one.object or "", problem=problem
                )
            )
        done += 1
        if progress is not None:
            progress(done, max(done, whole))
    return done, found


def _stored(rows: ArtifactRows) -> Iterator[Artifact]:
    after = _FIRST
    while batch := rows.in_state("stored", after=after, limit=_BATCH):
        yield from batch
        after = batch[-1].artifact_id


def _problem(one: Artifact, archive: Archive, *, read: bool) -> str | None:
    """Return what is wrong with an artifact's object; None if nothing is."""
    name = one.object or ""
    try:
        there = archive.stat(name)
        if there is None:
            return "object-missing"
        found = {
            "object-size": there.size != sealed_size(one.size),
            "object-unlocked": there.until is None,
            "object-released": one.held and not there.held,
        }
        if read:
            for _ in archive.get(name):
                pass
    except ObjectMissing:
        return "object-missing"
    except ObjectDamaged:
        return "object-damaged"
    return next((problem for problem, is_so in found.items() if is_so), None)
