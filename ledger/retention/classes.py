# SPDX-License-Identifier: GPL-3.0-or-later
"""Retention classes: what a law or a standard asks for at least, in calendar months.

A policy may keep longer than a class of this table and never shorter; classes of its own get the
floor that it gives them. The bases are those of the texts as published; this is no legal advice.
"""

import calendar
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

from ledger import clock

#: What expires by a clock of its own. The leaf hash never does.
What: TypeAlias = Literal["entry", "disclosures", "artifacts"]
WHAT: Final[tuple[What, ...]] = ("entry", "disclosures", "artifacts")

#: A hundred years: as long as S3 Object Lock takes.
MONTHS_MAX: Final = 1_200


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionClass:
    """One class: its floor for the entry, and on what that rests."""

    name: str
    months: int  #: The entry is kept at least so long.
    basis: str


CLASSES: Final = {
    one.name: one
    for one in (
        RetentionClass(
            name="aiact-6m", months=6, basis="AI Act 19(1), 26(6): logs of high-risk systems"
        ),
        RetentionClass(name="aiact-doc-10y", months=120, basis="AI Act 18: documents"),
        RetentionClass(name="hipaa-6y", months=72, basis="45 CFR 164.316(b)(2)(i): documentation"),
        RetentionClass(name="sox-7y", months=84, basis="17 CFR 210.2-06: audit records"),
        RetentionClass(name="sec-6y", months=72, basis="17 CFR 240.17a-4: broker-dealers' records"),
        RetentionClass(name="finra-6y", months=72, basis="FINRA 4511: books and records"),
        RetentionClass(name="cap-bronze", months=6, basis="CAP v1.0, level Bronze"),
        RetentionClass(name="cap-silver", months=24, basis="CAP v1.0, level Silver"),
        RetentionClass(name="cap-gold", months=60, basis="CAP v1.0, level Gold"),
        RetentionClass(
            name="cn-label-6m", months=6, basis="PRC labelling measures: unlabelled output"
        ),
        RetentionClass(name="pld-10y", months=120, basis="Directive 2024/2853: long-stop"),
        RetentionClass(name="gdpr-min", months=0, basis="GDPR 5(1)(e): no longer than necessary"),
    )
}


def add_months(ms: int, months: int) -> int:
    """Return a time so many calendar months later; the 31st becomes the last day of its month."""
    moment: datetime = clock.from_ms(ms)
    count = moment.year * 12 + moment.month - 1 + months
    year, month = count // 12, count % 12 + 1
    day = min(moment.day, calendar.monthrange(year, month)[1])
    later = moment.replace(year=year, month=month, day=day)
    return int(later.timestamp()) * 1000 + ms % 1000
