# SPDX-License-Identifier: GPL-3.0-or-later
"""From the clauses of a query to its plan: what has to be looked up is looked up here, once.

A person is found through the vault's blind index alone: by the keyed MAC of an id, as long as the
person was not erased. A hold is taken apart into what it names, because its view would have to be
asked entry by entry.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias
from uuid import UUID

from psycopg import sql

from ledger.database import Connection
from ledger.errors import FieldError
from ledger.readmodel import bits
from ledger.readmodel.keys import KEYS, Key
from ledger.readmodel.plan import NOTHING, All, Fixed, Node, Not, Span, Terms, union
from ledger.readmodel.query import Clause, QueryMalformed, moment
from ledger.readmodel.search_index import words_of
from ledger.vault.vault import Vault
from sealtrail.verify.disclosure import PERSON

#: Values in which one word may occur; what occurs in more of them says nothing.
_WORDED_MAX: Final = 2_000
#: Events of one identifier that are looked at.
_FOUND_MAX: Final = 1_000_000

_OF_EVENTS: Final = "SELECT position FROM {book}.entry WHERE event_id = ANY(%s::uuid[])"
_OF_STREAMS: Final = "SELECT position FROM {book}.entry WHERE stream = ANY(%s::text[])"
_OF_SUBJECTS: Final = """
SELECT e.position FROM {book}.sealed s JOIN {book}.entry e USING (event_id)
 WHERE s.subject_ref = ANY(%s::uuid[])
"""
#: A row for each block: of somebody's many events, one row each would take most of the time.
_BY_BLOCK: Final = """
SELECT found.position / {size}, string_agg(int2send(mod(found.position, {size})::int2), ''::bytea)
  FROM ({query}) AS found GROUP BY 1
"""
_WORDS: Final = """
SELECT DISTINCT key, value FROM {book}.search_text
 WHERE words @@ phraseto_tsquery('simple', %s) LIMIT %s
"""
_HOLDS: Final = """
SELECT queried, types, streams, of_subjects, from_ms, until_ms, event_ids, subjects
  FROM {book}.hold WHERE released IS NULL AND (%(id)s::text IS NULL OR hold_id::text = %(id)s)
