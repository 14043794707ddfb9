# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells a lawful absence from a theft: whether each body that is not there may not be there.

    TIER_MOVED ──digest──► bundles: which positions lie in the archive
    RETENTION_EXPIRED ──digest──► manifest: which leaves were announced to go, and not before when
        anchored since seven days, found sound by an INTEGRITY_CHECK, past every floor? then lawful

Tables of the database only point; what counts is what entries of the log commit to. A body that is
absent for another reason is damage at its position. With an archive at hand it is asked whether it
has each bundle, and if told so every cold body is read and hashed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from psycopg import sql

from anchoring.sweep_desk import Row, leaf_of, may_move
from anchoring.tile_walk import Damage
from ledger import clock
from ledger.database import Connection
from ledger.errors import IntegrityViolation, LedgerError, Unavailable
from ledger.reader import disagreement
from ledger.retention import members as bits
from ledger.retention.cold import Bundle, Cold, all_bundles, objects_digest
from ledger.retention.manifest import WINDOW_MS, Leaf, Manifest, digest_of
from ledger.retention.policy import Claim, Policies
from ledger.store import read_entry

TOLD: Final = frozenset(
    {"RETENTION_POLICY_PUBLISHED", "TIER_MOVED", "RETENTION_EXPIRED", "INTEGRITY_CHECK"}
)

_NAMED: Final = (
    "SELECT position, event_id::text, recorded_at FROM {book}.entry WHERE position = ANY(%s)"
)
_ROWS: Final = (
    "SELECT position, leaf, event_id::text, stream, version, topic, recorded_at"
    " FROM {book}.entry WHERE position = ANY(%s)"
)
_COLUMNS: Final = (
    "SELECT position, event_id::text, stream, version, topic, recorded_at, request_digest,"
    " source_id, source_n FROM {book}.entry WHERE position = ANY(%s)"
)
_MANIFEST: Final = "SELECT bytes FROM {book}.manifest WHERE event_id = %s::uuid"

_INDEX: Final = (
    "SELECT t.number, t.event_id::text, t.members, x.number IS NOT NULL FROM {book}.tombstone t"
    " LEFT JOIN {book}.expired x USING (number, event_id)"
)

_LISTED: Final = 100  #: More absent bodies than this are not named one by one.

#: With more bundles than this the archive is asked for a part of them each day, all in a month.
_ASKED: Final = 1_000
_DAYS: Final = 30


class _Entry(NamedTuple):
    """An entry that says something of keeping."""

    position: int
    event_id: str
    recorded_ms: int
    body: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Absent:
    """How many bodies are not in the database, by where they are instead."""

    cold: int = 0
    expired: int = 0  #: Leaf only.
    unread: int = 0  #: Cold, and not read by this check.
    unreachable: bool = False  #: The archive could not be asked.


