# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the entries of many streams at once, each held against its leaf.

A row whose bytes or columns do not agree raises EntryDamaged, as everywhere. Bytes that are in the
archive or have expired are told by `entry` being None: the index still knows type, place and leaf.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from psycopg import sql

from ledger import arrays, clock
from ledger.database import Connection
from ledger.decoding import decode
from ledger.errors import EntryDamaged
from ledger.lineage.facts import facts_of
from sealtrail.verify.canonical import NotCanonical
from sealtrail.verify.merkle import leaf_hash

JSON = dict[str, Any]

_ROWS: Final = """
SELECT e.position, e.event_id::text, e.topic, e.stream, e.version, e.recorded_at, e.leaf, b.bytes
  FROM {book}.entry e LEFT JOIN {book}.entry_body b USING (position)
"""
_OF_STREAMS: Final = """
SELECT e.position, e.event_id::text, e.topic, e.stream, e.version, e.recorded_at, e.leaf, b.bytes
  FROM unnest(%s::text[]) s (stream)
 CROSS JOIN LATERAL (
       SELECT * FROM {book}.entry o WHERE o.stream = s.stream ORDER BY o.version {order} LIMIT %s) e
  LEFT JOIN {book}.entry_body b ON b.position = e.position
"""
_EVENTS: Final = _ROWS + " WHERE e.event_id = ANY(%s)"
_AT: Final = _ROWS + " WHERE e.position = ANY(%s)"


class Told(NamedTuple):
    """One event as its entry tells it. A tuple: a tree has thousands."""

    position: int
    event_id: str
    type: str
    stream: str
    version: int  #: In its stream, from 1.
    recorded_ms: int
    leaf: bytes
    entry: JSON | None  #: None: the bytes are not at hand.

    @property
    def body(self) -> JSON:
        """What the entry says; empty if its bytes are not at hand."""
        return {} if self.entry is None else self.entry["body"]

    def json(self) -> JSON:
        """Return the event as trees and lineages show it."""
        shown: JSON = {
            "event_id": self.event_id,
            "type": self.type,
            "position": self.position,
            "leaf": f"sha256:{self.leaf.hex()}",
            "recorded_at": clock.rfc3339(self.recorded_ms),
        }
        if self.entry is None:
            return shown | {"bytes": "not at hand"}
        return shown | facts_of(self.type, self.body)


def of_streams(
    connection: Connection, schema: str, streams: Iterable[str], *, first: int, last: int
) -> dict[str, list[Told]]:
    """Return the events of each stream in order: the `first` and the `last` ones of long streams.

    A stream without entries is left out: a thing that others name.
    """
    wanted = list(dict.fromkeys(streams))
    found: dict[str, dict[int, Told]] = {}
    for order, count in (("ASC", first), ("DESC", last)):
        if not wanted:
            break
        query = sql.SQL(_OF_STREAMS).format(book=sql.Identifier(schema), order=sql.SQL(order))
        values = (arrays.texts(wanted), count)
        for told in map(_told, connection.execute(query, values, binary=True)):
            found.setdefault(told.stream, {})[told.version] = told
        wanted = [one for one, events in found.items() if len(events) == first]
    return {one: [events[n] for n in sorted(events)] for one, events in found.items()}


def of_events(connection: Connection, schema: str, ids: Sequence[str]) -> dict[str, Told]:
    """Return the events with these ids, which are UUIDs; unknown ones are left out."""
    if not ids:
        return {}
    query = sql.SQL(_EVENTS).format(book=sql.Identifier(schema))
    rows = connection.execute(query, (arrays.uuids(ids),), binary=True).fetchall()
    return {told.event_id: told for told in map(_told, rows)}


def at(connection: Connection, schema: str, positions: Sequence[int]) -> dict[int, Told]:
    """Return the events at these positions; those beyond the log are left out."""
    if not positions:
        return {}
    query = sql.SQL(_AT).format(book=sql.Identifier(schema))
    rows = connection.execute(query, (arrays.bigints(positions),), binary=True).fetchall()
    return {told.position: told for told in map(_told, rows)}


def _told(row: tuple[Any, ...]) -> Told:
    position, event_id, topic, stream, version, recorded_ms, leaf, data = row
    type_ = topic.partition("/")[0]
    entry: Any = None
    if data is not None:
        try:
            entry = decode(bytes(data)) if leaf_hash(bytes(data)) == bytes(leaf) else None
        except NotCanonical:
            entry = None
        if (
            not isinstance(entry, dict)
            or (entry["event_id"], entry["type"]) != (event_id, type_)
            or f"{entry['aggregate']['type']}/{entry['aggregate']['id']}" != stream
        ):
            raise EntryDamaged(f"the entry at position {position} is not the one recorded")
    return Told(position, event_id, type_, stream, version, recorded_ms, bytes(leaf), entry)
