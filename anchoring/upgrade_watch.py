# SPDX-License-Identifier: GPL-3.0-or-later
"""Raises an alert when something answers that nobody has registered: once for each such answer."""

from typing import Final

from anchoring.alerts import raise_alert
from anchoring.shelf import Book
from ledger.readmodel.follower import catch_up
from ledger.upgrades import ALARMING, Upgrade, upgrades

CODE: Final = "silent-upgrade"

#: Alerts of one look: whoever makes up a name for each answer fills no log in a minute.
_AT_ONCE: Final = 20


class UpgradeWatch:
    """Looks at the answers of one Book, again and again."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self._told: set[str] = set()  # What this process has told; the log knows the rest.

    def run(self) -> int:
        """Raise what is new and alarming; returns how many alerts that were."""
        book = self.book
        catch_up(book.database, book.row.schema, ["lineage", "search"])
        found = [
            one
            for one in upgrades(book.database, book.row.schema)
            if one.standing in ALARMING and one.answered.key not in self._told
        ]
        raised = 0
        for one in reversed(found):  # The first to answer is told first.
            if raised >= _AT_ONCE:
                break
            raised += raise_alert(book, CODE, about(one), _facts(one))
            self._told.add(one.answered.key)
        return raised


def about(one: Upgrade) -> str:
    """Return what an alert is about: the same answer always has the same name."""
    answered = one.answered
    named = " ".join(part for part in (answered.returned, answered.fingerprint) if part)
    return f"{answered.provider}/{answered.model} {answered.version}: {named} {answered.key[:16]}"


def _facts(one: Upgrade) -> dict[str, str | int]:
    answered = one.answered
    return {
        "standing": one.standing,
        "provider": answered.provider or "-",
        "model": answered.model or "-",
        "version": answered.version or "-",
        "model_returned": answered.returned or "-",
        "system_fingerprint": answered.fingerprint or "-",
        "first_position": answered.first_position,
        "first_at": one.json()["first"]["at"],
    }
