# SPDX-License-Identifier: GPL-3.0-or-later
"""What a batch must know before it is written: which ids are taken, and the state of each stream.

One statement asks for everything, the head included. States that this writer has seen are kept in a
bounded cache; it is exact as long as nobody else has moved the head, and is thrown away as soon as
somebody has.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from psycopg import sql

from ledger import arrays, catalog, lifecycle
from ledger.database import Connection
from ledger.errors import EntryDamaged
from ledger.head import Head
from ledger.lifecycle import Aggregate
from ledger.lifecycle.references import ENTRY
from ledger.references import is_event_id
from ledger.request import Prepared
from ledger.retention.remains import body_from
from ledger.store import EntryMapper, HeadMoved, Row
from sealtrail.verify.merkle import leaf_hash

#: The one stream of a Book for entries that belong to no aggregate of a client.
LOG_ID: Final = "log"
LOG_STREAM: Final = f"Log/{LOG_ID}"

_LOOKUP: Final = """
SELECT 'head', h.size, NULL::text, NULL::bigint, NULL::text, h.tag, NULL::bytea, NULL::bytea
  FROM {book}.head h WHERE h.id = 1
UNION ALL
SELECT 'id', e.position, e.event_id::text, NULL, NULL, e.request_digest, e.leaf, NULL
  FROM {book}.entry e WHERE e.event_id = ANY(%b::uuid[])
UNION ALL
SELECT 'source', e.position, e.source_id, e.source_n, NULL, NULL, NULL, NULL
  FROM unnest(%b::text[], %b::bigint[]) AS s (id, n)
  JOIN {book}.entry e ON e.source_id = s.id AND e.source_n = s.n
UNION ALL
SELECT 'stream', e.position, e.stream, e.version, e.topic, e.leaf, b.bytes,
       CASE WHEN b.bytes IS NULL AND {book}.elsewhere(e.position)
            THEN coalesce(r.body, ''::bytea) END
  FROM {book}.entry e LEFT JOIN {book}.entry_body b USING (position)
  LEFT JOIN {book}.remains r USING (position)
 WHERE e.stream = ANY(%b::text[])
UNION ALL
SELECT 'stream', e.position, e.stream, e.version, e.topic, e.leaf, b.bytes,
       CASE WHEN b.bytes IS NULL AND {book}.elsewhere(e.position)
            THEN coalesce(r.body, ''::bytea) END
  FROM unnest(%b::text[]) AS t (name)
 CROSS JOIN LATERAL (SELECT x.position, x.stream, x.version, x.topic, x.leaf FROM {book}.entry x
                      WHERE x.stream = t.name ORDER BY x.version DESC LIMIT 1) e
  LEFT JOIN {book}.entry_body b USING (position) LEFT JOIN {book}.remains r USING (position)
UNION ALL
SELECT 'birth', a.position, a.asset_id, NULL, NULL, NULL, NULL, NULL
  FROM {book}.asset_birth a WHERE a.asset_id = ANY(%b::text[])
UNION ALL
(SELECT 'log', e.position, e.stream, e.version, NULL, NULL, NULL, NULL
  FROM {book}.entry e WHERE e.stream = 'Log/log' AND %b ORDER BY e.version DESC LIMIT 1)
