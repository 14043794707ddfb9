# SPDX-License-Identifier: GPL-3.0-or-later
"""Folds every stream again: may each entry follow the one before, are births indexed rightly.

States of streams unused longest are dropped when there are many, and read again should an entry
follow after all: memory stays bounded whatever the size of the log.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from psycopg import sql

from ledger import catalog, lifecycle
from ledger.database import Connection
from ledger.errors import LedgerError, Refused
from ledger.lifecycle import Aggregate, Asset
from ledger.store import Entry, read_entry

_KEPT: Final = 200_000
_STEP: Final = 4_096


class LifecycleWalk:
    """Follows the log in `schema` from position 0; remembers at most `kept` streams."""

    def __init__(self, schema: str, *, kept: int = _KEPT) -> None:
        self._kept = kept
        self._dropped = False  # Whether a state may have to be read again.
        self._states: OrderedDict[str, Aggregate] = OrderedDict()
        self._log_version = 0
        self._indexed = 0  # Births of which entries spoke and the index knew.
        book = sql.Identifier(schema)
        self._stream = sql.SQL(
            "SELECT b.bytes FROM {book}.entry e JOIN {book}.entry_body b USING (position)"
            " WHERE e.stream = %s AND e.position < %s ORDER BY e.position"
        ).format(book=book)
        self._births = sql.SQL(
            "SELECT asset_id, position FROM {}.asset_birth WHERE asset_id = ANY(%s)"
        ).format(book)
        self._count = sql.SQL("SELECT count(*), max(position) FROM {}.asset_birth").format(book)
        self._index = sql.SQL(
            "SELECT a.asset_id, a.position, b.bytes FROM {book}.asset_birth a"
            " LEFT JOIN {book}.entry_body b USING (position)"
            " WHERE a.position >= %s AND a.position < %s"
        ).format(book=book)

    def step(self, connection: Connection, position: int, entry: Entry) -> str | None:
        """Fold one entry; return what is wrong with it, in words that follow "at position n"."""
        value = entry.value
        type_, body = value["type"], value["body"]
        event = catalog.CATALOG.get((type_, value["schema"]))
        if event is None or event.aggregate != value["aggregate"]["type"]:
            return "the event's type does not belong to its stream"
        if event.aggregate == "Log":
            self._log_version += 1
            wrong = entry.originator_version != self._log_version
            return "the Log stream's version has a gap" if wrong else None
        state = self._state(connection, entry.stream, position)
        born = births(entry)
        complaint = None
        if entry.originator_version != state.version + 1:
            complaint = "the stream's version has a gap"
        else:
            complaint = self._check(connection, state, entry, position)
        self._keep(entry.stream, state.after(type_, body))
        for asset in born:
            if f"Asset/{asset}" != entry.stream:
                self._keep(f"Asset/{asset}", Asset.born(asset))
        return complaint

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

    def finish(self, connection: Connection) -> Iterator[tuple[int, str]]:
        """Find births in the index that no entry speaks of."""
        count, last = connection.execute(self._count).fetchone() or (0, None)
        if count == self._indexed or last is None:
            return
        for first in range(0, last + 1, _STEP):
            for asset, position, data in connection.execute(self._index, (first, first + _STEP)):
                if data is None or not _bears(data, asset):
                    yield position, f"the index of births is wrong about position {position}"

    def _check(
        self, connection: Connection, state: Aggregate, entry: Entry, position: int
    ) -> str | None:
        type_, body = entry.value["type"], entry.value["body"]
        by_ledger = entry.value["actor"].get("kind") == "system"
        others = {
            stream: self._state(connection, stream, position)
            for stream in catalog.consulted(type_, body)
        }
        try:
            state.check(type_, body, others, by_ledger=by_ledger)
        except Refused as refusal:
            return f"{type_} may not follow: {refusal}"
        return None

    def _state(self, connection: Connection, stream: str, position: int) -> Aggregate:
        state = self._states.get(stream)
        if state is not None:
            self._states.move_to_end(stream)
            return state
        aggregate, _, id_ = stream.partition("/")
        state = lifecycle.fresh(aggregate, id_)
        if self._dropped:
            entries = [
                read_entry(data) for (data,) in connection.execute(self._stream, (stream, position))
            ]
            if aggregate == "Asset" and self._born_as_output(connection, id_, position, entries):
                state = Asset.born(id_)
            for entry in entries:
                state = state.after(entry.value["type"], entry.value["body"])
        return state

    def _born_as_output(
        self, connection: Connection, asset: str, position: int, entries: list[Entry]
    ) -> bool:
        """Say if a GEN gave birth to an asset, by the index, which was compared before."""
        if entries and entries[0].value["type"] == "INGEST":
            return False
        row: tuple[Any, ...] | None = connection.execute(self._births, ([asset],)).fetchone()
        return row is not None and row[1] < position

    def _keep(self, stream: str, state: Aggregate) -> None:
        self._states[stream] = state
        self._states.move_to_end(stream)
        if len(self._states) > self._kept:
            self._states.popitem(last=False)
            self._dropped = True


def births(entry: Entry) -> list[str]:
    """Name the assets to which an entry gives birth; raises TypeError if they are no names."""
    value = entry.value
    born = catalog.born_assets(value["type"], value["aggregate"]["id"], value["body"])
    if not all(isinstance(asset, str) for asset in born):
        raise TypeError("an asset's id is a string")
    return born


def _bears(data: bytes, asset: str) -> bool:
    """Say if these bytes are an entry that gives birth to an asset."""
    try:
        return asset in births(read_entry(data))
    except (LedgerError, LookupError, TypeError):
        return False
