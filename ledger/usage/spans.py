# SPDX-License-Identifier: GPL-3.0-or-later
"""Spans of time that an invoice's lines are about, and what lies in them."""

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate, product
from typing import NamedTuple


class Span(NamedTuple):
    """What a charge over a span is about; None for all models, or all currencies."""

    begin: int
    end: int
    model: str | None
    currency: str | None = None


class Spans:
    """Spans of time and model, and which outcomes are in one of them."""

    def __init__(self, spans: Iterable[Span]) -> None:
        by_what: dict[tuple[str | None, str | None], list[tuple[int, int]]] = {}
        for one in spans:
            by_what.setdefault((one.model, one.currency), []).append((one.begin, one.end))
        #: Beginnings in order, and the latest end of those that have begun.
        self._of: dict[tuple[str | None, str | None], tuple[list[int], list[int]]] = {}
        for what, found in by_what.items():
            found.sort()
            ends = list(accumulate((end for _, end in found), max))
            self._of[what] = ([begin for begin, _ in found], ends)

    def hold(self, at_ms: int, models: Iterable[str | None], currency: str | None) -> bool:
        """Say if an outcome of that time, by the names of its model, is in one of them."""
        for what in product((None, *models), (None, currency)):
            begins, ends = self._of.get(what, ([], []))
            at = bisect_right(begins, at_ms)
            if at and ends[at - 1] > at_ms:
                return True
        return False
