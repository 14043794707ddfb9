# SPDX-License-Identifier: GPL-3.0-or-later
"""From content's digest to what a hold names, where an entry only commits to that digest.

A hold finds content by the digests that stand in clear. Of an upload of a person's the digest is
committed: its entry is found through the blind indexes and held by its id. The digest itself is
then left out of the hold, which stays for ever: it would confirm a guess after an erasure.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, Protocol

from psycopg import sql

from ledger.database import Database
from ledger.migrate import BookRow
from ledger.vault.owners import IDENTIFIERS
from ledger.vault.vault import Vault

JSON = dict[str, Any]

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_DIGESTS: Final = sorted(field for field in IDENTIFIERS if field.endswith("sha256"))

#: Entries of one digest that are looked for; a hold on so many is refused for its length.
_MOST: Final = 40_000

_CLEAR: Final = """
SELECT DISTINCT 'sha256:' || encode(digest, 'hex') FROM {book}.artifact
 WHERE digest = ANY(%s::bytea[])
"""


class ContentBook(Protocol):
    """What is asked of a Book (anchoring.shelf.Book)."""

    @property
    def row(self) -> BookRow: ...
    @property
    def database(self) -> Database: ...
    @property
    def vault(self) -> Vault: ...


def with_committed(book: ContentBook, scope: JSON) -> JSON:
    """Return a scope that holds the entries which commit to its artifacts' digests, by their ids.

    Those of pending erasures, too: a hold is in time until the night. A digest that also stands in
    clear stays in the scope; what the catalogue will refuse is left as it is.
    """
    digests, ids = _texts(scope.get("artifacts")), _texts(scope.get("event_ids", []))
    if digests is None or ids is None or not all(map(_DIGEST.fullmatch, digests)):
        return scope
    committed = {
        one: [
            event_id
            for _, event_id in book.vault.find_each(_DIGESTS, one, limit=_MOST, leaving=True)
        ]
        for one in digests
    }
    found = [event_id for events in committed.values() for event_id in events]
    if not found:
        return scope
    clear = _clear(book, digests)
    left = [one for one in digests if not committed[one] or one in clear]
    rest = {name: value for name, value in scope.items() if name != "artifacts"}
    held = {"event_ids": list(dict.fromkeys([*ids, *found]))}
    return {**rest, **held, **({"artifacts": left} if left else {})}


def _clear(book: ContentBook, digests: Sequence[str]) -> set[str]:
    """Return those digests that some entry has in clear, of content that was announced."""
    query = sql.SQL(_CLEAR).format(book=sql.Identifier(book.row.schema))
    values = [bytes.fromhex(one.removeprefix("sha256:")) for one in digests]
    with book.database.duty(book.row.schema, "read") as connection:
        return {one for (one,) in connection.execute(query, (values,))}


def _texts(value: object) -> list[str] | None:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    return None
