# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds a provider's invoice against what was recorded: matched, differing, missing here or there.

    charge with a request's id   ──► the outcome with that `provider.request_id`
    charge with a time           ──► the nearest outcome within a few minutes, of the same model and
                                     the same number of tokens
    charge over a span           ──► all outcomes of that model recorded in it, added up; where
                                     they cost several currencies, those in the charge's

Each outcome accounts for one charge: a second charge for the same request is missing here. What was
matched is remembered as one bit for each entry of the log, so that an invoice may have any number
of lines. What is missing there are the outcomes of the same providers, recorded on the invoice's
days, that say they used something and that no charge accounts for.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import Any, Final, Literal, NamedTuple

from psycopg import sql

from ledger import arrays, clock
from ledger.database import Connection, Database
from ledger.errors import TooLarge
from ledger.usage.costs import added, printed
from ledger.usage.invoice import Charge, Malformed
from ledger.usage.spans import Span, Spans

Kind = Literal["matched", "differs", "missing-here", "missing-there", "malformed"]

WITHIN_S: Final = 120
SPANS_MAX: Final = 50_000
_CHUNK: Final = 500
_NEAR: Final = 64

_COLUMNS: Final = """
u.position, u.event_id::text, u.recorded_at, u.provider, u.model, u.returned, u.request_id,
u.input_tokens, u.output_tokens, u.images, u.cost, u.currency
"""
_BY_ID: Final = """
SELECT {columns} FROM {book}.call_cost u WHERE u.request_id = ANY(%s) ORDER BY u.position
"""
_BY_TIME: Final = """
SELECT w.n, {columns}
  FROM unnest(%(n)s::bigint[], %(at)s::bigint[], %(model)s::text[]) w (n, at, model)
 CROSS JOIN LATERAL (
       SELECT * FROM {book}.call_cost c
        WHERE c.recorded_at >= w.at - %(within)s AND c.recorded_at <= w.at + %(within)s
          AND (w.model IS NULL OR w.model IN (c.model, c.returned))
        ORDER BY abs(c.recorded_at - w.at), c.position LIMIT %(near)s) u
"""
_SPAN: Final = """
SELECT u.currency, array_agg(DISTINCT u.provider), sum(u.cost), count(*), sum(u.input_tokens),
       sum(u.output_tokens), sum(u.images)
  FROM {book}.call_cost u
 WHERE u.recorded_at >= %s AND u.recorded_at < %s
   AND (%s::text IS NULL OR %s IN (u.model, u.returned)) GROUP BY 1 ORDER BY 1
"""
_REST: Final = """
SELECT {columns} FROM {book}.call_cost u
 WHERE u.recorded_at >= %s AND u.recorded_at < %s AND u.provider = ANY(%s)
   AND coalesce(u.cost, u.input_tokens, u.output_tokens, u.images) IS NOT NULL
 ORDER BY u.position
"""
_PROVIDERS: Final = """
SELECT DISTINCT u.provider FROM {book}.call_cost u
 WHERE u.recorded_at >= %s AND u.recorded_at < %s
"""


class Ours(NamedTuple):
    """One outcome, as it was recorded."""

    position: int
    event_id: str
    recorded_ms: int
    provider: str
    model: str
    returned: str | None
    request_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    images: int | None
    cost: Decimal | None
    currency: str | None


