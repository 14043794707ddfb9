# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be re-derived from one range of a log by itself, in whichever process.

    bytes ──► canonical? an entry? ──► leaf ──► tiles of level 0
      └─────► columns, request digest, births, lifecycles, times

What needs the order of the whole log (MACs, epochs, roots, anchors, the seams between ranges) is
collected here and judged by anchoring.fsck, range after range.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from anchoring import completeness_walk, retention_walk
from anchoring.lifecycle_walk import LifecycleWalk, Told, born_of
from anchoring.outline import Outlines, Skimmed
from anchoring.tile_walk import Damage, compare_leaves
from ledger import clock
from ledger.database import Connection
from ledger.decoding import decode
from ledger.errors import EntryDamaged, LedgerError, Unavailable
from ledger.printing import canonical_bytes
from ledger.reader import Reader, disagreement
from ledger.store import Entry
from sealtrail.verify.entry import ENTRY_MAX, check_members, client_part
from sealtrail.verify.errors import Unreadable, VerifyError

_STEP: Final = 4_096
_MINUTES: Final = 4_096

#: Types whose bodies say something of the whole log.
_TOLD: Final = (
    retention_walk.TOLD
    | completeness_walk.TOLD
    | {"EPOCH_SEALED", "ANCHOR", "INCARNATION_OPENED", "KEY_ROTATED"}
)


@dataclass(slots=True, kw_only=True)
class RangeFound:
    """What one range of entries gave; `begin` is a multiple of 256."""

    begin: int
    end: int
    leaves: list[bytes] = field(default_factory=list)  #: Of the bytes; zeros for what is gone.
    macs: list[bytes] = field(default_factory=list)  #: As stored.
    stored_leaves: dict[int, bytes] = field(default_factory=dict)  #: Where they are others.
    missing: dict[int, str] = field(default_factory=dict)  #: Position → "entry" or "body".
    told: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)  #: See _TOLD.
    damage: list[Damage] = field(default_factory=list)  #: In order of position.
    times: list[tuple[int, int]] = field(default_factory=list)  #: First and last: position, ms.
    log: list[tuple[int, int]] = field(default_factory=list)  #: Same of Log: position, version.
    tile_roots: list[bytes] = field(default_factory=list)
    tiles: int = 0  #: How many of these tiles are stored.
    births: int = 0  #: How many births the index knew.
    begun: int = 0  #: How many streams began.


