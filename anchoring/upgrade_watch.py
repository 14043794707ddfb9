# SPDX-License-Identifier: GPL-3.0-or-later
"""Raises an alert when something answers that nobody has registered: once for each such answer.

Whoever makes up a name for each answer fills no log in a minute: a look raises so many at most, the
first to answer first, and of one code no more than anchoring/alerts allows are open.
"""

from typing import Final

from psycopg import sql

from anchoring.alerts import raise_alert
from anchoring.shelf import Book
from ledger.readmodel.follower import catch_up
from ledger.upgrades import ALARMING, Upgrade, upgrades

CODE: Final = "silent-upgrade"
_AT_ONCE: Final = 20
_PART: Final = 40

_TOLD: Final = "SELECT about FROM {}.alert WHERE code = %s"


def watch_answers(book: Book) -> int:
    """Raise what is new and alarming; returns how many alerts that were. Safe to repeat."""
    catch_up(book.database, book.row.schema, ["lineage", "search"])
    found = [one for one in upgrades(book.database, book.row.schema) if one.standing in ALARMING]
    if not found:
        return 0
    query = sql.SQL(_TOLD).format(sql.Identifier(book.row.schema))
    with book.database.duty(book.row.schema, "read") as connection:
        told = {name for (name,) in connection.execute(query, (CODE,))}
    new = [one for one in reversed(found) if about(one) not in told]
    return sum(raise_alert(book, CODE, about(one), _facts(one)) for one in new[:_AT_ONCE])


def about(one: Upgrade) -> str:
    """Return what an alert is about: short, and for each answer always the same."""
    answered = one.answered
    parts = [answered.provider, answered.model, answered.version]
    asked = " ".join(part[:_PART] for part in parts if part)
    named = " ".join(part[:_PART] for part in (answered.returned, answered.fingerprint) if part)
    return f"{asked or 'a call'}: {named} #{answered.key[:16]}"


def _facts(one: Upgrade) -> dict[str, str | int]:
    answered = one.answered
    facts: dict[str, str | int] = {
        "standing": one.standing,
        "provider": answered.provider,
        "model": answered.model,
        "version": answered.version,
        "model_returned": answered.returned,
        "system_fingerprint": answered.fingerprint,
        "first_position": answered.first_position,
        "first_at": one.json()["first"]["at"],
    }
    return {name: value for name, value in facts.items() if value != ""}
