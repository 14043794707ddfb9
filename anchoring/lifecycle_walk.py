# SPDX-License-Identifier: GPL-3.0-or-later
"""Folds every stream again: may each entry follow the one before, are births indexed rightly.

States of streams unused longest are dropped when there are many, and read again should an entry
follow after all: memory stays bounded whatever the size of the log. So it is with streams of which
the entries lie in a range of the log that somebody else checks. What nobody remembers is checked at
the end: that no stream began twice. That no asset was born twice, the index of births shows.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from psycopg import sql

from ledger import catalog, lifecycle
from ledger.database import Connection
from ledger.errors import LedgerError, Refused
from ledger.lifecycle import Aggregate, Asset
from ledger.lifecycle.references import check_reference
from ledger.references import consents_of
from ledger.retention.remains import TELLING, body_from
from ledger.store import Entry, read_entry

_KEPT: Final = 200_000
_STEP: Final = 4_096
JSON = dict[str, Any]


class Told(NamedTuple):
    """What an entry says that decides whether it may follow."""

    type: str
    schema: int
    kind: str  #: Of the aggregate.
    aggregate_id: str
    version: int
    body: JSON
    by_ledger: bool
    hollow: bool = False  #: Told by the index alone: the bytes are elsewhere.
    recorded: str = ""  #: When, in the ledger's spelling; where the entry rests on a consent.


class LifecycleWalk:
    """Follows the log in `schema`; remembers at most `kept` streams."""

    def __init__(self, schema: str, *, kept: int = _KEPT) -> None:
        self._kept = kept
        self._partial = False  # Whether a state may have to be read again.
        self._states: OrderedDict[str, Aggregate] = OrderedDict()
        self._indexed = 0  # Births of which entries spoke and the index knew.
        self._begun = 0  # Streams that began.
        book = sql.Identifier(schema)
        self._stream = sql.SQL(
            "SELECT b.bytes, e.topic, r.body FROM {book}.entry e"
            " LEFT JOIN {book}.entry_body b USING (position)"
            " LEFT JOIN {book}.remains r USING (position)"
            " WHERE e.stream = %s AND e.position < %s ORDER BY e.position"
        ).format(book=book)
        self._newest = sql.SQL(
            "SELECT b.bytes, e.topic, r.body, e.version FROM {book}.entry e"
            " LEFT JOIN {book}.entry_body b USING (position)"
            " LEFT JOIN {book}.remains r USING (position)"
            " WHERE e.stream = %s AND e.position < %s ORDER BY e.version DESC LIMIT 1"
        ).format(book=book)
        self._remains = sql.SQL("SELECT body FROM {}.remains WHERE position = %s").format(book)
        self._births = sql.SQL(
            "SELECT asset_id, position FROM {}.asset_birth WHERE asset_id = ANY(%s)"
        ).format(book)
        self._attempted = lifecycle.fresh("Generation", "").after("GEN_ATTEMPT", {})

    def leap(self) -> None:
        """Forget the states: the next entry does not come after the last one."""
        self._states.clear()
        self._partial = True

    def counted(self) -> tuple[int, int]:
        """Return how many births the index knew and streams began since the last call."""
        counted = self._indexed, self._begun
        self._indexed = self._begun = 0
        return counted

    def attempt(self, stream: str) -> bool:
        """Fold the first entry of a generation, an attempt; say if that may be."""
        states = self._states
        if stream in states:
            return False
        self._begun += 1
        states[stream] = self._attempted
        if len(states) > self._kept:
            self._drop()
        return True

    def misplaced(self, of: Told) -> bool:
        """Say if the event's type does not belong to its stream."""
        event = catalog.CATALOG.get((of.type, of.schema))
        return event is None or event.aggregate != of.kind

    def step(self, connection: Connection, position: int, stream: str, of: Told) -> str | None:
        """Fold one entry; return what is wrong with it, in words that follow "at position n"."""
        if self.misplaced(of):
            return "the event's type does not belong to its stream"
        type_, body, version = of.type, of.body, of.version
        if version == 1:
            self._begun += 1
        # An output's stream begins with what comes after its birth.
        first = version == 1 and (of.kind != "Asset" or type_ == "INGEST")
        state = self._state(connection, stream, position, first=first)
        complaint = None
        if version != state.version + 1:
            complaint = "the stream's version has a gap"
        elif not of.hollow:
            complaint = self._check(connection, state, of, position)
        self._keep(stream, state.after(type_, body))
        if of.hollow:
            self._partial = True  # What it gave birth to, the index of births will say.
            return complaint
        for asset in born_of(type_, state.id, body):
            if f"Asset/{asset}" != stream:
                self._keep(f"Asset/{asset}", Asset.born(asset))
        return complaint

    def remains(self, connection: Connection, position: int, topic: str) -> JSON:
        """Return what is kept of a body that is elsewhere; raises EntryDamaged."""
        if topic not in TELLING:
            return {}
        row = connection.execute(self._remains, (position,)).fetchone()
        return body_from(topic, None if row is None else bytes(row[0]))

    def compare_births(
        self, connection: Connection, born: Mapping[str, int]
    ) -> Iterator[tuple[int, str]]:
        """Compare the index with the births of one range of entries: asset → position."""
        rows = connection.execute(self._births, (list(born),)).fetchall()
        indexed: dict[str, int] = dict(rows)
        self._indexed += len(indexed)
        for asset, position in born.items():
            if asset not in indexed:
                yield position, f"the index of births lacks the asset of position {position}"
            elif indexed[asset] != position:
                yield position, f"the index of births is wrong about position {position}"

    def _check(
        self, connection: Connection, state: Aggregate, of: Told, position: int
    ) -> str | None:
        others = {
            stream: self._state(connection, stream, position, first=of.type == "GEN")
            for stream in catalog.consulted(of.type, of.body)
        }
        try:
            state.check(of.type, of.body, others, by_ledger=of.by_ledger)
            for one in consents_of(of.type, of.body):
                others = {one.stream: self._state(connection, one.stream, position, first=False)}
                check_reference(one, of.type, others, {}, of.recorded)
        except Refused as refusal:
            return f"{of.type} may not follow: {refusal}"
        return None

    def _state(
        self, connection: Connection, stream: str, position: int, *, first: bool
    ) -> Aggregate:
        """Return the state of a stream.

        first: it should have none yet; if it had, Streams.begun_twice or the births will show.
        """
        state = self._states.get(stream)
        if state is not None:
            self._states.move_to_end(stream)
            return state
        aggregate, _, id_ = stream.partition("/")
        state = lifecycle.fresh(aggregate, id_)
        if not self._partial or first:
            return state
        if state.tail:
            return self._from_newest(connection, state, (stream, position))
        entries = [_said(*row) for row in connection.execute(self._stream, (stream, position))]
        if aggregate == "Asset" and self._born_as_output(connection, id_, position, entries):
            state = Asset.born(id_)
        for type_, body in entries:
            state = state.after(type_, body)
        return state

    def _from_newest(
        self, connection: Connection, state: Aggregate, before: tuple[str, int]
    ) -> Aggregate:
        row = connection.execute(self._newest, before).fetchone()
        if row is None:
            return state
        *said, version = row
        return replace(state, version=version - 1).after(*_said(*said))

    def _born_as_output(
        self, connection: Connection, asset: str, position: int, entries: list[tuple[str, JSON]]
    ) -> bool:
        """Say if a GEN gave birth to an asset, by the index, which was compared before."""
        if entries and entries[0][0] == "INGEST":
            return False
        row: tuple[Any, ...] | None = connection.execute(self._births, ([asset],)).fetchone()
        return row is not None and row[1] < position

    def _keep(self, stream: str, state: Aggregate) -> None:
        self._states[stream] = state
        self._states.move_to_end(stream)
        if len(self._states) > self._kept:
            self._drop()

    def _drop(self) -> None:
        self._states.popitem(last=False)
        self._partial = True