"""
_LOOKED_UP: Final = {"event": _OF_EVENTS, "aggregate": _OF_STREAMS}
_TURNED: Final = {"after": "before", "before": "after"}
_TIME: Final = "SELECT recorded_at FROM {book}.entry WHERE position = %s"


#: What the vault says of personal values: by field and value, a data subject's random name or the
#: events that have the value.
Persons: TypeAlias = dict[tuple[str, str], UUID | list[str]]


def persons_in(clauses: Sequence[Clause], vault: Vault) -> Persons:
    """Look the personal values of a query up, by blind index."""
    persons: Persons = {}
    for clause in clauses:
        field = None if clause.key is None else KEYS[clause.key].personal
        if field is None:
            continue
        for value in clause.values:
            if field == PERSON:
                subject = vault.subject_of(value)
                persons[field, value] = [] if subject is None else subject.ref
            else:
                persons[field, value] = vault.find(field, value, limit=_FOUND_MAX)
    return persons


class Planner:
    """Plans queries over the Book in `schema`, of which `size` entries count."""

    def __init__(self, connection: Connection, persons: Persons, schema: str, size: int) -> None:
        self._connection, self._persons = connection, persons
        self._book, self._size = sql.Identifier(schema), size

    def plan(self, clauses: Sequence[Clause]) -> Node:
        """Return the plan of a query; raises QueryMalformed for a word that is everywhere."""
        return All(tuple(self._clause(clause) for clause in clauses))

    def _clause(self, clause: Clause) -> Node:
        if clause.key is None:
            node = self._words(clause.values[0])
        elif clause.key in _TURNED:
            key = _TURNED[clause.key] if clause.negated else clause.key
            at = self._at(moment(clause.values[0]))
            return Span(at, self._size) if key == "after" else Span(0, at)
        else:
            node = self._of_key(KEYS[clause.key], clause.values)
        return Not(node) if clause.negated else node

    def _of_key(self, key: Key, values: Sequence[str]) -> Node:
        if key.personal is not None:
            return union([self._personal(key.personal, value) for value in values])
        if key.name == "hold":
            return union([self._hold(value) for value in values])
        query = _LOOKED_UP.get(key.name)
        return Terms(key.name, tuple(values)) if query is None else self._positions(query, values)

    def _words(self, text: str) -> Node:
        """Return where words in a row occur in the words of any term."""
        rows = self._rows(_WORDS, words_of(text), _WORDED_MAX + 1)
        if len(rows) > _WORDED_MAX:
            detail = f"a word that {_WORDED_MAX:,} values have finds too much; use a key"
            raise QueryMalformed(errors=[FieldError("/query/q", "too-frequent", detail)])
        values: dict[str, list[str]] = {}
        for key, value in rows:
            values.setdefault(key, []).append(value)
        nodes = [Terms(key, tuple(sorted(some))) for key, some in sorted(values.items())]
        return union(nodes) if nodes else NOTHING

    def _personal(self, field: str, value: str) -> Node:
        found = self._persons[field, value]
        if isinstance(found, UUID):
            return self._positions(_OF_SUBJECTS, [found])
        return self._positions(_OF_EVENTS, found) if found else NOTHING

    def _hold(self, value: str) -> Node:
        rows = self._rows(_HOLDS, {"id": None if value == "any" else value})
        nodes = [node for row in rows for node in self._held_by(*row)]
        return union(nodes) if nodes else NOTHING

    def _held_by(  # noqa: PLR0917 - the columns of a row
        self,
        queried: bool,
        types: list[str] | None,
        streams: list[str] | None,
        of_subjects: list[UUID] | None,
        from_ms: int | None,
        until_ms: int | None,
        event_ids: list[UUID],
        subjects: list[UUID],
    ) -> list[Node]:
        """Return what one part of a hold keeps, as the view `held` has it."""
        nodes: list[Node] = []
        if event_ids:
            nodes.append(self._positions(_OF_EVENTS, event_ids))
        if subjects:
            nodes.append(self._positions(_OF_SUBJECTS, subjects))
        if queried:
            start = 0 if from_ms is None else self._at(from_ms)
            stop = self._size if until_ms is None else self._at(until_ms)
            meant: list[Node] = [Span(start, stop)]
            if types is not None:
                meant.append(Terms("type", tuple(types)))
            if streams is not None:
                meant.append(self._positions(_OF_STREAMS, streams))
            if of_subjects is not None:
                meant.append(self._positions(_OF_SUBJECTS, of_subjects))
            nodes.append(All(tuple(meant)))
        return nodes

    def _positions(self, query: str, values: Sequence[Any]) -> Fixed:
        inner = sql.SQL(query).format(book=self._book)
        whole = sql.SQL(_BY_BLOCK).format(query=inner, size=sql.Literal(bits.BLOCK))
        rows = self._connection.execute(whole, (list(values),), binary=True)
        return Fixed({block: bits.gathered(offsets) for block, offsets in rows.fetchall()})

    def _at(self, ms: int) -> int:
        """Return the first position recorded at a time or later; the size, if there is none.

        Times never decrease along the log, so about 20 rows are read for a million entries.
        """
        low, high = 0, self._size
        while low < high:
            middle = (low + high) // 2
            rows = self._rows(_TIME, middle)
            if rows and rows[0][0] < ms:
                low = middle + 1
            else:
                high = middle
        return low

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        parameters = values[0] if len(values) == 1 and isinstance(values[0], dict) else values
        return self._connection.execute(
            sql.SQL(query).format(book=self._book), parameters
        ).fetchall()
