# SPDX-License-Identifier: GPL-3.0-or-later
"""Adds up what calls cost: by model, day, person or session.

A person is the data subject who owns the outcome's values; where an outcome has values of several
persons, it is opened to see whose call it was. A session is known by its blind index, from the
outcome or its attempt. What belongs to somebody who was erased is added up as `erased`, all of them
together; what has no such name here, as the client keeps it or it has expired, as `unknown`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

from psycopg import sql

from ledger import clock
from ledger.database import Database
from ledger.vault.vault import Vault
from sealtrail.verify.disclosure import PERSON

By = Literal["model", "day", "person", "session"]

SESSION: Final = "actor.session_id"
ERASED, UNKNOWN = "erased", "unknown"

#: Groups of one answer, those with the most calls first.
GROUPS_MAX: Final = 10_000
#: Outcomes with values of several persons that are opened for one answer.
_OPENED_MAX: Final = 2_000

_SUMS: Final = """
       count(*), sum(u.cost), count(u.cost), sum(u.input_tokens), sum(u.output_tokens),
       sum(u.images)
"""
_MODEL: Final = """
SELECT u.provider, u.model, u.version, u.currency, {sums} FROM {book}.call_cost u
 WHERE u.recorded_at >= %(from)s AND u.recorded_at < %(to)s {also} GROUP BY 1, 2, 3, 4
"""
_DAY: Final = """
SELECT u.recorded_at / 86400000, u.currency, {sums} FROM {book}.call_cost u
 WHERE u.recorded_at >= %(from)s AND u.recorded_at < %(to)s {also} GROUP BY 1, 2
"""
_PERSON: Final = """
SELECT p.refs, p.gone,
       CASE WHEN cardinality(p.refs) + p.gone::integer > 1 THEN u.event_id::text END,
       u.currency, min(u.event_id::text),
{sums}
  FROM {book}.call_cost u
 CROSS JOIN LATERAL (
       SELECT coalesce(array_agg(s.ref ORDER BY s.ref)
                       FILTER (WHERE s.state IN ('live', 'held')), '{{}}') AS refs,
              coalesce(bool_or(s.state IN ('erasing', 'erased')), false) AS gone
         FROM {book}.sealed v JOIN {book}.subject s ON s.ref = v.subject_ref
        WHERE v.event_id = u.event_id AND s.kind = 'person') p
 WHERE u.recorded_at >= %(from)s AND u.recorded_at < %(to)s {also}
 GROUP BY 1, 2, 3, 4
"""
_SESSION: Final = """
SELECT coalesce(o."index", a."index"), coalesce(o.generation, a.generation), p.gone,
       min(coalesce(o.event_id, a.event_id)::text), u.currency,
{sums}
  FROM {book}.call_cost u
  LEFT JOIN {book}.model_call c ON c.generation = u.generation
  LEFT JOIN LATERAL (
       SELECT b."index", b.generation, b.event_id
         FROM {book}.blind b JOIN {book}.subject s ON s.ref = b.subject_ref
        WHERE b.event_id = u.event_id AND b.field = 'actor.session_id'
          AND s.state IN ('live', 'held')
        ORDER BY b.generation DESC LIMIT 1) o ON true
  LEFT JOIN LATERAL (
       SELECT b."index", b.generation, b.event_id
         FROM {book}.blind b JOIN {book}.subject s ON s.ref = b.subject_ref
        WHERE b.event_id = c.event_id AND b.field = 'actor.session_id'
          AND s.state IN ('live', 'held')
        ORDER BY b.generation DESC LIMIT 1) a ON o."index" IS NULL
 CROSS JOIN LATERAL (
       SELECT coalesce(bool_or(s.state IN ('erasing', 'erased')), false) AS gone
         FROM {book}.sealed v JOIN {book}.subject s ON s.ref = v.subject_ref
        WHERE v.event_id = u.event_id AND s.kind = 'person') p
 WHERE u.recorded_at >= %(from)s AND u.recorded_at < %(to)s {also}
 GROUP BY 1, 2, 3, 5
"""

#: Only calls of one person, or of one session.
_OF_PERSON: Final = """
   AND EXISTS (SELECT 1 FROM {book}.sealed w
                WHERE w.event_id = u.event_id AND w.subject_ref = %(ref)s)
"""
_OF_SESSION: Final = """
   AND u.generation IN (SELECT substr(e.stream, 12) FROM {book}.entry e
                         WHERE e.event_id = ANY(%(events)s::uuid[])
                           AND e.stream LIKE 'Generation/%%')
"""


#: Digits enough for any sum of amounts of 18 digits on each side: nothing is ever rounded.
_EXACT: Final = Context(prec=120)


def added(one: Decimal, other: Decimal) -> Decimal:
    """Add two amounts exactly."""
    return _EXACT.add(one, other)


def printed(amount: Decimal) -> str:
    """Print an amount as entries spell it: no exponent, and no zeros at the end."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


class Money(NamedTuple):
    """What calls cost in one currency."""

    currency: str | None  #: None: they cost something, and do not say in what.
    cost: Decimal
    calls: int  #: Calls that say what they cost.


