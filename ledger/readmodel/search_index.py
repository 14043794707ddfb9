# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of the search index: read, joined with what is new, and written back, block by block."""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final
from unicodedata import normalize

from psycopg import Cursor, sql

from ledger import arrays
from ledger.database import Connection
from ledger.readmodel import bits
from ledger.readmodel.keys import WORDED
from ledger.readmodel.terms import Term

_WORDS: Final = re.compile(r"[^\W_]+")

_ROWS: Final = """
SELECT t.key, t.value, t.block, t.bits
  FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS u (key, value, block)
  JOIN {book}.search_term t ON t.key = u.key AND t.value = u.value AND t.block = u.block
"""
_PUT: Final = """
INSERT INTO {book}.search_term (key, value, block, bits)
SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bytea[])
    ON CONFLICT (key, value, block) DO UPDATE SET bits = excluded.bits
"""
_DROP: Final = """
DELETE FROM {book}.search_term t USING unnest(%s::text[], %s::text[], %s::bigint[])
    AS u (key, value, block)
 WHERE t.key = u.key AND t.value = u.value AND t.block = u.block
"""
_OF_KEYS: Final = """
SELECT key, value, block, bits FROM {book}.search_term
 WHERE key = ANY(%s) AND block >= %s AND block <= %s
"""
_SAY: Final = """
INSERT INTO {book}.search_text (key, value, position, words)
SELECT u.key, u.value, u.position, to_tsvector('simple', u.words)
  FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::text[]) AS u (key, value, position, words)
    ON CONFLICT DO NOTHING
"""
_ORPHANS: Final = """
DELETE FROM {book}.search_text s WHERE s.position = -1 AND s.key = ANY(%s) AND NOT EXISTS (
    SELECT 1 FROM {book}.search_term t WHERE t.key = s.key AND t.value = s.value)
"""
_HELD: Final = """
SELECT position FROM {book}.held WHERE position >= %s AND position < %s
   AND EXISTS (SELECT 1 FROM {book}.hold WHERE released IS NULL)
"""

_Row = tuple[str, str, int]  #: Key, value, block.


def words_of(text: str) -> str:
    """Return the words of a text as they are indexed and asked for, a space between each two."""
    return " ".join(_WORDS.findall(normalize("NFKC", text).casefold()))


class SearchIndex:
    """The tables search_term and search_text of the Book in `schema`, over one connection."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection, self._schema = connection, schema

    def add(
        self,
        terms: dict[Term, list[int]],
        *,
        without: dict[Term, list[int]],
        first: int,
    ) -> None:
        """Let positions fit terms, and others (`without`) no more.

        first: the lowest new position; blocks that begin there or later have no rows yet.
        """
        masks = _masks(terms)
        cleared = _masks(without)
        there = [row for row in masks.keys() | cleared.keys() if row[2] * bits.BLOCK < first]
        known = self._known(there)
        changed: dict[_Row, int] = {}
        for row in masks.keys() | cleared.keys():
            before = known.get(row, 0)
            after = (before | masks.get(row, 0)) & ~cleared.get(row, 0)
            if after != before:
                changed[row] = after
        self._write(changed)

    def forget(self, keys: Sequence[str], ranges: Iterable[tuple[int, int]]) -> None:
        """Let the positions of some ranges fit no term of these keys, but those that are held."""
        for start, stop in ranges:
            rows = self._execute(_HELD, (start, stop)).fetchall()
            kept = bits.by_block(position for (position,) in rows)
            found = self._execute(
                _OF_KEYS, (list(keys), start // bits.BLOCK, (stop - 1) // bits.BLOCK)
            ).fetchall()
            changed: dict[_Row, int] = {}
            for key, value, block, packed in found:
                before = bits.unpack(bytes(packed))
                begin = block * bits.BLOCK
                goes = bits.between(start - begin, stop - begin) & ~kept.get(block, 0)
                if before & goes:
                    changed[key, value, block] = before & ~goes
            self._write(changed)
        self._execute(_ORPHANS, ([key for key in keys if key in WORDED],))

    def say(self, texts: Collection[tuple[str, str, int, str]]) -> None:
        """Keep the words of terms: key, value, position (-1: of the value itself), words."""
        if texts:
            keys, values, positions, words = zip(*sorted(texts), strict=True)
            self._execute(
                _SAY,
                (
                    *(arrays.texts(keys), arrays.texts(values)),
                    *(arrays.bigints(positions), arrays.texts(words)),
                ),
            )

    def _known(self, rows: Sequence[_Row]) -> dict[_Row, int]:
        if not rows:
            return {}
        found = self._execute(_ROWS, _columns(rows))
        return {(key, value, block): bits.unpack(data) for key, value, block, data in found}

    def _write(self, changed: dict[_Row, int]) -> None:
        put = sorted(row for row, mask in changed.items() if mask)
        if put:
            packed = arrays.byteas([bits.pack(changed[row]) for row in put])
            self._execute(_PUT, (*_columns(put), packed))
        drop = sorted(row for row, mask in changed.items() if not mask)
        if drop:
            self._execute(_DROP, _columns(drop))

    def _execute(self, query: str, values: Sequence[object]) -> Cursor[Any]:
        text = sql.SQL(query).format(book=sql.Identifier(self._schema))
        return self._connection.execute(text, values, binary=True)


def own_words(terms: Iterable[Term]) -> set[tuple[str, str, int, str]]:
    """Return the words of the values themselves, for `say`."""
    found = set()
    for key, value in terms:
        words = words_of(value) if key in WORDED else ""
        if words:
            found.add((key, value, -1, words))
    return found


def _masks(terms: dict[Term, list[int]]) -> dict[_Row, int]:
    return {
        (key, value, block): mask
        for (key, value), positions in terms.items()
        for block, mask in bits.by_block(positions).items()
    }


def _columns(rows: Sequence[_Row]) -> tuple[arrays.Array, ...]:
    keys, values, blocks = zip(*rows, strict=True)
    return arrays.texts(keys), arrays.texts(values), arrays.bigints(blocks)
