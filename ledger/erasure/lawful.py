# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what is gone went lawfully: the vault says who was erased, the log has to say so, too.

Without this an administrator could mark somebody's values as erased and have the ledger itself
answer that they are gone for good.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol
from uuid import UUID

from ledger.database import Database
from ledger.erasure.cases import UNDER_WAY, Case, Cases
from ledger.errors import IntegrityViolation
from ledger.head import Chain
from ledger.migrate import BookRow
from ledger.vault.opening import Gone
from ledger.vault.sheet import RESTORED, UNRECOVERABLE


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
    """Return if two persons' word in the log stands behind each; else raise ErasureUnknown."""
    asked = list(gone)
    if not asked:
        return
    with book.database.duty(book.row.schema, "read") as connection:
        cases = Cases(book.row.schema, book.chain).all(connection)
    if not all(is_lawful(book.row, cases, one.ref, one.erasure_id) for one in asked):
        raise ErasureUnknown


def is_lawful(row: BookRow, cases: Mapping[str, Case], ref: UUID, erasure_id: str) -> bool:
    """Say if the log knows that a data subject was erased, or is about to be.

    Keys that a restore could not bring back are nobody's erasure, and the entry of an erasure
    after the backup may be lost; only a Book that was restored has such.
    """
    restored = erasure_id.startswith(RESTORED)
    case = cases.get(erasure_id.removeprefix(RESTORED))
    if erasure_id == UNRECOVERABLE or (restored and case is None):
        return bool(row.incarnations)
    if case is None or case.subject_ref != str(ref):
        return False
    return case.state == "complete" or case.state in UNDER_WAY