@dataclass(slots=True)
class RetentionWalk:
    """Takes what a log says of keeping, and which bodies are absent; judges at the end.

    cold: the archive of the Book, if it is at hand; read: have every cold body read.
    """

    schema: str
    cold: Cold | None = None
    read: bool = False
    absent: Absent = field(default_factory=Absent)
    _told: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    _gone: dict[int, int] = field(default_factory=dict)  #: Run → bits of absent bodies.

    def take(self, position: int, type_: str, body: dict[str, Any]) -> None:
        """Note an entry of the types TOLD, or an ANCHOR."""
        self._told.append((position, type_, body))

    def gone(self, position: int) -> None:
        """Note that the body at `position` is not in the database."""
        run = position // bits.WIDTH
        self._gone[run] = self._gone.get(run, 0) | 1 << position % bits.WIDTH

    def finish(
        self, connection: Connection, progress: Callable[[int, int], None] = lambda _d, _a: None
    ) -> Iterator[Damage]:
        """Judge; the columns must have been compared with the bytes that are there before."""
        entries = self._entries(connection)
        bundles = list(all_bundles(connection, self.schema))
        moved: dict[int, int] = {}
        yield from self._moves(entries["TIER_MOVED"], bundles, moved)
        lawful, complaints = self._lawful(connection, entries)
        yield from complaints
        yield from self._absences(moved, lawful)
        yield from self._archive(connection, bundles, moved, lawful, progress)

    def _entries(self, connection: Connection) -> dict[str, list[_Entry]]:
        found: dict[str, list[_Entry]] = {name: [] for name in (*TOLD, "ANCHOR")}
        positions = [position for position, _, _ in self._told]
        named = {
            position: (event_id, recorded)
            for position, event_id, recorded in self._select(connection, _NAMED, positions)
        }
        for position, type_, body in self._told:
            if position in named:
                found[type_].append(_Entry(position, *named[position], body))
        return found

    # Cold

    def _moves(
        self, entries: list[_Entry], bundles: list[Bundle], moved: dict[int, int]
    ) -> Iterator[Damage]:
        """Hold the bundles against the entries that name them; fills `moved`: run → bits."""
        named: dict[str, list[Bundle]] = {}
        for one in bundles:
            if one.moved_by is not None:
                named.setdefault(one.moved_by, []).append(one)
        for entry in entries:
            if entry.body.get("to") != "cold":
                continue
            of = named.pop(entry.event_id, [])
            if objects_digest(of) != entry.body["objects_digest"]:
                said = "is not what lies in the index of bundles"
                yield entry.position, "bundle", f"what moved at position {entry.position} {said}"
                continue
            for one in of:
                moved[one.number] = moved.get(one.number, 0) | _bits(one.members)
        # A bundle that waits for its entry is no damage: the body is still there, or it is named.

    # Expired

    def _lawful(
        self, connection: Connection, entries: dict[str, list[_Entry]]
    ) -> tuple[dict[int, int], list[Damage]]:
        """Return which leaves may be gone (run → bits), and what is wrong with announcements."""
        lawful: dict[int, int] = {}
        complaints: list[Damage] = []
        announced: dict[str, tuple[int, bool, dict[int, bytes]]] = {}
        now_ms = self._last_ms(connection)
        policies = Policies(
            [(one.body, one.recorded_ms) for one in entries["RETENTION_POLICY_PUBLISHED"]]
        )
        for entry in entries["RETENTION_EXPIRED"]:
            said = self._manifest(connection, entry, policies, now_ms)
            if isinstance(said, str):
                complaints.append((entry.position, "manifest", f"{_expiry(entry)}: {said}"))
                continue
            over, runs = _carried_out(entry, said, entries, now_ms), said.runs()
            announced[entry.event_id] = entry.position, over, runs
            for run, members in runs.items() if over and said.what == "entry" else ():
                lawful[run] = lawful.get(run, 0) | _bits(members)
        complaints += self._index(connection, announced)
        return lawful, complaints

    def _index(
        self, connection: Connection, announced: Mapping[str, tuple[int, bool, dict[int, bytes]]]
    ) -> Iterator[Damage]:
        """Hold the index of tombstones, which others believe, against the manifests."""
        wrong = set()
        for number, event_id, members, gone in connection.execute(self._sql(_INDEX)):
            position, over, runs = announced.get(event_id, (None, False, {}))
            # What is written down and not recorded yet says nothing, as long as nothing is gone.
            if (gone and not over) or (runs and runs.get(number) != bytes(members)):
                wrong.add(position)
        for position in sorted(wrong, key=lambda at: at or 0):
            named = "no announcement" if position is None else f"the one at position {position}"
            yield position, "manifest", f"the index says expired of what {named} does not cover"

    def _manifest(
        self, connection: Connection, entry: _Entry, policies: Policies, now_ms: int
    ) -> Manifest | str:
        """Return the manifest that an entry commits to, or what is wrong with it."""
        row = connection.execute(self._sql(_MANIFEST), (entry.event_id,)).fetchone()
        if row is None:
            return "its manifest is gone"
        data = bytes(row[0])
        if digest_of(data) != entry.body["tombstone_digest"]:
            return "its manifest was changed"
        try:
            found = Manifest.decode(data)
        except IntegrityViolation as error:
            return str(error)
        rows = {
            position: Row(position, bytes(leaf), *rest)
            for position, leaf, *rest in self._select(
                connection, _ROWS, [leaf.index for leaf in found.leaves]
            )
        }
        for leaf in found.leaves:
            wrong = _complaint(found, leaf, rows.get(leaf.index), policies, now_ms)
            if wrong is not None:
                return f"{wrong} at position {leaf.index}"
        return found

    def _last_ms(self, connection: Connection) -> int:
        query = self._sql("SELECT coalesce(max(last_time), 0) FROM {book}.head")
        row = connection.execute(query).fetchone()
        return 0 if row is None else int(row[0])

    # What is absent

    def _absences(self, moved: dict[int, int], lawful: dict[int, int]) -> Iterator[Damage]:
        listed = 0
        for run in sorted(self._gone):
            absent = self._gone[run]
            expired = absent & lawful.get(run, 0)
            cold = absent & moved.get(run, 0) & ~expired
            self.absent.expired += expired.bit_count()
            self.absent.cold += cold.bit_count()
            stolen = absent & ~expired & ~cold
            for position in bits.unpack(run, stolen.to_bytes(bits.BYTES, "little")):
                listed += 1
                if listed <= _LISTED:
                    yield position, "body", f"the body at position {position} is gone"
        self.absent.unread = self.absent.cold

    # What the archive has

    def _archive(
        self,
        connection: Connection,
        bundles: list[Bundle],
        moved: dict[int, int],
        lawful: dict[int, int],
        progress: Callable[[int, int], None],
    ) -> Iterator[Damage]:
        if self.cold is None:
            return
        there = [
            one
            for one in bundles
            if one.moved_by is not None and moved.get(one.number, 0) & _bits(one.members)
        ]
        if not self.read and len(there) > _ASKED:
            today = self._last_ms(connection) // clock.DAY_MS % _DAYS
            there = [one for one in there if one.number % _DAYS == today]
        for done, one in enumerate(there, 1):
            expired = not _bits(one.members) & ~lawful.get(one.number, 0)
            try:
                said = None if expired else self._look(connection, self.cold, one)
            except Unavailable:
                self.absent.unreachable = True
                return
            if said is not None:
                yield one.positions[0], "cold", f"of the bundle from position {said}"
            progress(done, len(there))
        if self.read:
            self.absent.unread = 0

    def _look(self, connection: Connection, cold: Cold, one: Bundle) -> str | None:
        """Return what is wrong with a bundle in the archive, after its first position."""
        first = one.positions[0]
        try:
            if not self.read:
                return None if cold.archive.stat(one.name) is not None else f"{first} is gone"
            bodies = cold.read(one)
        except Unavailable:
            raise
        except LedgerError as error:
            return f"{first}: {error}"
        rows = {row[0]: list(row[1:]) for row in self._select(connection, _COLUMNS, one.positions)}
        for position, data in bodies.items():
            columns = rows[position]
            wrong = disagreement(read_entry(data), leaf_fits=True, columns=columns)
            if wrong is not None:
                return f"{first}: at position {position} the column {wrong} was changed"
        return None

    def _select(
        self, connection: Connection, text: str, positions: list[int]
    ) -> list[tuple[Any, ...]]:
        return connection.execute(self._sql(text), (positions,)).fetchall()

    def _sql(self, text: str) -> sql.Composed:
        return sql.SQL(text).format(book=sql.Identifier(self.schema))


