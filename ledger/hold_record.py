# SPDX-License-Identifier: GPL-3.0-or-later
"""Legal holds as the log tells them, and the table that follows from it.

LEGAL_HOLD_PLACED and LEGAL_HOLD_RELEASED are the truth; the table `hold` and the view `held` over
it only say it in a form that the database can join. Before anybody believes the table it is held
against the entries: a row that is missing is made again, and one that no entry accounts for, or
that was released without an entry, stops whoever asked. So whoever can change the table alone
releases nothing. Entries beyond the head count for nothing: nobody signed them.

Bodies of these two types never leave the hot tier. One that cannot be read answers every question
with an error, and nothing is destroyed.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, TypeAlias

from psycopg import sql

from ledger import clock
from ledger.custody_log import CustodyLog
from ledger.database import Connection
from ledger.errors import IntegrityViolation
from ledger.head import Chain

JSON = dict[str, Any]

PLACED: Final = "LEGAL_HOLD_PLACED"
RELEASED: Final = "LEGAL_HOLD_RELEASED"

_ROWS: Final = """
SELECT hold_id::text, part, position, queried, types, streams, of_subjects::text[], from_ms,
       until_ms, event_ids::text[], subjects::text[], artifacts, keys, anchors::text[], released
  FROM {book}.hold
"""
_INSERT: Final = """
INSERT INTO {book}.hold (hold_id, part, position, queried, types, streams, of_subjects, from_ms,
                         until_ms, event_ids, subjects, artifacts, keys, anchors, released)
VALUES (%s::uuid, %s, %s, %s, %s::text[], %s::text[], %s::uuid[], %s, %s, %s::uuid[], %s::uuid[],
        %s::text[], %s::text[], %s::date[], %s)
ON CONFLICT DO NOTHING
"""
_RELEASE: Final = """
UPDATE {book}.hold SET released = %s WHERE hold_id = %s::uuid AND part = %s AND released IS NULL
"""


class HoldsDiffer(IntegrityViolation):
    """The table of legal holds says what no entry of the log says; nothing may be destroyed."""

    problem = "holds-differ"


class _Row(NamedTuple):
    """One part of a hold as the table has it; compared whole, but for `released`."""

    hold_id: str
    part: int
    position: int
    queried: bool
    types: list[str] | None
    streams: list[str] | None
    of_subjects: list[str] | None
    from_ms: int | None
    until_ms: int | None
    event_ids: list[str]
    subjects: list[str]
    artifacts: list[str]
    keys: list[str]
    anchors: list[str]
    released: int | None


_Rows: TypeAlias = dict[tuple[str, int], _Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A legal hold with all its parts."""

    hold_id: str
    matter: str
    authority: str
    placed: str  #: `time.recorded` of its first part.
    credential: str | None
    parts: int  #: How many were announced; fewer are there if placing it was interrupted.
    scopes: tuple[JSON, ...]  #: Of each part: query, event_ids, subjects, artifacts, keys, anchors.
    positions: tuple[int, ...]
    released: str | None = None

    @property
    def complete(self) -> bool:
        return len(self.scopes) == self.parts


class HoldRecord:
    """Reads the holds of one Book; remembers entries, which never change."""

    def __init__(self, schema: str, chain: Chain) -> None:
        name = sql.Identifier(schema)
        self._log = CustodyLog(schema, chain, (PLACED, RELEASED))
        self._rows = sql.SQL(_ROWS).format(book=name)
        self._insert = sql.SQL(_INSERT).format(book=name)
        self._release = sql.SQL(_RELEASE).format(book=name)

    def holds(self, connection: Connection) -> dict[str, Hold]:
        """Return every hold that the log tells of, released ones included, by id."""
        found: dict[str, Hold] = {}
        for note in self._log.told(connection):
            body, time = note.body, note.recorded
            hold = found.get(body["hold_id"])
            if note.type == RELEASED:
                if hold is not None and hold.released is None:
                    found[hold.hold_id] = replace(hold, released=time)
            elif hold is None:
                found[body["hold_id"]] = Hold(
                    hold_id=body["hold_id"],
                    matter=body["matter"],
                    authority=body["authority"],
                    placed=time,
                    credential=note.credential,
                    parts=body["parts"],
                    scopes=(body["scope"],),
                    positions=(note.position,),
                )
            else:
                found[hold.hold_id] = replace(
                    hold,
                    scopes=(*hold.scopes, body["scope"]),
                    positions=(*hold.positions, note.position),
                )
        return found

    def agree(self, connection: Connection) -> None:
        """Make the table say what the log says; raises HoldsDiffer where only a forger could have.

        The table is read first: a hold that is placed meanwhile then lacks a row at most.
        """
        there, wanted = self._both(connection)
        if _forged(there, wanted):
            raise HoldsDiffer
        for key, told in wanted.items():
            if key not in there:
                connection.execute(self._insert, told)
            elif there[key].released != told.released:
                connection.execute(self._release, (told.released, *key))

    def forged(self, connection: Connection) -> list[tuple[str, int]]:
        """Return (hold id, part) of each row of the table that the log does not account for."""
        return _forged(*self._both(connection))

    def rebuild(self, owner: Connection, schema: str) -> int:
        """Write the whole table anew from the log, as the owner; returns how many rows it has."""
        table = sql.Identifier(schema, "hold")
        with owner.transaction():
            wanted = self._expected(owner)
            for statement in (
                "ALTER TABLE {} DISABLE TRIGGER kept",
                "DELETE FROM {}",
                "ALTER TABLE {} ENABLE TRIGGER kept",
            ):
                owner.execute(sql.SQL(statement).format(table))
            for row in wanted.values():
                owner.execute(self._insert, row)
        return len(wanted)

    def _both(self, connection: Connection) -> tuple[_Rows, _Rows]:
        """Return what the table says, and then what the log says."""
        there = {(row[0], row[1]): _Row(*row) for row in connection.execute(self._rows)}
        return there, self._expected(connection)

    def _expected(self, connection: Connection) -> dict[tuple[str, int], _Row]:
        rows: dict[tuple[str, int], _Row] = {}
        for note in self._log.told(connection):
            body = note.body
            if note.type == PLACED:
                # Of two entries about one part the first counts; we write no second.
                rows.setdefault((body["hold_id"], body["part"]), _row(note.position, body))
                continue
            for key, row in rows.items():
                if key[0] == body["hold_id"] and row.released is None:
                    rows[key] = row._replace(released=note.position)
        return rows


def _forged(there: _Rows, wanted: _Rows) -> list[tuple[str, int]]:
    """Name the rows that say another thing than the log; one not released yet is merely late."""
    return [
        key
        for key, row in there.items()
        if (told := wanted.get(key)) is None or row not in (told, told._replace(released=None))
    ]


def _row(position: int, body: JSON) -> _Row:
    scope = body["scope"]
    query = scope.get("query", {})
    times = [query.get(name) for name in ("recorded_from", "recorded_until")]
    from_ms, until_ms = (None if time is None else clock.parse_time(time) for time in times)
    return _Row(
        hold_id=body["hold_id"],
        part=body["part"],
        position=position,
        queried="query" in scope,
        types=query.get("types"),
        streams=query.get("streams"),
        of_subjects=query.get("subjects"),
        from_ms=from_ms,
        until_ms=until_ms,
        event_ids=scope.get("event_ids", []),
        subjects=scope.get("subjects", []),
        artifacts=scope.get("artifacts", []),
        keys=scope.get("keys", []),
        anchors=scope.get("anchors", []),
        released=None,
    )
