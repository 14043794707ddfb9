# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what is gone went lawfully: the vault says who was erased, the log has to say so, too.

Without this an administrator could mark somebody's values as erased and have the ledger itself
answer that they are gone for good.
"""

from collections.abc import Iterable
from typing import Protocol

from ledger.database import Database
from ledger.erasure.cases import UNDER_WAY, Cases
from ledger.errors import IntegrityViolation
from ledger.head import Chain
from ledger.migrate import BookRow
from ledger.vault.opening import Gone
from ledger.vault.sheet import UNRECOVERABLE


class ErasureUnknown(IntegrityViolation):
    """Values are marked as erased, and no erasure in the log says so."""

    problem = "erasure-unknown"


class LoggedBook(Protocol):
    """What is asked of a Book (anchoring.shelf.Book)."""

    @property
    def row(self) -> BookRow: ...
    @property
    def database(self) -> Database: ...
    @property
    def chain(self) -> Chain: ...


def check_lawful(book: LoggedBook, gone: Iterable[Gone]) -> None:
    """Return if two persons' word in the log stands behind each; else raise ErasureUnknown.

    Keys that a restore could not bring back are nobody's erasure; only a Book that was restored
    has them.
    """
    asked = [one for one in gone if one.erasure_id != UNRECOVERABLE or not book.row.incarnations]
    if not asked:
        return
    with book.database.duty(book.row.schema, "read") as connection:
        cases = Cases(book.row.schema, book.chain).all(connection)
    for one in asked:
        case = cases.get(one.erasure_id)
        ours = case is not None and case.subject_ref == str(one.ref)
        if case is None or not ours or case.state not in {*UNDER_WAY, "complete"}:
            raise ErasureUnknown