class Streams:
    """What can be said of the streams and births in `schema` once all entries were checked."""

    def __init__(self, schema: str) -> None:
        book = sql.Identifier(schema)
        self._count = sql.SQL("SELECT count(*), max(position) FROM {}.asset_birth").format(book)
        self._index = sql.SQL(
            "SELECT a.asset_id, a.position, b.bytes FROM {book}.asset_birth a"
            " JOIN {book}.entry_body b USING (position)"
            " WHERE a.position >= %s AND a.position < %s"
        ).format(book=book)
        # Of an entry whose bytes are elsewhere the index says which type it has, and no more.
        self._elsewhere = sql.SQL(
            "SELECT a.position, e.topic IN ('GEN/1', 'INGEST/1') FROM {book}.asset_birth a"
            " LEFT JOIN {book}.entry_body b USING (position)"
            " LEFT JOIN {book}.entry e USING (position) WHERE b.position IS NULL"
        ).format(book=book)
        self._streams = sql.SQL(
            "SELECT count(*) FROM (SELECT 1 FROM {}.entry WHERE stream NOT LIKE 'Log/%%'"
            " GROUP BY stream) s"
        ).format(book)
        self._twice = sql.SQL(
            "SELECT (array_agg(position ORDER BY position))[2] FROM {}.entry WHERE version = 1"
            " AND stream NOT LIKE 'Log/%%' GROUP BY stream HAVING count(*) > 1 ORDER BY 1 LIMIT 100"
        ).format(book)

    def births(self, connection: Connection, known: int) -> Iterator[tuple[int, str]]:
        """Find births in the index that no entry speaks of; `known`: those that one did."""
        count, last = connection.execute(self._count).fetchone() or (0, None)
        if count == known or last is None:
            return
        for position, bears in connection.execute(self._elsewhere).fetchall():
            known += 1
            if not bears:
                yield position, f"the index of births is wrong about position {position}"
        if count == known:
            return
        for first in range(0, last + 1, _STEP):
            for asset, position, data in connection.execute(self._index, (first, first + _STEP)):
                if not _bears(data, asset):
                    yield position, f"the index of births is wrong about position {position}"

    def begun_twice(self, connection: Connection, begun: int) -> Iterator[tuple[int, str]]:
        """Find streams with two first entries; `begun`: how many first entries there are.

        Each stream has a first entry, or a gap was found, and the column says what the bytes say,
        or that was found: so there are as many streams as first entries, or one stream has two.
        """
        row = connection.execute(self._streams, ()).fetchone()
        if row is None or row[0] == begun:
            return
        for (position,) in connection.execute(self._twice, ()):
            yield position, f"at position {position} a stream begins that had begun before"


def _said(data: bytes | None, topic: str, remains: bytes | None) -> tuple[str, JSON]:
    """Return type and body of an entry, or what is left of it."""
    if data is None:
        return topic.partition("/")[0], body_from(topic, remains)
    value = read_entry(data).value
    return value["type"], value["body"]


def births(entry: Entry) -> list[str]:
    """Name the assets to which an entry gives birth; raises TypeError if they are no names."""
    value = entry.value
    return born_of(value["type"], value["aggregate"]["id"], value["body"])


def born_of(type_: str, aggregate_id: str, body: JSON) -> list[str]:
    """The same of what an entry says."""
    born = catalog.born_assets(type_, aggregate_id, body)
    if not all(isinstance(asset, str) for asset in born):
        raise TypeError("an asset's id is a string")
    return born


def _bears(data: bytes, asset: str) -> bool:
    """Say if these bytes are an entry that gives birth to an asset."""
    try:
        return asset in births(read_entry(data))
    except (LedgerError, LookupError, TypeError):
        return False
