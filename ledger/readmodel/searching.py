# SPDX-License-Identifier: GPL-3.0-or-later
"""The projection behind search: terms of entries, words of terms, registers and their flags.

    entry ──► its terms ─┬─ with those of its attempt ──► search_term
                         ├─ outcome: at the attempt, too; until then the attempt is open
                         └─ flags, by the rows of the registers before it
    TIER_MOVED, RETENTION_EXPIRED ──► what they name loses the terms that its new tier has not

All in the order of the log, so that reading it again ends with the same rows. What is held keeps
its terms, as it keeps the rest of its index.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from psycopg import sql

from ledger import arrays
from ledger.database import Connection
from ledger.readmodel import registers
from ledger.readmodel.keys import beyond
from ledger.readmodel.projection import Bare, Item
from ledger.readmodel.search_index import SearchIndex, own_words, words_of
from ledger.readmodel.stored import entry_of
from ledger.readmodel.terms import (
    Term,
    cold_terms,
    inherited,
    outcome_of,
    terms_of,
    version_of,
)

JSON = dict[str, Any]

_OPEN: Final = ("outcome", "open")

#: Of the first flush of a stretch it is known which rows are not there yet, of others nothing.
_WRITTEN: Final = 2**63 - 1

_ATTEMPTS: Final = """
SELECT e.stream, e.position, e.leaf, b.bytes
  FROM {book}.entry e LEFT JOIN {book}.entry_body b USING (position)
 WHERE e.stream = ANY(%s::text[]) AND e.version = 1