class RangeWalk:
    """Checks ranges of the Book in `schema`, one after the other or here and there."""

    def __init__(self, reader: Reader, schema: str) -> None:
        self._reader, self._schema = reader, schema
        self._lifecycles = LifecycleWalk(schema)
        self._outlines = Outlines()
        self._minutes: dict[str, int] = {}
        self._next = 0  # Where the last range ended.
        self._found = RangeFound(begin=0, end=0)
        self._born: dict[str, int] = {}

    def check(self, connection: Connection, begin: int, end: int) -> RangeFound:
        """Check the entries of [begin, end); raises Unavailable when the database is lost."""
        found = self._found = RangeFound(begin=begin, end=end)
        if begin != self._next:
            self._lifecycles.leap()  # What is remembered of streams may be old.
        self._next = end
        for first in range(begin, end, _STEP):
            last = min(first + _STEP, end)
            for row in self._reader.raw_rows(connection, first, last):
                position = begin + len(found.leaves)
                if row[0] < position:
                    self._add(row[0], "entry", f"two rows claim position {row[0]}")
                    continue
                for gone in range(position, row[0]):
                    self._gone(gone)
                self._entry(connection, row)
            for gone in range(begin + len(found.leaves), last):
                self._gone(gone)
            for at, sentence in self._lifecycles.compare_births(connection, self._born):
                self._add(at, "birth", sentence)
            self._born = {}
        found.births, found.begun = self._lifecycles.counted()
        found.tile_roots, found.tiles, damage = compare_leaves(
            connection, self._schema, begin, found.leaves
        )
        found.damage += damage
        return found

    def _add(self, position: int, what: str, sentence: str) -> None:
        self._found.damage.append((position, what, sentence))

    def _gone(self, position: int) -> None:
        self._found.missing[position] = "entry"
        self._found.leaves.append(bytes(32))
        self._found.macs.append(bytes(32))

    def _entry(self, connection: Connection, row: tuple[Any, ...]) -> None:
        found = self._found
        position, stored_leaf, mac = row[0], row[1], row[2]
        data = row[11]
        found.macs.append(mac)
        if data is None:
            found.missing[position] = "body"
            found.leaves.append(stored_leaf)
            self._hollow(connection, row)
            return
        leaf = sha256(b"\x00" + data).digest()
        found.leaves.append(leaf)
        if leaf != stored_leaf:
            found.stored_leaves[position] = stored_leaf
        try:
            skimmed = self._outlines.skim(data)
            if skimmed is not None:
                self._skimmed(connection, row, skimmed)
                return
            if len(data) > ENTRY_MAX:
                raise Unreadable("The entry is larger than 16 KiB.")
            value = check_members(decode(data))
            self._meaning(connection, position, Entry(data=data, value=value), row[3:11])
            self._outlines.learn(data, value)
        except VerifyError as error:
            self._add(position, "bytes", f"the bytes at position {position}: {error}")
        except Unavailable:
            raise
        except (LedgerError, LookupError, TypeError, ValueError, AttributeError):
            # The envelope has been checked; what is left is a body of another shape.
            self._add(
                position, "bytes", f"the body at position {position} does not fit its event type"
            )

    def _hollow(self, connection: Connection, row: tuple[Any, ...]) -> None:
        """Follow an entry whose bytes are elsewhere by what the index says of it."""
        position, _, _, _, stream, version, topic, recorded_ms, *_ = row
        type_, _, schema = topic.partition("/")
        kind, _, id_ = stream.partition("/")
        try:
            body = self._lifecycles.remains(connection, position, topic)
        except EntryDamaged as damage:
            self._add(position, "lifecycle", f"at position {position} {damage}")
            return
        told = Told(
            type=type_,
            schema=int(schema) if schema.isdecimal() else 0,
            kind=kind,
            aggregate_id=id_,
            version=version,
            body=body,
            by_ledger=False,
            hollow=True,
        )
        try:
            self._follow(connection, position, recorded_ms, stream, told)
        except (LookupError, TypeError, AttributeError):
            said = "what is kept of the body is not of its type"
            self._add(position, "lifecycle", f"at position {position} {said}")

    def _skimmed(self, connection: Connection, row: tuple[Any, ...], of: Skimmed) -> None:
        """Judge what an outline gave; whatever does not fit is judged again from the value."""
        outline, aggregate_id, version, event_id, recorded, source_id, source_n, part, assets = of
        position, _, _, *columns, data = row
        ms = self._ms(recorded)
        stream = outline.prefix + aggregate_id
        digest = sha256(part.encode()).digest()
        told = [event_id, stream, version, outline.topic, ms, digest, source_id, source_n]
        if columns != told:
            value = check_members(decode(data))
            self._meaning(connection, position, Entry(data=data, value=value), row[3:11])
            return
        if version == 1 and outline.attempts and not assets and self._lifecycles.attempt(stream):
            self._follow_time(position, ms)
            return
        said = Told(
            type=outline.type,
            schema=outline.schema,
            kind=outline.kind,
            aggregate_id=aggregate_id,
            version=version,
            body=outline.body(assets),
            by_ledger=outline.by_ledger,
            recorded=recorded,
        )
        self._follow(connection, position, ms, stream, said)

    def _meaning(
        self, connection: Connection, position: int, entry: Entry, columns: tuple[Any, ...]
    ) -> None:
        value = entry.value
        type_, body = value["type"], value["body"]
        if type_ in _TOLD:
            self._found.told.append((position, type_, body))
        wrong = disagreement(entry, leaf_fits=True, columns=list(columns))
        if wrong is None and not _digest_fits(value, columns[5]):
            wrong = "request_digest"
        if wrong is not None:
            self._add(position, "column", f"at position {position} the column {wrong} was changed")
        told = Told(
            type=type_,
            schema=value["schema"],
            kind=value["aggregate"]["type"],
            aggregate_id=value["aggregate"]["id"],
            version=entry.originator_version,
            body=body,
            by_ledger=value["actor"].get("kind") == "system",
            recorded=value["time"]["recorded"],
        )
        self._follow(connection, position, entry.recorded_ms, entry.stream, told)

    def _follow(
        self, connection: Connection, position: int, ms: int, stream: str, of: Told
    ) -> None:
        """Judge what an entry may be only after the others."""
        self._follow_time(position, ms)
        for asset in () if of.hollow else born_of(of.type, of.aggregate_id, of.body):
            self._born.setdefault(asset, position)
        if of.kind == "Log":
            self._follow_log(position, of)
            return
        complaint = self._lifecycles.step(connection, position, stream, of)
        if complaint is not None:
            self._add(position, "lifecycle", f"at position {position} {complaint}")

    def _follow_time(self, position: int, ms: int) -> None:
        times = self._found.times
        if not times:
            times += ((position, ms), (position, ms))
            return
        if ms < times[1][1]:
            self._add(position, "time", f"time goes back at position {position}")
        times[1] = (position, ms)

    def _follow_log(self, position: int, of: Told) -> None:
        log = self._found.log
        if self._lifecycles.misplaced(of):
            said = "the event's type does not belong to its stream"
            self._add(position, "lifecycle", f"at position {position} {said}")
        elif not log:
            log += ((position, of.version), (position, of.version))
        else:
            if of.version != log[1][1] + 1:
                said = "the Log stream's version has a gap"
                self._add(position, "lifecycle", f"at position {position} {said}")
            log[1] = (position, of.version)

    def _ms(self, text: str) -> int:
        """Read a time that an outline has matched; minutes are remembered."""
        minute = self._minutes.get(text[:16])
        if minute is None:
            if len(self._minutes) >= _MINUTES:
                self._minutes.clear()
            minute = self._minutes[text[:16]] = clock.parse_time(f"{text[:16]}:00.000Z")
        return minute + int(text[17:19]) * 1000 + int(text[20:23])


def _digest_fits(entry: dict[str, Any], stored: bytes) -> bool:
    """Say if request_digest is that of this entry.

    A person taken from a token is not in the digest, so one commitment may have been left out.
    """
    return any(sha256(canonical_bytes(part)).digest() == stored for part in _possible_parts(entry))


def _possible_parts(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield client_part(entry)
    for one in entry.get("_sd", ()):
        yield client_part(entry, without_sd={one})