class Finding(NamedTuple):
    """What became of one line of the invoice, or of one outcome that it lacks."""

    kind: Kind
    line: int | None = None
    event_id: str | None = None
    position: int | None = None
    by: str = ""  #: `request_id`, `time` or `span`.
    differing: tuple[tuple[str, str, str], ...] = ()  #: Member, here, there.
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What counts as the same."""

    from_ms: int | None = None  #: The invoice's period; None: that of its lines.
    to_ms: int | None = None
    providers: tuple[str, ...] = ()  #: Whose invoice it is; (): those of what was matched.
    within_s: int = WITHIN_S  #: So far apart the times of one call may be.
    tolerance: Decimal = Decimal(0)  #: So much the amounts of one call may differ.


@dataclass(slots=True, kw_only=True)
class Summary:
    """How an invoice and the record agree; complete once all findings were taken."""

    counts: dict[str, int] = field(default_factory=dict)
    here: dict[str, Decimal] = field(default_factory=dict)  #: Cost of what was matched, recorded.
    there: dict[str, Decimal] = field(default_factory=dict)  #: And of the whole invoice, charged.
    from_ms: int | None = None
    to_ms: int | None = None
    providers: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """Return it as the API and `--json` show it."""
        kinds = ("matched", "differs", "missing-here", "missing-there", "malformed")
        return {
            "counts": {kind: self.counts.get(kind, 0) for kind in kinds},
            "recorded": {name: printed(one) for name, one in sorted(self.here.items())},
            "charged": {name: printed(one) for name, one in sorted(self.there.items())},
            "providers": list(self.providers),
        }


class Reconciliation:
    """Holds one invoice against one Book; `findings` may be taken once."""

    def __init__(self, database: Database, schema: str, terms: Terms | None = None) -> None:
        self._database, self._schema = database, schema
        self._terms = terms or Terms()
        self._taken = bytearray()  # One bit for each entry that accounts for a charge.
        self._spans: set[Span] = set()
        self.summary = Summary()

    def findings(self, lines: Iterable[Charge | Malformed]) -> Iterator[Finding]:
        """Yield what became of each line, then what the invoice lacks.

        Raises TooLarge for an invoice of more than SPANS_MAX different spans.
        """
        source = iter(lines)
        with self._database.duty(self._schema, "read") as connection:
            while chunk := list(islice(source, _CHUNK)):
                charges = [one for one in chunk if isinstance(one, Charge)]
                for bad in (one for one in chunk if isinstance(one, Malformed)):
                    detail = f"{bad.column}: {bad.rule}" if bad.column else bad.rule
                    yield self._count(Finding("malformed", bad.line, detail=detail))
                yield from self._chunk(connection, charges)
            yield from self._rest(connection)

    def _chunk(self, connection: Connection, charges: Sequence[Charge]) -> Iterator[Finding]:
        ids = [one.request_id for one in charges if one.request_id is not None]
        named: dict[str, list[Ours]] = {}
        for row in self._ask(connection, _BY_ID, arrays.texts(ids)) if ids else ():
            named.setdefault(row[6], []).append(Ours(*row))
        alone = [one for one in charges if one.request_id is None and one.at_ms is not None]
        near = self._near(connection, alone) if alone else {}
        for one in charges:
            self._note(one)
            if one.request_id is not None:
                found = self._free(named.get(one.request_id, ()))
                again = one.request_id in named
                detail = "its outcome accounts for an earlier line" if again else "no such request"
                yield self._count(self._compared(one, found, "request_id", detail))
            elif one.at_ms is not None:
                found = self._free(ours for ours in near[one.line] if _same_use(one, ours))
                detail = "no such call at that time"
                yield self._count(self._compared(one, found, "time", detail))
            else:
                yield self._count(self._span(connection, one))

    def _compared(self, charge: Charge, ours: Ours | None, by: str, missing: str) -> Finding:
        if ours is None:
            return Finding("missing-here", charge.line, by=by, detail=missing)
        self._take(ours.position)
        self._terms_met(ours)
        facts = {
            "input_tokens": (ours.input_tokens, charge.input_tokens),
            "output_tokens": (ours.output_tokens, charge.output_tokens),
            "images": (ours.images, charge.images),
        }
        differing = self._differing(facts, ours.cost, ours.currency, charge)
        kind: Kind = "differs" if differing else "matched"
        return Finding(kind, charge.line, ours.event_id, ours.position, by, differing)

    def _differing(
        self,
        facts: Mapping[str, tuple[int | None, int | None]],
        cost: Decimal | None,
        currency: str | None,
        charge: Charge,
    ) -> tuple[tuple[str, str, str], ...]:
        """Return what both sides say, and say differently."""
        found = [
            (name, str(here), str(there))
            for name, (here, there) in facts.items()
            if here is not None and there is not None and here != there
        ]
        if cost is not None and charge.cost is not None:
            if currency is not None and charge.currency is not None and currency != charge.currency:
                found.append(("currency", currency, charge.currency))
            elif abs(added(cost, -charge.cost)) > self._terms.tolerance:
                found.append(("cost", printed(cost), printed(charge.cost)))
        return tuple(found)

    def _span(self, connection: Connection, charge: Charge) -> Finding:
        """Compare a line that adds up many calls with the sum of ours."""
        assert charge.span is not None  # noqa: S101 - a Charge has an id, a time or a span
        begin, end = charge.span
        key = Span(begin, end, charge.model)
        own = key._replace(currency=charge.currency)
        if key in self._spans or own in self._spans:
            detail = "an earlier line is about the same span and model"
            return Finding("missing-here", charge.line, by="span", detail=detail)
        if len(self._spans) >= SPANS_MAX:
            raise TooLarge(f"an invoice has at most {SPANS_MAX} spans of time and model")
        rows = self._ask(connection, _SPAN, begin, end, charge.model, charge.model)
        paid = [row for row in rows if row[2] is not None]
        if len(paid) > 1 and any(row[0] == charge.currency for row in paid):
            key, rows = own, [row for row in rows if row[0] == charge.currency]
            paid = rows
        self._spans.add(key)
        if not rows:
            return Finding("missing-here", charge.line, by="span", detail="no call in that span")
        there = (charge.requests, charge.input_tokens, charge.output_tokens, charge.images)
        used = zip(*(row[3:] for row in rows), strict=True)
        here = [sum(map(int, said)) if (said := [n for n in one if n is not None]) else None
                for one in used]  # fmt: skip
        names = ("requests", "input_tokens", "output_tokens", "images")
        facts = dict(zip(names, zip(here, there, strict=True), strict=True))
        for currency, providers, cost, *_ in rows:
            self._from(providers)
            if cost is not None:
                self._sum(self.summary.here, currency, cost)
        if len(paid) > 1:  # Amounts are never added across currencies, and none is the charge's.
            differing = self._differing(facts, None, None, charge)
            if charge.cost is not None:
                several = ", ".join(row[0] or "unstated" for row in paid)
                differing += (("currency", several, charge.currency or "unstated"),)
        else:
            currency, _, cost = paid[0][:3] if paid else (None, None, None)
            differing = self._differing(facts, cost, currency, charge)
        return Finding(
            "differs" if differing else "matched", charge.line, by="span", differing=differing
        )

    def _rest(self, connection: Connection) -> Iterator[Finding]:
        """Yield what was recorded and no charge accounts for."""
        found, terms = self.summary, self._terms
        found.from_ms = terms.from_ms if terms.from_ms is not None else found.from_ms
        found.to_ms = terms.to_ms if terms.to_ms is not None else found.to_ms
        if found.from_ms is None or found.to_ms is None:
            return
        if not found.providers:
            rows = self._ask(connection, _PROVIDERS, found.from_ms, found.to_ms)
            found.providers = tuple(sorted(one for (one,) in rows))
        spanned = Spans(self._spans)
        values = (found.from_ms, found.to_ms, list(terms.providers or found.providers))
        # As a cursor: their number has no bound, and each page for itself would sort them again.
        with connection.transaction(), connection.cursor(name="unaccounted") as cursor:
            cursor.itersize = _CHUNK
            for row in cursor.execute(self._statement(_REST), values):
                ours = Ours(*row)
                names = (ours.model, ours.returned)
                if not self._is_taken(ours.position) and not spanned.hold(
                    ours.recorded_ms, names, ours.currency
                ):
                    finding = Finding("missing-there", None, ours.event_id, ours.position)
                    yield self._count(finding)

    def _near(
        self, connection: Connection, charges: Sequence[Charge]
    ) -> Mapping[int, Sequence[Ours]]:
        """Return by line the outcomes at about the time of a charge, the nearest first."""
        found: dict[int, list[Ours]] = {one.line: [] for one in charges}
        values = {
            "n": arrays.bigints([one.line for one in charges]),
            "at": arrays.bigints([one.at_ms or 0 for one in charges]),
            "model": arrays.optional_texts([one.model for one in charges]),
            "within": self._terms.within_s * 1_000,
            "near": _NEAR,
        }
        for line, *row in self._rows(connection, _BY_TIME, values):
            found[line].append(Ours(*row))
        return found

    def _free(self, candidates: Iterable[Ours]) -> Ours | None:
        return next((one for one in candidates if not self._is_taken(one.position)), None)

    def _note(self, charge: Charge) -> None:
        """Add a charge to what the invoice says in all."""
        found = self.summary
        if charge.cost is not None:
            self._sum(found.there, charge.currency, charge.cost)
        if charge.span is not None:
            self._widen(*charge.span)
        elif charge.at_ms is not None:
            self._widen(*_days(charge.at_ms))

    def _terms_met(self, ours: Ours) -> None:
        found = self.summary
        if ours.cost is not None:
            self._sum(found.here, ours.currency, ours.cost)
        self._from([ours.provider])
        self._widen(*_days(ours.recorded_ms))

    def _from(self, providers: Sequence[str]) -> None:
        """Take these for those whose invoice it is, unless the terms say whose."""
        found = self.summary
        if self._terms.providers:
            found.providers = self._terms.providers
        elif not set(providers) <= set(found.providers):
            found.providers = tuple(sorted({*found.providers, *providers}))

    def _widen(self, begin: int, end: int) -> None:
        found = self.summary
        found.from_ms = begin if found.from_ms is None else min(found.from_ms, begin)
        found.to_ms = end if found.to_ms is None else max(found.to_ms, end)

    def _sum(self, sums: dict[str, Decimal], currency: str | None, cost: Decimal) -> None:
        name = currency or "unstated"
        sums[name] = added(sums.get(name, Decimal(0)), cost)

    def _count(self, finding: Finding) -> Finding:
        counts = self.summary.counts
        counts[finding.kind] = counts.get(finding.kind, 0) + 1
        return finding

    def _is_taken(self, position: int) -> bool:
        at, bit = divmod(position, 8)
        return at < len(self._taken) and bool(self._taken[at] >> bit & 1)

    def _take(self, position: int) -> None:
        at, bit = divmod(position, 8)
        if at >= len(self._taken):
            self._taken += bytes(at + 1 + at // 2 - len(self._taken))
        self._taken[at] |= 1 << bit

    def _ask(self, connection: Connection, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._rows(connection, query, values)

    def _rows(self, connection: Connection, query: str, values: Any) -> list[tuple[Any, ...]]:
        return connection.execute(self._statement(query), values).fetchall()

    def _statement(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(book=sql.Identifier(self._schema), columns=sql.SQL(_COLUMNS))


def _same_use(charge: Charge, ours: Ours) -> bool:
    """Say if the tokens of both are the same, where both say them."""
    pairs = (
        (charge.input_tokens, ours.input_tokens),
        (charge.output_tokens, ours.output_tokens),
        (charge.images, ours.images),
    )
    return all(None in pair or pair[0] == pair[1] for pair in pairs)


def _days(at_ms: int) -> tuple[int, int]:
    """Return the UTC day of a time: an invoice is for whole days, if it does not say otherwise."""
    begin = at_ms - at_ms % clock.DAY_MS
    return begin, begin + clock.DAY_MS