"""

#: Publications, the key under which their things are found, and members whose words count.
_SPEAKING: Final = {
    "PROMPT_TEMPLATE_PUBLISHED": "template",
    "POLICY_PUBLISHED": "policy",
    "CONSENT_TEXT_PUBLISHED": "text",
    "TRANSPARENCY_TEMPLATE_PUBLISHED": "text",
}
_MUTE: Final = frozenset({"digest", "style_constraints", "system_prompt", "screenshot_digest"})


class _Attempt:
    """The attempt of a Generation: where it stands, and what its other events have from it."""

    __slots__ = ("inherited", "position")

    def __init__(self, position: int, terms: set[Term]) -> None:
        self.position, self.inherited = position, inherited(terms)


class Searching:
    """See above."""

    name = "search"
    tables = ("search_term", "search_text", "register")

    def write(self, connection: Connection, schema: str, items: Sequence[Item]) -> None:
        """Write what these entries say."""
        self.write_whole(connection, schema, items, ())

    def write_whole(
        self, connection: Connection, schema: str, items: Sequence[Item], bare: Sequence[Bare]
    ) -> None:
        """Write what these entries say, and what is left of those whose bytes are gone."""
        first = min(one[0].position for one in (items, bare) if one)
        stretch = _Stretch(connection, schema, first)
        stretch.prepare(items, bare)
        for one in bare:
            stretch.read_bare(one)
        for item in items:
            stretch.read(item)
            forgotten = list(_forgotten(item))
            if forgotten:
                stretch.flush()
                for keys, ranges in forgotten:
                    stretch.index.forget(keys, ranges)
        stretch.flush()


class _Stretch:
    """One stretch of the log on its way into the tables."""

    def __init__(self, connection: Connection, schema: str, first: int) -> None:
        self._connection, self._schema, self._first = connection, schema, first
        self.index = SearchIndex(connection, schema)
        self._registers = registers.Registers()
        self._attempts: dict[str, _Attempt] = {}
        self._terms: dict[Term, list[int]] = {}
        self._closed: list[int] = []
        self._texts: set[tuple[str, str, int, str]] = set()
        self._rows: list[registers.Row] = []

    def prepare(self, items: Sequence[Item], bare: Sequence[Bare]) -> None:
        """Read what the stretch needs of the entries and rows before it."""
        named = [one for item in items for one in registers.named_in(item.entry)]
        self._registers.load(self._connection, self._schema, named)
        begun = {item.entry["aggregate"]["id"] for item in items if item.type == "GEN_ATTEMPT"}
        missing = {
            f"Generation/{item.entry['aggregate']['id']}"
            for item in items
            if item.entry["aggregate"]["type"] == "Generation"
            and item.entry["aggregate"]["id"] not in begun
        }
        missing.update(one.stream for one in bare if one.stream.startswith("Generation/"))
        if not missing:
            return
        query = sql.SQL(_ATTEMPTS).format(book=sql.Identifier(self._schema))
        rows = self._connection.execute(query, (arrays.texts(sorted(missing)),), binary=True)
        for stream, position, leaf, data in rows.fetchall():
            entry = None if data is None else entry_of(data, leaf)
            if entry is not None:
                self._attempts[stream] = _Attempt(position, terms_of(entry))

    def read(self, item: Item) -> None:
        """Take one entry in."""
        entry, position = item.entry, item.position
        terms = terms_of(entry)
        aggregate = entry["aggregate"]
        if aggregate["type"] == "Generation":
            stream = f"Generation/{aggregate['id']}"
            if item.type == "GEN_ATTEMPT":
                self._attempts[stream] = _Attempt(position, terms)
                terms.add(_OPEN)
            else:
                attempt = self._attempts.get(stream)
                if attempt is not None:
                    terms |= attempt.inherited
                    self._end(attempt, outcome_of(entry))
        for named in registers.named_in(entry):
            flags = self._registers.flags(named, position, item.recorded_ms)
            terms.update(("flag", flag) for flag in flags)
        for term in terms:
            self._terms.setdefault(term, []).append(position)
        self._say(entry, position)
        self._register(entry, position, item.recorded_ms)

    def read_bare(self, one: Bare) -> None:
        """Take in what is left of an entry: that it is there, and what a register needs of it."""
        aggregate, _, id_ = one.stream.partition("/")
        for term in cold_terms(one.type, aggregate):
            self._terms.setdefault(term, []).append(one.position)
        entry = {
            "type": one.type,
            "event_id": one.event_id,
            "aggregate": {"type": aggregate, "id": id_},
            "body": one.body,
        }
        attempt = self._attempts.get(one.stream)
        if attempt is not None and attempt.position != one.position:
            self._end(attempt, outcome_of(entry))
        self._register(entry, one.position, one.recorded_ms)

    def flush(self) -> None:
        """Write what was taken in."""
        for term in {term for term in self._terms if term != _OPEN}:
            self._texts |= own_words([term])
        closed = {_OPEN: self._closed} if self._closed else {}
        self.index.add(self._terms, without=closed, first=self._first)
        self.index.say(self._texts)
        registers.insert(self._connection, self._schema, self._rows)
        self._terms, self._closed, self._texts, self._rows = {}, [], set(), []
        self._first = _WRITTEN

    def _end(self, attempt: _Attempt, outcome: str | None) -> None:
        """Let an attempt have its outcome."""
        if outcome is not None:
            self._terms.setdefault(("outcome", outcome), []).append(attempt.position)
            self._closed.append(attempt.position)

    def _say(self, entry: JSON, position: int) -> None:
        key = _SPEAKING.get(entry["type"])
        words = "" if key is None else words_of(" ".join(_strings(entry["body"])))
        if key is not None and words:
            value = f"{entry['aggregate']['id']}@{version_of(entry)}"
            self._texts.add((key, value, position, words))

    def _register(self, entry: JSON, position: int, recorded_ms: int) -> None:
        row = registers.row_of(entry, position, recorded_ms)
        if row is not None:
            self._rows.append(row)
            self._registers.add(row)


def _forgotten(item: Item) -> Iterator[tuple[list[str], list[tuple[int, int]]]]:
    """Yield which keys an entry takes from which ranges of positions."""
    body = item.entry["body"]
    if item.type == "TIER_MOVED":
        yield beyond(body["to"]), [(body["from_position"], body["to_position"])]
    elif item.type == "RETENTION_EXPIRED" and body["what"] == "entry":
        yield beyond("cold"), [(start, stop) for start, stop in body["leaf_ranges"]]


def _strings(value: Any) -> Iterator[str]:
    """Yield every text in a body, but digests."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)
    elif isinstance(value, dict):
        for name, below in value.items():
            if name not in _MUTE:
                yield from _strings(below)
