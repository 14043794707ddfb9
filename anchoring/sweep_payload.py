# SPDX-License-Identifier: GPL-3.0-or-later
"""What expires, by its kind: an entry's bytes, its sealed values, its artifacts.

For each kind this says what may be due, reads the entry it belongs to, and lets it go. Every deed
happens while no hold can be placed, and asks for holds at that moment.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from psycopg import sql

from anchoring.sweep_desk import AHEAD_MS, Desk, Row, may_move
from ledger import clock
from ledger.archive.rows import Artifact, ArtifactRows
from ledger.archive.store import ArchiveLocked
from ledger.holds import Frozen
from ledger.retention import members as bits
from ledger.retention.bodies import BodiesBusy
from ledger.retention.classes import What, add_months
from ledger.retention.cold import Bundle
from ledger.retention.policy import Claim
from ledger.store import read_entry

#: What is looked at in one sweep; the next one goes on.
_RUNS: Final = 4_096

_IN_DATABASE: Final = """
SELECT p.position FROM {book}.entry_body p WHERE p.position < %s
   AND NOT EXISTS (SELECT 1 FROM {book}.bundle b JOIN {book}.moved m USING (name)
                    WHERE b.number = p.position >> 8
                      AND get_bit(b.members, (p.position & 255)::int) = 1)
 ORDER BY 1
"""
_SEALED: Final = """
SELECT DISTINCT e.position FROM {book}.sealed s JOIN {book}.entry e USING (event_id)
 WHERE s.blob IS NOT NULL AND e.position < %s ORDER BY 1
"""
_ARTIFACTS: Final = """
SELECT DISTINCT e.position FROM {book}.artifact a JOIN {book}.entry e USING (event_id)
 WHERE a.wrapped_key IS NOT NULL AND e.position < %s ORDER BY 1
"""
_TOMBSTONES: Final = (
    "SELECT number, members FROM {book}.tombstone WHERE what = %s AND number = ANY(%s)"
)

_OF_HELD: Final = """
SELECT EXISTS (SELECT 1 FROM {book}.artifact a
                 JOIN {book}.hold h ON a.subject_ref = ANY (h.subjects)
                WHERE h.released IS NULL AND a.artifact_id = ANY(%s))