@dataclass(slots=True, kw_only=True)
class Group:
    """What the calls of one model, day, person or session used."""

    key: tuple[str, ...]  #: `ERASED` or `UNKNOWN` for persons and sessions without a name here.
    calls: int = 0  #: Outcomes that say anything of what they used.
    input_tokens: int = 0
    output_tokens: int = 0
    images: int = 0
    money: dict[str | None, Money] = field(default_factory=dict)
    event_id: str | None = None  #: Of a person or session: an event that has the name sealed.

    def add(self, currency: str | None, sums: Sequence[Any]) -> None:
        """Add one row of sums, of one currency."""
        calls, cost, priced, tokens_in, tokens_out, images = sums
        self.calls += calls
        self.input_tokens += int(tokens_in or 0)
        self.output_tokens += int(tokens_out or 0)
        self.images += int(images or 0)
        if priced:
            self._pay(Money(currency, cost, priced))

    def take(self, other: "Group") -> None:
        """Add what another group has: it turned out to be the same."""
        self.calls += other.calls
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.images += other.images
        for one in other.money.values():
            self._pay(one)

    def _pay(self, more: Money) -> None:
        before = self.money.get(more.currency, Money(more.currency, Decimal(0), 0))
        self.money[more.currency] = Money(
            more.currency, added(before.cost, more.cost), before.calls + more.calls
        )


class Question(NamedTuple):
    """Which calls are added up, and by what."""

    by: By
    from_ms: int  #: Recorded from then on; ms since 1970.
    to_ms: int  #: And before then.
    person: UUID | None = None  #: This data subject's alone.
    session: Sequence[str] | None = None  #: Those alone of which one of these is an event.


def usage(database: Database, schema: str, vault: Vault, question: Question) -> list[Group]:
    """Return what calls used, the group with the most calls first; GROUPS_MAX at most.

    Nothing that is returned is anybody's name. Raises IntegrityViolation for damaged values.
    """
    text = {"model": _MODEL, "day": _DAY, "person": _PERSON, "session": _SESSION}[question.by]
    also = (_OF_PERSON if question.person is not None else "") + (
        _OF_SESSION if question.session is not None else ""
    )
    book = sql.Identifier(schema)
    values = {
        "from": question.from_ms,
        "to": question.to_ms,
        "ref": question.person,
        "events": list(question.session or ()),
    }
    with database.duty(schema, "read") as connection:
        query = sql.SQL(text).format(
            book=book, sums=sql.SQL(_SUMS), also=sql.SQL(also).format(book=book)
        )
        rows = connection.execute(query, values).fetchall()
    if question.by == "model":
        found = _by_model(rows)
    elif question.by == "day":
        found = _by_day(rows)
    elif question.by == "person":
        found = _by_person(vault, rows)
    else:
        found = _by_session(vault, rows)
    found.sort(key=lambda one: (-one.calls, one.key))
    return found[:GROUPS_MAX]


def _by_model(rows: Iterable[tuple[Any, ...]]) -> list[Group]:
    groups: dict[tuple[str, ...], Group] = {}
    for provider, model, version, currency, *sums in rows:
        _group(groups, (provider, model, version)).add(currency, sums)
    return list(groups.values())


def _by_day(rows: Iterable[tuple[Any, ...]]) -> list[Group]:
    groups: dict[tuple[str, ...], Group] = {}
    for day, currency, *sums in rows:
        _group(groups, (clock.day_of(day * clock.DAY_MS),)).add(currency, sums)
    return list(groups.values())


def _by_person(vault: Vault, rows: Sequence[tuple[Any, ...]]) -> list[Group]:
    groups: dict[tuple[str, ...], Group] = {}
    opened = 0
    for refs, gone, event_id, currency, example, *sums in rows:
        key = ERASED if gone else UNKNOWN
        if event_id is None and refs:
            key = str(refs[0])
        elif refs:
            key = UNKNOWN
            if opened < _OPENED_MAX:
                opened += 1
                owner = vault.open(event_id, [PERSON]).owners.get(PERSON)
                key = ERASED if owner is None else str(owner)
        group = _group(groups, (key,))
        group.add(currency, sums)
        if key not in (ERASED, UNKNOWN):
            group.event_id = example
    return list(groups.values())


def _by_session(vault: Vault, rows: Sequence[tuple[Any, ...]]) -> list[Group]:
    groups: dict[tuple[str, ...], Group] = {}
    for index, _, gone, event_id, currency, *sums in rows:
        key = bytes(index).hex() if index is not None else ERASED if gone else UNKNOWN
        group = _group(groups, (key,))
        group.add(currency, sums)
        group.event_id = None if index is None else event_id
    if len({generation for _, generation, *_ in rows if generation is not None}) < 2:
        return list(groups.values())
    return _merged(vault, list(groups.values()))


def _merged(vault: Vault, groups: Sequence[Group]) -> list[Group]:
    """Put together what is one session under two generations of index keys: a rotation runs."""
    merged: dict[str, Group] = {}
    for group in groups:
        name = group.key[0]
        if group.event_id is not None:
            value = vault.open(group.event_id, [SESSION]).values.get(SESSION)
            name = f"value {value}"
        if name in merged:
            merged[name].take(group)
        else:
            merged[name] = group
    return list(merged.values())


def _group(groups: dict[tuple[str, ...], Group], key: tuple[str, ...]) -> Group:
    found = groups.get(key)
    if found is None:
        found = groups[key] = Group(key=key)
    return found
