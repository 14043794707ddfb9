# SPDX-License-Identifier: GPL-3.0-or-later
"""Folds every stream again: may each entry follow the one before it, and are births as indexed?

States of streams that ended are dropped when there are many, and read again should an entry follow
after all: memory stays bounded whatever the size of the log.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final

from psycopg import sql

from anchoring.shelf import Book
from ledger import catalog, lifecycle
from ledger.database import Connection
from ledger.errors import Refused
from ledger.lifecycle import Aggregate, Asset
from ledger.store import Entry

_KEPT: Final = 200_000


class LifecycleWalk:
    """Follows one log from position 0."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._states: OrderedDict[str, Aggregate] = OrderedDict()
        self._log_version = 0
        self._births: dict[str, int] = {}

    def step(self, position: int, entry: Entry) -> str | None:
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
        state = self._state(entry.stream, entry.originator_version, position)
        complaint = None
        if entry.originator_version != state.version + 1:
            complaint = "the stream's version has a gap"
        else:
            complaint = self._check(state, entry, position)
        after = state.after(type_, body)
        # A stream that skips versions goes on from the version that it names.
        self._keep(entry.stream, after)
        for asset in catalog.born_assets(type_, value["aggregate"]["id"], body):
            if f"Asset/{asset}" != entry.stream:
                self._keep(f"Asset/{asset}", Asset.born(asset))
        return complaint

    def expect_births(self, position: int, assets: Sequence[str]) -> None:
        for asset in assets:
            self._births[asset] = position

    def finish(self, connection: Connection, size: int) -> Iterator[tuple[int, str]]:
        """Compare the index of births with the births that the entries speak of."""
        query = sql.SQL("SELECT asset_id, position FROM {}.asset_birth WHERE position < %s").format(
            sql.Identifier(self._book.row.schema)
        )
        for asset, position in connection.execute(query, (size,)):
            expected = self._births.pop(asset, None)
            if expected != position:
                at = position if expected is None else expected
                yield at, f"the index of births is wrong about position {at}"
        for position in sorted(self._births.values()):
            yield position, f"the index of births lacks the asset of position {position}"

    def _check(self, state: Aggregate, entry: Entry, position: int) -> str | None:
        type_, body = entry.value["type"], entry.value["body"]
        by_ledger = entry.value["actor"].get("kind") == "system"
        others = {
            stream: self._state(stream, 2, position) for stream in catalog.consulted(type_, body)
        }
        try:
            state.check(type_, body, others, by_ledger=by_ledger)
        except Refused as refusal:
            return f"{type_} may not follow: {refusal}"
        return None

    def _state(self, stream: str, version: int, position: int) -> Aggregate:
        state = self._states.get(stream)
        if state is not None:
            self._states.move_to_end(stream)
            return state
        aggregate, _, id_ = stream.partition("/")
        state = lifecycle.fresh(aggregate, id_)
        if version > 1 and len(self._states) >= _KEPT:
            for stored in self._book.reader.of_stream(stream):
                if stored.position < position:
                    state = state.after(stored.entry.value["type"], stored.entry.value["body"])
        return state

    def _keep(self, stream: str, state: Aggregate) -> None:
        self._states[stream] = state
        if len(self._states) > _KEPT:
            self._states.popitem(last=False)
