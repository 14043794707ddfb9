# SPDX-License-Identifier: GPL-3.0-or-later
"""The output maps of a month, and of a year, as one: so an answer over years needs a dozen proofs.

    day map ─┐
    day map ─┼─► OUTPUTS_ROLLED 2026-01 ─┐
    day map ─┘                           ├─► OUTPUTS_ROLLED 2026
                         … 2026-12 ──────┘

A roll-up is recorded once its last day has its final report, as the only event of the stream
`OutputPeriod/<period>`, and is anchored with the next night. Its range begins where the period's
first day begins and ends where its last day ends. Maps of one year have one salt, so they are
merged by their keys alone: nobody's outputs are looked at again, and what was erased since changes
nothing.
"""

import calendar
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, timedelta
from itertools import pairwise
from typing import Any, Final

from psycopg import sql

from anchoring.output_map import keep_map, told, tree_name
from anchoring.shelf import Book
from anchoring.sparse_store import SparseStore, StoredTree
from anchoring.sparse_tree import SparseBuilder
from ledger.errors import IntegrityViolation
from ledger.lifecycle import OutOfOrder
from ledger.reader import Stored
from ledger.request import ledger_made
from sealtrail.verify.sparse import HASH_BYTES

JSON = dict[str, Any]

TYPE: Final = "OUTPUTS_ROLLED"

_ROLLED: Final = "SELECT 1 FROM {book}.entry WHERE stream = %s AND version = 1"


def roll_due(book: Book, newest: str) -> list[str]:
    """Roll every month and year that ended by `newest`, the newest day with a final report.

    Returns their names. Looks back as far as the newest one that was rolled before. Safe to repeat.
    """
    done: list[str] = []
    for period in _ended_by(newest):
        if _is_rolled(book, period):
            break
        if not _roll(book, period):
            break  # Before the first day of the log.
        done.append(period)
    year = int(newest[:4]) - (newest[5:] != "12-31")
    while not _is_rolled(book, f"{year:04}") and _roll(book, f"{year:04}"):
        done.append(f"{year:04}")
        year -= 1
    return done


def rolled(book: Book, period: str) -> Stored | None:
    """Return the roll-up of a month or a year; None if there is none.

    Raises BodyCold, BodyExpired; the reports of its days, which never go, say the same.
    """
    return next(iter(book.reader.of_stream(f"OutputPeriod/{period}")), None)


def final_of(book: Book, day: str) -> Stored | None:
    """Return the final report of a day that names an output map; None if there is none."""
    for stored in book.reader.of_stream(f"AnchorDay/{day}"):
        body = stored.entry.value["body"]
        if stored.entry.value["type"] == "COMPLETENESS_REPORT" and body["kind"] == "final":
            return stored if "outputs" in body else None
    return None


def days_of(period: str) -> list[str]:
    """Return the days of a month, or the months of a year."""
    year, _, month = period.partition("-")
    if not month:
        return [f"{year}-{number:02}" for number in range(1, 13)]
    _, count = calendar.monthrange(int(year), int(month))
    return [f"{period}-{number:02}" for number in range(1, count + 1)]


def _ended_by(newest: str) -> Iterator[str]:
    """Yield the months that ended with this day or before, the newest first."""
    after = date.fromisoformat(newest) + timedelta(days=1)
    first = after.replace(day=1)
    while True:
        first = (first - timedelta(days=1)).replace(day=1)
        yield f"{first:%Y-%m}"


def _roll(book: Book, period: str) -> bool:
    """Record one roll-up; False if no part of the period has a map."""
    parts = [_part(book, one) for one in days_of(period)]
    ranges = [one for one in parts if one is not None]
    if not ranges:
        return False
    begin, end = ranges[0][0], ranges[-1][1]
    if any(one[1] != other[0] for one, other in pairwise(ranges)):
        raise IntegrityViolation(f"the output maps of {period} do not follow one another")
    tree = _merged(book, period[:4], ranges)
    body: JSON = {
        "period": period,
        "from_size": begin,
        "to_size": end,
        "outputs": told(book, tree),
    }
    with suppress(OutOfOrder):  # Another night was faster.
        book.record_own(ledger_made(TYPE, period, body))
    return True


def _part(book: Book, period: str) -> tuple[int, int] | None:
    """Return the range of a day's or a month's map, from the final reports, which never go."""
    days = [period] if len(period) > 7 else days_of(period)
    first = next((one for one in (final_of(book, day) for day in days) if one is not None), None)
    if first is None:
        return None
    last = final_of(book, days[-1])
    if last is None:  # Cannot be: a period is rolled when its last day was reported.
        raise IntegrityViolation(f"the final report of {days[-1]} is gone")
    return first.entry.value["body"]["from_size"], last.entry.value["body"]["to_size"]


def _is_rolled(book: Book, period: str) -> bool:
    query = sql.SQL(_ROLLED).format(book=sql.Identifier(book.row.schema))
    with book.database.duty(book.row.schema, "read") as connection:
        row = connection.execute(query, (f"OutputPeriod/{period}",)).fetchone()
    return row is not None


def _merged(book: Book, year: str, ranges: list[tuple[int, int]]) -> StoredTree:
    store = SparseStore(book)
    name = tree_name(ranges[0][0], ranges[-1][1])
    found = store.tree(name)
    if found is not None:
        return found
    salt, builder, missing = store.salt(f"outputs/{year}"), SparseBuilder(), 0
    for begin, end in ranges:
        tree = keep_map(book, year, begin, end)
        missing += tree.missing
        for record in store.records(tree.tree_id):
            builder.add(record[:HASH_BYTES], int.from_bytes(record[HASH_BYTES:]))
    return store.keep_alone(name, salt, builder, missing=missing)