"""


class Known(NamedTuple):
    """An event that is in the ledger already. A tuple: one is made per event."""

    position: int
    request_digest: bytes


@dataclass(slots=True, kw_only=True)
class Knowledge:
    """What is known of the ids and streams of one batch; grows as the batch is built."""

    events: dict[str, Known] = field(default_factory=dict)
    leaves: dict[str, bytes] = field(default_factory=dict)  #: Of entries that others link.
    sources: set[tuple[str, int]] = field(default_factory=set)
    states: dict[str, Aggregate] = field(default_factory=dict)
    log_version: int = 0


class States:
    """The streams that this writer touched last, and the entries: at most `limit` of each."""

    def __init__(self, limit: int = 16_384) -> None:
        self._limit = limit
        self._states: OrderedDict[str, Aggregate] = OrderedDict()
        self._leaves: OrderedDict[str, bytes] = OrderedDict()
        self.log_version: int | None = None

    def get(self, stream: str) -> Aggregate | None:
        state = self._states.get(stream)
        if state is not None:
            self._states.move_to_end(stream)
        return state

    def leaf(self, event_id: str) -> bytes | None:
        """Return the leaf of an entry that this writer has made; an outcome links its attempt."""
        return self._leaves.get(event_id)

    def keep(self, states: dict[str, Aggregate], log_version: int, rows: Sequence[Row]) -> None:
        """Remember the states after a commit, and the leaves of its rows."""
        self._states.update(states)
        self._leaves.update([(row.event_id, row.link.leaf) for row in rows])
        self.log_version = log_version
        while len(self._states) > self._limit:
            self._states.popitem(last=False)
        while len(self._leaves) > self._limit:
            self._leaves.popitem(last=False)

    def forget(self) -> None:
        self._states.clear()
        self._leaves.clear()
        self.log_version = None


class _Said(NamedTuple):
    """What one entry of a stream says that its state depends on."""

    version: int
    type: str
    body: dict[str, Any]


class Lookup:
    """Asks the Book in `schema` what a batch needs to know."""

    def __init__(self, schema: str) -> None:
        self._query = sql.SQL(_LOOKUP).format(book=sql.Identifier(schema)).as_bytes()
        self._mapper = EntryMapper()

    def assume(self, batch: Sequence[Prepared], states: States) -> Knowledge | None:
        """Return what `batch` needs without a question to the database; None if it has to be asked.

        No id is taken, and a stream that this writer has not touched is new: so it is with nearly
        every batch. Who builds on this keeps to three rules. A refusal or a repeat is believed only
        after `load`. An event that a new stream admits is inserted as that stream's version 1 or as
        the birth of that asset, and there, as for ids and sources, a unique index says if the
        stream was not new: then all is undone and built again after `load`. And the swap of the
        head proves the states that are remembered. What an event only names is inserted nowhere,
        and no index would tell: it is remembered, or it is asked for.
        """
        if states.log_version is None or not _at_hand(batch, states):
            return None
        knowledge = Knowledge(log_version=states.log_version)
        known = knowledge.states
        for stream in _streams(batch):
            state = states.get(stream)
            if state is None:
                aggregate, _, id_ = stream.partition("/")
                state = lifecycle.fresh(aggregate, id_)
            known[stream] = state
        for event_id in _linked(batch):
            leaf = states.leaf(event_id)
            if leaf is not None:
                knowledge.leaves[event_id] = leaf
        return knowledge

    def load(
        self, connection: Connection, batch: Sequence[Prepared], states: States, head: Head
    ) -> Knowledge:
        """Return all that `batch` needs: one statement, and so one snapshot, whatever the batch.

        Raises HeadMoved when that snapshot shows another head. Without this look a batch that
        writes nothing would be answered from old states: an export refused for want of an asset
        that another process has just recorded, or a repeat found that no checkpoint covers yet.
        """
        knowledge = Knowledge(log_version=states.log_version or 0)
        missing: set[str] = set()
        for stream in _streams(batch):
            state = states.get(stream)
            if state is None:
                missing.add(stream)
            else:
                knowledge.states[stream] = state
        sources = [p.source for p in batch if p.source is not None]
        assets = [s.removeprefix("Asset/") for s in missing if s.startswith("Asset/")]
        linked = _linked(batch)
        tails = {s for s in missing if lifecycle.is_tail(s)}
        rows = connection.execute(
            self._query,
            (
                arrays.uuids([*(p.event_id for p in batch), *linked]),
                arrays.texts([id_ for id_, _ in sources]),
                arrays.bigints([n for _, n in sources]),
                arrays.texts(sorted(missing - tails)),
                arrays.texts(sorted(tails)),
                arrays.texts(assets),
                states.log_version is None,
            ),
            prepare=True,
        ).fetchall()
        if ("head", head.size, head.tag) not in ((row[0], row[1], row[5]) for row in rows):
            raise HeadMoved
        entries: dict[str, list[_Said]] = {}
        born: set[str] = set()
        for row in rows:
            if row[0] != "head" and row[1] >= head.size:
                raise EntryDamaged("an index row lies beyond the end of the log")
            self._take(row, knowledge, entries, born)
        for stream in missing:
            knowledge.states[stream] = _fold(stream, entries.get(stream, []), stream in born)
        return knowledge

    def _take(
        self,
        row: tuple[Any, ...],
        knowledge: Knowledge,
        entries: dict[str, list[_Said]],
        born: set[str],
    ) -> None:
        what, position, name, number, topic, digest, data, remains = row
        if what == "id":
            knowledge.events[name] = Known(position=position, request_digest=digest)
            knowledge.leaves[name] = data
        elif what == "source":
            knowledge.sources.add((name, number))
        elif what == "stream":
            if data is None and remains is not None:  # In an older tier (ledger.retention).
                body = body_from(topic, remains or None)
                said = _Said(number, topic.partition("/")[0], body)
            elif data is None or leaf_hash(data) != digest:
                raise EntryDamaged(f"the entry at position {position} is not the one recorded")
            else:
                value = self._mapper.of_row(name, number, topic, data).value
                said = _Said(number, value["type"], value["body"])
            entries.setdefault(name, []).append(said)
        elif what == "birth":
            born.add(f"Asset/{name}")
        elif what == "log":
            knowledge.log_version = number


def _streams(batch: Iterable[Prepared]) -> Iterable[str]:
    """Name every stream that a decision about `batch` may look at; the Log is kept apart."""
    for prepared in batch:
        if prepared.aggregate != "Log":
            yield prepared.stream
        yield from catalog.consulted(prepared.type, prepared.body)
        if prepared.references:
            yield from (
                one.stream for one in prepared.references if not one.stream.startswith(ENTRY)
            )


def _at_hand(batch: Sequence[Prepared], states: States) -> bool:
    """Say if all that the events of a batch name is remembered."""
    return all(
        (
            states.leaf(one.stream.removeprefix(ENTRY))
            if one.stream.startswith(ENTRY)
            else states.get(one.stream)
        )
        is not None
        for prepared in batch
        if prepared.references
        for one in prepared.references
    )


def _linked(batch: Sequence[Prepared]) -> set[str]:
    """Return the ids of events that a batch links by their leaves."""
    names = (
        one.stream.removeprefix(ENTRY)
        for prepared in batch
        if prepared.references
        for one in prepared.references
        if one.stream.startswith(ENTRY)
    )
    return {name for name in names if is_event_id(name)}


def _fold(stream: str, entries: list[_Said], born: bool) -> Aggregate:
    aggregate, _, id_ = stream.partition("/")
    state: Aggregate = lifecycle.fresh(aggregate, id_)
    entries.sort(key=lambda entry: entry.version)
    if born and (not entries or entries[0].type != "INGEST"):
        state = lifecycle.Asset.born(id_)
    if entries and state.tail:
        state = replace(state, version=entries[-1].version - 1)
    for entry in entries:
        if entry.version != state.version + 1:
            raise EntryDamaged("an entry of a stream is gone")
        try:
            state = state.after(entry.type, entry.body)
        except (LookupError, TypeError, AttributeError) as error:
            raise EntryDamaged("what is kept of an entry is not of its type") from error
    return state
