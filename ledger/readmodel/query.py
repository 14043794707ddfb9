# SPDX-License-Identifier: GPL-3.0-or-later
r"""The query language of search: a few clauses, all of which an entry has to meet.

    query    = clause *( space clause )            at most 32 clauses, 2,000 characters
    clause   = [ "-" ] key ":" value *( "," value )   any of these values; `-` turns it round
             / [ "-" ] word                        free text: the word, or
             / [ "-" ] quoted                      the words in a row
    value    = quoted / 1*( any character but space, comma and quote )
    quoted   = '"' *( any character; \" and \\ stand for themselves ) '"'

What is wrong is said with the place where it begins, in characters from 1, and never with what was
written there: a query may be about a person. `printed` is the inverse of `parse`.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from ledger import clock
from ledger.catalog import CATALOG
from ledger.errors import FieldError, Refused
from ledger.readmodel.keys import KEYS, Key
from ledger.readmodel.registers import FLAGS
from ledger.readmodel.search_index import words_of

LENGTH_MAX: Final = 2_000
CLAUSES_MAX: Final = 32
VALUES_MAX: Final = 32

_KEY: Final = re.compile(r"([A-Za-z_][A-Za-z_-]*):")
_BARE: Final = re.compile(r'[^\s,"]+')
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_HALF: Final = re.compile(r"[\ud800-\udfff]")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_STREAM: Final = re.compile(r"[A-Za-z]{1,32}/.{1,256}")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

_TYPES: Final = frozenset(type_ for type_, _ in CATALOG)


class QueryMalformed(Refused):
    """The query breaks a rule of the query language; `errors` says where and which."""

    status = 422
    problem = "query-malformed"


class Clause(NamedTuple):
    """One clause. Without a key it is free text, with one value: the words."""

    key: str | None
    values: tuple[str, ...]
    negated: bool = False

    @property
    def personal(self) -> bool:
        """Whether it may be about a person: a personal key, or words, which may be a name."""
        return self.key is None or KEYS[self.key].personal is not None


def parse(text: str) -> tuple[Clause, ...]:
    """Read a query; the empty one has no clauses and means every entry. Raises QueryMalformed."""
    if len(text) > LENGTH_MAX:
        raise _wrong(LENGTH_MAX, "too-long", f"a query has at most {LENGTH_MAX:,} characters")
    half = _HALF.search(text)
    if half is not None:
        raise _wrong(half.start(), "unicode", "half of a surrogate pair is no character")
    clauses: list[Clause] = []
    at = _space(text, 0)
    while at < len(text):
        if len(clauses) == CLAUSES_MAX:
            raise _wrong(at, "too-many", f"a query has at most {CLAUSES_MAX} clauses")
        clause, end = _clause(text, at)
        if end < len(text) and not text[end].isspace():
            raise _wrong(end, "space", "a clause ends with a space; values that hold one, a comma"
                         " or a quote stand in quotes")  # fmt: skip
        clauses.append(clause)
        at = _space(text, end)
    return tuple(clauses)


def printed(clauses: Sequence[Clause]) -> str:
    """Print clauses so that `parse` reads the same ones."""
    return " ".join(map(_printed, clauses))


def refuse_personal(clauses: Sequence[Clause]) -> None:
    """Raise QueryMalformed for what must not stand in an address, which ends in logs."""
    if any(clause.personal for clause in clauses):
        raise QueryMalformed(
            errors=[
                FieldError(
                    "/query/q",
                    "personal",
                    "free words and the keys "
                    + ", ".join(key.name for key in KEYS.values() if key.personal)
                    + " are sent in the body of a POST: addresses end in logs",
                )
            ]
        )


def moment(value: str) -> int:
    """Return the time that `after` and `before` mean, in ms since 1970; ValueError for none."""
    return clock.day_start(value) if _DAY.fullmatch(value) else clock.parse_time(value)


def _clause(text: str, at: int) -> tuple[Clause, int]:
    """Read the clause that begins at a place; returns it and where it ends."""
    begin, negated = at, text[at] == "-"
    at += negated
    named = _KEY.match(text, at)
    if named is None:
        word, end = _value(text, at)
        if not words_of(word):
            raise _wrong(begin, "words", "free text needs a word: letters or digits")
        return Clause(None, (word,), negated), end
    key = KEYS.get(named[1])
    if key is None:
        detail = f"the keys are {', '.join(KEYS)}; put words with a colon in quotes"
        raise _wrong(begin, "unknown-key", detail)
    values, at = [], named.end()
    while True:
        value, end = _value(text, at)
        values.append(_fitting(key, value, at))
        if len(values) > VALUES_MAX:
            raise _wrong(at, "too-many", f"a clause has at most {VALUES_MAX} values")
        if end == len(text) or text[end] != ",":
            break
        at = end + 1
    if key.name in ("after", "before") and len(values) > 1:
        raise _wrong(at, "one-value", f"{key.name} has one value")
    return Clause(key.name, tuple(values), negated), end


def _value(text: str, at: int) -> tuple[str, int]:
    quoted = _QUOTED.match(text, at)
    if quoted is not None:
        value = re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL)
        end = quoted.end()
    elif text.startswith('"', at):
        raise _wrong(at, "quote", 'a quote is open; within quotes write \\" and \\\\')
    else:
        bare = _BARE.match(text, at)
        if bare is None:
            raise _wrong(at, "value", "a value is missing here")
        value, end = bare[0], bare.end()
    if not value or "\0" in value:
        raise _wrong(at, "value", "a value is one character or more, and none of them NUL")
    return value, end


def _fitting(key: Key, value: str, at: int) -> str:
    """Return a value as the index spells it; raises QueryMalformed for one that cannot be."""
    if key.fold is not None:
        value = value.upper() if key.fold == "upper" else value.lower()
    if key.name in ("after", "before"):
        try:
            moment(value)
        except ValueError:
            detail = "a day such as 2026-11-01 or a time such as 2026-11-01T12:00:00.000Z, in UTC"
            raise _wrong(at, "time", detail) from None
    elif key.name == "event" and not _UUID.fullmatch(value):
        raise _wrong(at, "uuid", "an event's id is a UUID in lower case")
    elif key.name == "aggregate" and not _STREAM.fullmatch(value):
        raise _wrong(at, "stream", "type and id, such as Generation/0199…")
    elif key.name == "hold" and value != "any" and not _UUID.fullmatch(value):
        raise _wrong(at, "hold", "a hold's id, or any")
    known = {"type": sorted(_TYPES), "flag": list(FLAGS)}.get(key.name, key.known)
    if known and value not in known:
        raise _wrong(at, "unknown-value", f"{key.name} is one of {', '.join(known)}")
    return value


def _printed(clause: Clause) -> str:
    sign = "-" if clause.negated else ""
    if clause.key is None:
        return f"{sign}{_quoted(clause.values[0])}"
    return f"{sign}{clause.key}:{','.join(map(_spelled, clause.values))}"


def _spelled(value: str) -> str:
    return value if _BARE.fullmatch(value) else _quoted(value)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _wrong(at: int, rule: str, detail: str) -> QueryMalformed:
    place = f"at character {at + 1}: {detail}"
    return QueryMalformed(errors=[FieldError("/query/q", rule, place)])
