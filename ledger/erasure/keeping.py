# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds as an erasure has to see them: on a subject, and on the keys that its end would destroy.

A subject goes by the destruction of a whole generation of keys. So a hold that names one of those
keys keeps everybody who is to be erased with them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from ledger.database import Connection
from ledger.holds import Frozen, Holds
from ledger.vault.construction import index_key, wrapping_key

_IN_USE: Final = "SELECT oldest, generation FROM {book}.vault_state WHERE id = 1"


@dataclass(frozen=True, slots=True)
class Kept:
    """Answers that stay true until the block ends (ledger.vault.generations.HeldNow)."""

    held: Frozen
    on_keys: tuple[str, ...]  #: Holds that name a key of a generation in use.

    @property
    def connection(self) -> Connection:
        return self.held.connection

    def on_subject(self, ref: object, /) -> tuple[str, ...]:
        """Return the holds because of which a subject cannot be erased now."""
        return tuple(dict.fromkeys((*self.held.on_subject(ref), *self.on_keys)))

    def on_key(self, name: str, /) -> tuple[str, ...]:
        """Return the holds that name a key."""
        return self.held.on_key(name)


class Keeping:
    """The holds of one Book, for erasures. origin: `BookRow.first_origin`."""

    def __init__(self, holds: Holds, *, schema: str, origin: str) -> None:
        self._holds, self._origin = holds, origin
        self._in_use = sql.SQL(_IN_USE).format(book=sql.Identifier(schema))

    @contextmanager
    def frozen(self) -> Iterator[Kept]:
        with self._holds.frozen() as held:
            oldest, newest = held.connection.execute(self._in_use).fetchall()[0]
            names = [
                make(self._origin, generation)
                for generation in range(oldest, newest + 1)
                for make in (wrapping_key, index_key)
            ]
            on_keys = [hold_id for name in names for hold_id in held.on_key(name)]
            yield Kept(held, tuple(on_keys))
