# SPDX-License-Identifier: GPL-3.0-or-later
"""How the attempts of a range ended, as the index of the log has it, in bounded memory.

A range is positions, never wall-clock time: an attempt belongs to the range that holds its index,
wherever its outcome lies. What counts is what had been recorded at a certain size of the log, so
that whoever looks later finds the same.
"""

from collections.abc import Generator
from typing import Final, NamedTuple

from psycopg import sql

from ledger import catalog
from ledger.database import Connection
from ledger.lifecycle import OUTCOMES
from sealtrail.verify.sum_tree import KEY_DOMAIN, Outcome, State

_NAMES: Final[dict[str, State]] = {"GEN": "gen", "GEN_DENY": "deny", "GEN_ERROR": "error"}

#: Stored topic → how an attempt ended that has it.
STATE_OF: Final[dict[str, State]] = {
    event.topic: _NAMES[event.type] for event in catalog.CATALOG.values() if event.type in OUTCOMES
}
_TOPICS: Final = {
    name: [event.topic for event in catalog.CATALOG.values() if event.type == type_]
    for name, type_ in (("attempt", "GEN_ATTEMPT"), ("late", "OUTCOME_LATE"))
} | {"outcome": list(STATE_OF)}
_STREAM: Final = "Generation/"

#: By each attempt's own stream: a join of all streams would read the whole log for each day.
_ATTEMPTS: Final = """
SELECT substr(a.stream, {skip}), a.position, o.position, o.topic, o.late, o.times
  FROM {book}.entry a CROSS JOIN LATERAL (
       SELECT min(e.position) FILTER (WHERE e.topic = ANY(%(outcome)s)) AS position,
              min(e.topic) FILTER (WHERE e.topic = ANY(%(outcome)s)) AS topic,
              count(*) FILTER (WHERE e.topic = ANY(%(outcome)s)) AS times,
              min(e.position) FILTER (WHERE e.topic = ANY(%(late)s)) AS late
         FROM {book}.entry e WHERE e.stream = a.stream) o
 WHERE a.position >= %(begin)s AND a.position < %(end)s AND a.topic = ANY(%(attempt)s){only}
 ORDER BY {order}
"""
_BY_KEY: Final = "sha256(%(prefix)s || convert_to(substr(a.stream, {skip}), 'UTF8'))"

_OPEN: Final = """
SELECT 1 FROM {book}.entry a
 WHERE a.position >= %(begin)s AND a.position < %(end)s AND a.topic = ANY(%(attempt)s)
   AND NOT EXISTS (SELECT 1 FROM {book}.entry o
                    WHERE o.stream = a.stream AND o.topic = ANY(%(outcome)s) OFFSET 0)
 LIMIT 1
"""
_LATE: Final = """
SELECT count(*) FROM {book}.entry
 WHERE position >= %(begin)s AND position < %(end)s AND topic = ANY(%(late)s)
"""
_FIRST: Final = """
SELECT position FROM {book}.entry
 WHERE stream = %(stream)s AND version = 1 AND topic = ANY(%(attempt)s)
"""
_FETCHED: Final = 4_096

#: From the first key to the last.
FULL: Final = (bytes(32), b"\xff" * 32)


class Attempt(NamedTuple):
    """One attempt and what the log has of its end; None for what it has not."""

    attempt_id: str
    position: int
    outcome_index: int | None
    state: State | None
    late_index: int | None  #: Position of its OUTCOME_LATE.

    def outcome(self, as_of: int) -> Outcome | None:
        """Return how it had ended when the log had `as_of` entries; None if it was open."""
        if self.outcome_index is None or self.state is None or self.outcome_index >= as_of:
            return None
        late = self.late_index is not None and self.late_index < as_of
        return Outcome(self.position, self.state, self.outcome_index, late)


def attempts_of(
    connection: Connection,
    schema: str,
    begin: int,
    end: int,
    *,
    keyed: str | None = None,
    between: tuple[bytes, bytes] = FULL,
) -> Generator[Attempt, None, None]:
    """Yield the attempts with an index in [begin, end), by index, or by their keys.

    keyed: the origin in the keys; between: the first and the last of these. Sorted by the database,
    some thousands at a time come here. An attempt with two outcomes, which the ledger refuses, is
    yielded twice. Whoever does not take all of them closes the iterator, before the connection goes
    to somebody else.
    """
    order, only = "a.position", ""
    if keyed is not None:
        order = _BY_KEY
        only = "" if between == FULL else f" AND {_BY_KEY} BETWEEN %(first)s AND %(last)s"
    values: dict[str, object] = {"begin": begin, "end": end, **_TOPICS}
    if keyed is not None:
        values["prefix"] = KEY_DOMAIN + keyed.encode() + b"\x00"
        values["first"], values["last"] = between
    query = _sql(_ATTEMPTS.replace("{order}", order).replace("{only}", only), schema)
    with connection.transaction(), connection.cursor(name="attempts") as rows:
        rows.itersize = _FETCHED
        rows.execute(query, values)
        for attempt_id, position, outcome_index, topic, late_index, times in rows:
            state = None if topic is None else STATE_OF[topic]
            one = Attempt(attempt_id, position, outcome_index, state, late_index)
            yield one
            if times > 1:
                yield one


def any_open(connection: Connection, schema: str, begin: int, end: int) -> bool:
    """Say if an attempt with an index in [begin, end) has no outcome yet."""
    values = {"begin": begin, "end": end, **_TOPICS}
    return connection.execute(_sql(_OPEN, schema), values).fetchone() is not None


def position_of(connection: Connection, schema: str, attempt_id: str) -> int | None:
    """Return the position of an attempt; None if the log has none of this id."""
    values = {"stream": f"{_STREAM}{attempt_id}", **_TOPICS}
    row = connection.execute(_sql(_FIRST, schema), values).fetchone()
    return int(row[0]) if row is not None else None


def late_recorded(connection: Connection, schema: str, begin: int, end: int) -> int:
    """Return how many late outcomes lie in [begin, end), of whichever range's attempts."""
    values = {"begin": begin, "end": end, **_TOPICS}
    row = connection.execute(_sql(_LATE, schema), values).fetchone()
    return int(row[0]) if row is not None else 0


def _sql(text: str, schema: str) -> sql.Composed:
    book, skip = sql.Identifier(schema), sql.Literal(len(_STREAM) + 1)
    return sql.SQL(text).format(book=book, skip=skip)