def _complaint(
    manifest: Manifest, leaf: Leaf, row: Row | None, policies: Policies, now_ms: int
) -> str | None:
    """Return what is wrong with one line; what only the bytes would tell is not judged here."""
    claim = Claim(name=leaf.claim or None)
    if row is None or leaf_of(row, claim, leaf.not_before_ms) != leaf:
        return "it lists another entry than the one"
    if manifest.what == "entry" and not may_move(row):
        return "it lists what never expires"
    due = policies.due(manifest.what, row.type, claim, recorded_ms=row.recorded_ms, now_ms=now_ms)
    if due is None or due > leaf.not_before_ms:
        return "it ends before its floor what lies"
    return None


def _carried_out(
    entry: _Entry, manifest: Manifest, entries: Mapping[str, list[_Entry]], now_ms: int
) -> bool:
    """Say if what an announcement lists may be gone by now."""
    anchored = [
        one.recorded_ms
        for one in entries["ANCHOR"]
        if one.body["checkpoint"]["size"] > entry.position
    ]
    checks = [
        one.body["damaged"] == 0
        for one in entries["INTEGRITY_CHECK"]
        if one.body["expiry"] == entry.event_id
        and one.body["tombstone_digest"] == entry.body["tombstone_digest"]
        and one.position > entry.position
    ]
    return (
        bool(anchored)
        and min(anchored) + WINDOW_MS <= now_ms
        and manifest.not_before_ms <= now_ms
        and bool(checks)
        and all(checks)
    )


def _expiry(entry: _Entry) -> str:
    return f"the expiry announced at position {entry.position} ({clock.day_of(entry.recorded_ms)})"


def _bits(members: bytes) -> int:
    return int.from_bytes(members, "little")
