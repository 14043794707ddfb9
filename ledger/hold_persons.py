# SPDX-License-Identifier: GPL-3.0-or-later
"""From a person's id to what a hold names: every data subject that is this person.

Mostly one. Somebody whose erasure is pending or deferred is two as soon as new events come, and the
older one is in no index any more. Its id is opened under its own key, while that is still there.
"""

from typing import Final, Protocol
from uuid import UUID

from psycopg import sql

from ledger.database import Database
from ledger.keys import KeyDestroyed, Keys
from ledger.migrate import BookRow
from ledger.vault.construction import open_identity
from ledger.vault.owners import person
from ledger.vault.ring import KeyRing
from ledger.vault.vault import Vault

_LEAVING: Final = """
SELECT ref, generation, wrapped_key, identity FROM {book}.subject
 WHERE state IN ('erasing', 'held') AND wrapped_key IS NOT NULL ORDER BY ref
"""


class PersonsBook(Protocol):
    """What is asked of a Book (anchoring.shelf.Book)."""

    @property
    def row(self) -> BookRow: ...
    @property
    def database(self) -> Database: ...
    @property
    def keys(self) -> Keys: ...
    @property
    def vault(self) -> Vault: ...


def subjects_of(book: PersonsBook, person_id: str) -> list[str]:
    """Return the random names of a person's data subjects, the one for events to come included.

    One that is unknown is made, so that a hold can come before the first event.
    """
    known = str(book.vault.subject_for(person_id))
    wanted = person(person_id).id
    found = [str(ref) for ref, id_ in _leaving(book) if id_ == wanted]
    return [known, *(ref for ref in found if ref != known)]


def _leaving(book: PersonsBook) -> list[tuple[UUID, str]]:
    """Return everybody whose erasure is under way, with their ids."""
    row = book.row
    ring = KeyRing(book.keys, schema=row.schema, origin=row.first_origin)
    with book.database.duty(row.schema, "read") as connection:
        query = sql.SQL(_LEAVING).format(book=sql.Identifier(row.schema))
        rows = connection.execute(query).fetchall()
    found = []
    for ref, generation, wrapped, identity in rows:
        try:
            cipher = ring.unwrap(ref.bytes, generation, bytes(wrapped))
        except KeyDestroyed:
            continue  # The night was faster: there is nothing left to hold.
        found.append((ref, open_identity(cipher, bytes(identity), ref=ref.bytes)))
    return found