"""

Unit = tuple[list[Row], Claim]


class Payload:
    """What can expire in one Book."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def candidates(self, what: What) -> Iterator[Unit]:
        """Yield what may be due soon and is not announced, in units that go together."""
        if what == "entry":
            yield from self._bundles()
            yield from self._loose(what, _IN_DATABASE)
        else:
            yield from self._loose(what, _SEALED if what == "disclosures" else _ARTIFACTS)

    def bodies(self, number: int, positions: Sequence[int]) -> Mapping[int, tuple[bytes, Claim]]:
        """Return bytes and claim of entries of one run, from the database or the archive."""
        found: dict[int, tuple[bytes, Claim]] = {}
        cold = self._desk.cold
        missing = set(positions)
        present = missing.intersection(
            self._desk.bodies.present(number * bits.WIDTH, (number + 1) * bits.WIDTH)
        )
        for stored in self._desk.stored(sorted(present)):
            found[stored.position] = stored.entry.data, Claim.of(stored.entry.value)
        missing -= found.keys()
        for one in self._moved([number]) if missing and cold is not None else ():
            if missing.isdisjoint(one.positions) or cold is None:
                continue
            for at, data in cold.read(one).items():
                if at in missing:  # By the bytes: what the index says of a claim proves nothing.
                    found[at] = data, Claim.of(read_entry(data).value)
        return found

    def _claims(self, number: int, positions: Sequence[int]) -> dict[int, Claim]:
        """Return what entries of one run ask for themselves; of cold ones as the index has it.

        That is enough to announce: the check before the deed reads the bytes.
        """
        present = self._desk.bodies.present(number * bits.WIDTH, (number + 1) * bits.WIDTH)
        wanted = set(positions)
        found = {at: one.claim for one in self._moved([number]) for at in one.positions}
        for stored in self._desk.stored(sorted(wanted.intersection(present))):
            found[stored.position] = Claim.of(stored.entry.value)
        return found

    def drop(self, what: What, number: int, positions: Sequence[int]) -> bool:
        """Let go of one run's part; False if it is held, locked or read by somebody: next time."""
        with self._desk.holds.frozen() as frozen:
            held = {at for at, _ in frozen.on_positions(min(positions), max(positions) + 1)}
            if held.intersection(positions):
                return False
            try:
                if what == "entry":
                    return self._drop_bodies(frozen, number, positions)
                if what == "disclosures":
                    return self._drop_sealed(frozen, positions)
                return self._drop_artifacts(frozen, positions)
            except (BodiesBusy, ArchiveLocked):
                return False

    def kept(self, what: What, number: int, positions: Sequence[int]) -> bool:
        """Whether an archive would keep one run's part now: by a lock, a hold, or being away."""
        if what == "disclosures":
            return False
        if what == "artifacts":
            found = self._artifacts(positions)
            names = [one.object for one in found if one.object is not None]
            with self._desk.holds.frozen() as frozen:
                if self._on_hold(frozen, found):
                    return True
        else:
            names = [one.name for one in self._moved([number]) if _within(one, positions)]
        return self._locked(names)

    def _locked(self, names: Sequence[str]) -> bool:
        """Whether the archive keeps any of these objects, or is not there to let them go.

        Asked before the first of them is deleted: they go together or not at all, or the rest of an
        announcement would wait for a lock with objects missing that the index still names.
        """
        archive, now = self._desk.archive, clock.from_ms(self._desk.now_ms)
        if archive is None:
            return bool(names)
        stored = [one for name in names if (one := archive.stat(name)) is not None]
        return any(one.held or (one.until is not None and now < one.until) for one in stored)

    # Entries

    def _bundles(self) -> Iterator[Unit]:
        cold = self._desk.cold
        if cold is None:
            return
        found = cold.bundles("m.name IS NOT NULL AND b.due <= %s", self._desk.now_ms + AHEAD_MS)
        announced = self._announced("entry", [one.number for one in found])
        open_ = [one for one in found if not bits.holds(announced[one.number], one.positions[0])]
        for one in open_[:_RUNS]:
            yield self._desk.rows(one.positions), one.claim

    @property
    def _schema(self) -> str:
        return self._desk.book.row.schema

    def _moved(self, numbers: Sequence[int]) -> list[Bundle]:
        cold = self._desk.cold
        if cold is None:
            return []
        return cold.bundles("m.name IS NOT NULL AND b.number = ANY(%s)", list(numbers))

    def _drop_bodies(self, frozen: Frozen, number: int, positions: Sequence[int]) -> bool:
        cold, bundles = self._desk.cold, self._moved([number])
        going = [one.name for one in bundles if _within(one, positions)]
        if self._locked(going):
            return False
        for child, inside in self._desk.bodies.children(positions):
            self._desk.bodies.drop(frozen.connection, child, inside)
        if cold is None:
            return not bundles
        for name in going:
            cold.archive.delete(name)
        book = sql.Identifier(self._schema)
        frozen.connection.execute(
            sql.SQL("DELETE FROM {}.thawed WHERE position = ANY(%s)").format(book),
            (list(positions),),
        )
        # Hashes of its pictures say what the entry said.
        frozen.connection.execute(
            sql.SQL("DELETE FROM {}.similar WHERE event_id = ANY(%s::uuid[])").format(book),
            ([row.event_id for row in self._desk.rows(positions)],),
        )
        return True

    # What belongs to entries, wherever their bytes are

    def _loose(self, what: What, query: str) -> Iterator[Unit]:
        """Yield entries by run and claim, as far as they are old enough for any class."""
        shortest = self._shortest(what)
        if shortest is None:
            return
        # Months differ in length: a few days more, and each entry's own date decides.
        latest = add_months(self._desk.now_ms + AHEAD_MS, -shortest) + 3 * clock.DAY_MS
        before = self._desk.first_after(latest)
        runs = bits.by_run(at for (at,) in self._desk.select(query, before))
        announced = self._announced(what, list(runs))
        left = {
            number: positions
            for number in sorted(runs)
            if (positions := [at for at in runs[number] if not bits.holds(announced[number], at)])
        }
        for number, positions in itertools.islice(left.items(), _RUNS):
            rows = [row for row in self._desk.rows(positions) if may_move(row)]
            if rows:
                yield from self._by_claim(what, number, rows)

    def _by_claim(self, what: What, number: int, rows: Sequence[Row]) -> Iterator[Unit]:
        claims = self._claims(number, [row.position for row in rows])
        groups: dict[tuple[Claim, int | None], list[Row]] = defaultdict(list)
        for row in rows:
            if row.position in claims:
                claim = claims[row.position]
                groups[claim, self._desk.due(what, [row], claim)].append(row)
        for (claim, _), group in groups.items():
            yield group, claim

    def _announced(self, what: What, numbers: list[int]) -> Mapping[int, bytes]:
        found: dict[int, int] = defaultdict(int)
        for number, members in self._desk.select(_TOMBSTONES, what, numbers):
            found[number] |= int.from_bytes(members, "little")
        return {number: found[number].to_bytes(bits.BYTES, "little") for number in numbers}

    def _shortest(self, what: What) -> int | None:
        """Return the months of the shortest class of any version."""
        versions = self._desk.policies.versions
        months = [of[what] for one in versions for of in one.classes.values()]
        return min(months, default=None)

    def _drop_sealed(self, frozen: Frozen, positions: Sequence[int]) -> bool:
        """Delete sealed values and their blind indexes; the role `retain` may, a hold refuses."""
        ids = [row.event_id for row in self._desk.rows(positions)]
        for table in ("sealed", "blind"):
            frozen.connection.execute(
                sql.SQL("DELETE FROM {}.{} WHERE event_id = ANY(%s::uuid[])").format(
                    sql.Identifier(self._schema), sql.Identifier(table)
                ),
                (ids,),
            )
        return True

    def _drop_artifacts(self, frozen: Frozen, positions: Sequence[int]) -> bool:
        """Delete artifacts from the archive, then their keys and previews; their digests stay."""
        archive = self._desk.archive
        rows, found = self._artifact_rows, self._artifacts(positions)
        objects = [one.object for one in found if one.object is not None]
        if self._on_hold(frozen, found) or self._locked(objects):
            return False
        if archive is not None:
            for name in objects:
                archive.delete(name)
        rows.clear(frozen.connection, "expired", [one.artifact_id for one in found])
        return True

    def _on_hold(self, frozen: Frozen, found: Sequence[Artifact]) -> bool:
        """Whether a hold names one of these artifacts, or the person whose it is.

        A person's hold means the entries with values of theirs; those may have expired before.
        """
        query = sql.SQL(_OF_HELD).format(book=sql.Identifier(self._schema))
        ids = [one.artifact_id for one in found]
        ((held,),) = frozen.connection.execute(query, (ids,)).fetchall()
        return held or any(frozen.on_artifact(name) for name in _names(found))

    @property
    def _artifact_rows(self) -> ArtifactRows:
        return ArtifactRows(self._desk.book.database, self._schema)

    def _artifacts(self, positions: Sequence[int]) -> list[Artifact]:
        """Return the artifacts of these entries that are not gone."""
        ids = [row.event_id for row in self._desk.rows(positions)]
        found = self._artifact_rows.of_events(ids)
        return [one for one in found if one.state not in ("erased", "expired")]


def _within(bundle: Bundle, positions: Sequence[int]) -> bool:
    """Whether all of a bundle goes: it is announced as a whole, so what goes of it is all of it."""
    return set(positions).issuperset(bundle.positions)


def _names(found: Sequence[Artifact]) -> list[str]:
    """Return all by which a hold may name these artifacts."""
    digests = [one.digest.hex() for one in found if one.digest is not None]
    return digests + [one.object for one in found if one.object is not None]
