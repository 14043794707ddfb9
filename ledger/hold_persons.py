# SPDX-License-Identifier: GPL-3.0-or-later
"""From a person's id to what a hold names: every data subject that is this person.

Mostly one. Somebody whose erasure is pending or deferred is two as soon as new events come, and the
older one is in no index any more. Its id is opened under its own key, while that is still there.
"""

from typing import Protocol

from ledger.vault.vault import Vault


class PersonsBook(Protocol):
    """What is asked of a Book (anchoring.shelf.Book)."""

    @property
    def vault(self) -> Vault: ...


def subjects_of(book: PersonsBook, person_id: str) -> list[str]:
    """Return the random names of a person's data subjects, the one for events to come included.

    One that is unknown is made, so that a hold can come before the first event.
    """
    known = str(book.vault.subject_for(person_id))
    found = map(str, book.vault.leaving(person_id))
    return [known, *(ref for ref in found if ref != known)]
