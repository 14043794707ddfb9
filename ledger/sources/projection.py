# SPDX-License-Identifier: GPL-3.0-or-later
"""The projection `sources`: every sequence of numbers in the log, and the outcomes that came late.

Of an entry whose bytes are cold or gone the index still has the number, so that no expiry looks
like a gap.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from psycopg import sql

from ledger.database import Connection
from ledger.readmodel.projection import Bare, Item
from ledger.sources.state import Gap, Source

_COLUMNS: Final = (
    "source_id, recorded, last_n, gaps, unlisted, said_n, said_at, running, heartbeat_s, seen_at"
)
SELECT: Final = f"SELECT {_COLUMNS} FROM {{book}}.source"  # noqa: S608 - names of ours
_READ: Final = SELECT + " WHERE source_id = ANY(%s)"
_KEEP: Final = f"""
INSERT INTO {{book}}.source ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (source_id) DO UPDATE
   SET recorded = excluded.recorded, last_n = excluded.last_n, gaps = excluded.gaps,
       unlisted = excluded.unlisted, said_n = excluded.said_n, said_at = excluded.said_at,
       running = excluded.running, heartbeat_s = excluded.heartbeat_s, seen_at = excluded.seen_at
"""  # noqa: S608 - names of ours
_NUMBERS: Final = """
SELECT position, source_id, source_n FROM {book}.entry
 WHERE position = ANY(%s) AND source_id IS NOT NULL
"""
_LATE: Final = """
INSERT INTO {book}.late_outcome (position, attempt_id, recorded_at)
SELECT * FROM unnest(%s::bigint[], %s::text[], %s::bigint[])
"""

_WORDS: Final = frozenset(
    {"WRITER_STARTED", "WRITER_HEARTBEAT", "WRITER_STOPPED", "CONFIG_CHANGED"}
)


class _Said(NamedTuple):
    """What counts of one entry, whether or not its bytes are at hand."""

    position: int
    type: str
    recorded_ms: int
    number: tuple[str, int] | None
    aggregate_id: str
    body: dict[str, Any]


class SourcesProjection:
    """Feeds the tables `source` and `late_outcome` (ledger.readmodel.projection.Projection)."""

    name: Final = "sources"
    tables: Final = ("source", "late_outcome")

    def write(self, connection: Connection, schema: str, items: Sequence[Item]) -> None:
        """Fold the entries' numbers, and what writers say, into their sequences."""
        self.write_whole(connection, schema, items, ())

    def write_whole(
        self, connection: Connection, schema: str, items: Sequence[Item], bare: Sequence[Bare]
    ) -> None:
        """The same with what the index has of all other entries."""
        numbers = _numbers(connection, schema, [one.position for one in bare])
        said = sorted([*map(_of_item, items), *(_of_bare(one, numbers) for one in bare)])
        ids = {one.number[0] for one in said if one.number is not None}
        ids |= {one.aggregate_id for one in said if one.type in _WORDS}
        sources = {one.source_id: one for one in read(connection, schema, sorted(ids))}
        for one in said:
            if one.number is not None:
                source_id, n = one.number
                source = sources.setdefault(source_id, Source(source_id=source_id))
                source.take(n, one.position, one.recorded_ms)
            if one.type in _WORDS:
                writer = sources.setdefault(one.aggregate_id, Source(source_id=one.aggregate_id))
                body = one.body
                heard = body.get("last_n"), body.get("heartbeat_s")
                writer.hear(one.type, *heard, one.recorded_ms)
        keep = _sql(_KEEP, schema)
        with connection.cursor() as cursor:
            cursor.executemany(keep, [_row(sources[name]) for name in sorted(sources)])
        late = [one for one in said if one.type == "OUTCOME_LATE"]
        if late:
            columns = (
                [one.position for one in late],
                [one.aggregate_id for one in late],
                [one.recorded_ms for one in late],
            )
            connection.execute(_sql(_LATE, schema), columns)


def read(connection: Connection, schema: str, source_ids: Sequence[str]) -> Iterator[Source]:
    """Yield the sequences of these names that are known."""
    if source_ids:
        yield from of_rows(connection.execute(_sql(_READ, schema), (list(source_ids),)).fetchall())


def of_rows(rows: Iterable[tuple[Any, ...]]) -> Iterator[Source]:
    """Yield the sequences that rows of SELECT tell of."""
    for row in rows:
        source_id, recorded, last_n, gaps, unlisted, said_n, said_ms, running, beat, seen_ms = row
        yield Source(
            source_id=source_id,
            recorded=recorded,
            last_n=last_n,
            gaps=[Gap(*gap) for gap in json.loads(gaps)],
            unlisted=unlisted,
            said_n=said_n,
            said_ms=said_ms,
            running=running,
            heartbeat_s=beat,
            seen_ms=seen_ms,
        )


def _row(source: Source) -> tuple[Any, ...]:
    return (
        source.source_id,
        source.recorded,
        source.last_n,
        json.dumps(source.gaps),
        source.unlisted,
        source.said_n,
        source.said_ms,
        source.running,
        source.heartbeat_s,
        source.seen_ms,
    )


def _numbers(
    connection: Connection, schema: str, positions: list[int]
) -> dict[int, tuple[str, int]]:
    if not positions:
        return {}
    rows = connection.execute(_sql(_NUMBERS, schema), (positions,)).fetchall()
    return {position: (source_id, n) for position, source_id, n in rows}


def _of_item(item: Item) -> _Said:
    source = item.entry.get("source")
    number = None if source is None else (source["id"], source["n"])
    aggregate_id = item.entry["aggregate"]["id"]
    return _Said(
        item.position, item.type, item.recorded_ms, number, aggregate_id, item.entry["body"]
    )


def _of_bare(bare: Bare, numbers: dict[int, tuple[str, int]]) -> _Said:
    aggregate_id = bare.stream.partition("/")[2]
    number = numbers.get(bare.position)
    return _Said(bare.position, bare.type, bare.recorded_ms, number, aggregate_id, bare.body)


def _sql(text: str, schema: str) -> sql.Composed:
    return sql.SQL(text).format(book=sql.Identifier(schema))
