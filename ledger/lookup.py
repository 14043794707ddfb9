# SPDX-License-Identifier: GPL-3.0-or-later
"""What a batch must know before it is written: which ids are taken, and the state of each stream.

One statement asks for everything. States that this writer has seen are kept in a bounded cache; it
is exact as long as nobody else has moved the head, and is thrown away as soon as somebody has.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg import sql

from ledger import catalog, lifecycle
from ledger.database import Connection
from ledger.lifecycle import Aggregate
from ledger.request import Prepared
from ledger.store import Entry, EntryMapper

#: The one stream of a Book for entries that belong to no aggregate of a client.
LOG_ID: Final = "log"
LOG_STREAM: Final = f"Log/{LOG_ID}"

_LOOKUP: Final = """
SELECT 'id', e.position, e.event_id::text, e.stream, e.version, e.topic, e.recorded_at,
       e.request_digest, e.source_id, e.source_n, NULL::bytea
  FROM {book}.entry e WHERE e.event_id = ANY(%b::text[]::uuid[])
UNION ALL
SELECT 'source', e.position, e.event_id::text, e.stream, e.version, e.topic, e.recorded_at,
       e.request_digest, e.source_id, e.source_n, NULL
  FROM unnest(%b::text[], %b::text[]::bigint[]) AS s (id, n)
  JOIN {book}.entry e ON e.source_id = s.id AND e.source_n = s.n
UNION ALL
SELECT 'stream', e.position, e.event_id::text, e.stream, e.version, e.topic, e.recorded_at,
       e.request_digest, e.source_id, e.source_n, b.bytes
  FROM {book}.entry e JOIN {book}.entry_body b USING (position) WHERE e.stream = ANY(%b::text[])
UNION ALL
SELECT 'birth', a.position, NULL, a.asset_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL
  FROM {book}.asset_birth a WHERE a.asset_id = ANY(%b::text[])
UNION ALL
(SELECT 'log', e.position, NULL, e.stream, e.version, NULL, NULL, NULL, NULL, NULL, NULL
  FROM {book}.entry e WHERE e.stream = 'Log/log' AND %b ORDER BY e.version DESC LIMIT 1)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An event that is in the ledger already."""

    position: int
    request_digest: bytes


@dataclass(slots=True, kw_only=True)
class Knowledge:
    """What is known of the ids and streams of one batch; grows as the batch is built."""

    events: dict[str, Known] = field(default_factory=dict)
    sources: dict[tuple[str, int], str] = field(default_factory=dict)  #: → event_id
    states: dict[str, Aggregate] = field(default_factory=dict)
    log_version: int = 0


class States:
    """The states of the streams that this writer touched last, at most `limit` of them."""

    def __init__(self, limit: int = 16_384) -> None:
        self._limit = limit
        self._states: OrderedDict[str, Aggregate] = OrderedDict()
        self.log_version: int | None = None

    def get(self, stream: str) -> Aggregate | None:
        state = self._states.get(stream)
        if state is not None:
            self._states.move_to_end(stream)
        return state

    def keep(self, states: dict[str, Aggregate], log_version: int) -> None:
        """Remember the states after a commit."""
        self._states.update(states)
        self.log_version = log_version
        while len(self._states) > self._limit:
            self._states.popitem(last=False)

    def forget(self) -> None:
        self._states.clear()
        self.log_version = None


class Lookup:
    """Asks the Book in `schema` what a batch needs to know."""

    def __init__(self, schema: str) -> None:
        self._query = sql.SQL(_LOOKUP).format(book=sql.Identifier(schema))
        self._mapper = EntryMapper()

    def load(
        self, connection: Connection, batch: Sequence[Prepared], states: States
    ) -> Knowledge:
        """Return all that `batch` needs: one statement, whatever the batch."""
        knowledge = Knowledge(log_version=states.log_version or 0)
        missing: set[str] = set()
        for stream in _streams(batch):
            state = states.get(stream)
            if state is None:
                missing.add(stream)
            else:
                knowledge.states[stream] = state
        sources = [p.source for p in batch if p.source is not None]
        rows = connection.execute(
            self._query,
            (
                [p.event_id for p in batch],
                [id_ for id_, _ in sources],
                [str(n) for _, n in sources],
                sorted(missing),
                [s.removeprefix("Asset/") for s in sorted(missing) if s.startswith("Asset/")],
                states.log_version is None,
            ),
            prepare=True,
        ).fetchall()
        entries: dict[str, list[Entry]] = {}
        born: set[str] = set()
        for row in rows:
            self._take(row, knowledge, entries, born)
        for stream in missing:
            knowledge.states[stream] = _fold(stream, entries.get(stream, []), stream in born)
        return knowledge

    def _take(
        self,
        row: tuple[Any, ...],
        knowledge: Knowledge,
        entries: dict[str, list[Entry]],
        born: set[str],
    ) -> None:
        what, position, event_id, stream, version, topic, _, digest, source_id, source_n, data = row
        if what == "id":
            knowledge.events[event_id] = Known(position=position, request_digest=bytes(digest))
        elif what == "source":
            knowledge.sources[source_id, source_n] = event_id
        elif what == "stream":
            entry = self._mapper.of_row(stream, version, topic, bytes(data))
            entries.setdefault(stream, []).append(entry)
        elif what == "birth":
            born.add(f"Asset/{stream}")
        else:
            knowledge.log_version = version


def _streams(batch: Iterable[Prepared]) -> Iterable[str]:
    """Name every stream that a decision about `batch` may look at; the Log is kept apart."""
    for prepared in batch:
        if prepared.aggregate != "Log":
            yield prepared.stream
        yield from catalog.consulted(prepared.type, prepared.body)


def _fold(stream: str, entries: list[Entry], born: bool) -> Aggregate:
    aggregate, _, id_ = stream.partition("/")
    state: Aggregate = lifecycle.fresh(aggregate, id_)
    entries.sort(key=lambda entry: entry.originator_version)
    if born and (not entries or entries[0].value["type"] != "INGEST"):
        state = lifecycle.Asset.born(id_)
    for entry in entries:
        state = state.after(entry.value["type"], entry.value["body"])
    return state
