# SPDX-License-Identifier: GPL-3.0-or-later
"""The generations of the vault's two keys: which are in use, and those that must be gone.

    subjects/<origin>/<g>   wrap   wraps subject keys
    index/<origin>/<g>      hmac   makes blind indexes

Both go from one generation to the next together. The row `vault_state` says where they stand:
generations from `oldest` to `generation` may be in use, all before are destroyed.
"""

from contextlib import suppress
from typing import Final, NamedTuple

from psycopg import sql

from ledger.database import Connection
from ledger.errors import IntegrityViolation
from ledger.keys import KeyDestroyed, KeyExists, KeyMissing, Keys, Kind, was_made
from ledger.vault.construction import (
    Cipher,
    index_key,
    subject_aad,
    subject_cipher,
    wrapping_key,
)

_STATE: Final = "SELECT serial, generation, oldest FROM {book}.vault_state WHERE id = 1"
_USED: Final = "SELECT EXISTS (SELECT 1 FROM {book}.subject)"

#: A generation's keys are destroyed in the night in which the next began; whoever finds a destroyed
#: one of so many generations ago has looked since.
_LOOK_BACK: Final = 16


_MACS: Final = 16_384


class State(NamedTuple):
    """Where the vault stands."""

    serial: int  #: Raised by whatever a writer has to know.
    generation: int
    oldest: int  #: Generations from this one on may still be in use.

    @property
    def in_use(self) -> range:
        return range(self.oldest, self.generation + 1)


def keys_of(origin: str, generation: int) -> tuple[tuple[str, Kind], ...]:
    """Return name and kind of the two keys of a generation."""
    return ((wrapping_key(origin, generation), "wrap"), (index_key(origin, generation), "hmac"))


class KeyRing:
    """The vault's keys of one Book, by generation; every method may raise what `Keys` raises."""

    def __init__(self, keys: Keys, *, schema: str, origin: str) -> None:
        self.schema = schema
        self._keys, self._origin = keys, origin
        book = sql.Identifier(schema)
        self._state = sql.SQL(_STATE).format(book=book)
        self._used = sql.SQL(_USED).format(book=book)
        self._macs: dict[tuple[int, bytes], bytes] = {}
        self._forgotten = 1  # What this process may hold of older generations is destroyed.

    def read(self, connection: Connection) -> State:
        """Return where the vault stands now."""
        row = connection.execute(self._state).fetchone()
        if row is None:
            raise IntegrityViolation("the row of the vault's state is gone")
        return State(*row)

    def mac(self, generation: int, message: bytes) -> bytes:
        """Return a blind index: 32 bytes; the last ones are remembered, for a device may be far."""
        known = self._macs.get((generation, message))
        if known is None:
            known = self._keys.mac(index_key(self._origin, generation), message)
            if len(self._macs) >= _MACS:
                self._macs.clear()
            self._macs[generation, message] = known
        return known

    def wrap(self, ref: bytes, generation: int, secret: bytes) -> bytes:
        """Encrypt the key of the subject `ref` under a generation's key."""
        return self._keys.wrap(wrapping_key(self._origin, generation), secret, subject_aad(ref))

    def secret(self, ref: bytes, generation: int, wrapped: bytes) -> bytes:
        """Return a subject's key to be wrapped anew: 32 bytes, and as many for each earlier one."""
        return self._keys.unwrap(wrapping_key(self._origin, generation), wrapped, subject_aad(ref))

    def unwrap(self, ref: bytes, generation: int, wrapped: bytes) -> Cipher:
        """Return a subject's key, ready for use."""
        return subject_cipher(self.secret(ref, generation, wrapped))

    def make(self, generation: int) -> None:
        """Make both keys of a generation; safe to repeat, refused once they are destroyed."""
        for name, kind in self._kinds(generation):
            if not self._keys.has(name):
                with suppress(KeyExists):  # Another process was as quick; destroyed shows in use.
                    self._keys.make(name, kind)

    def make_first(self, connection: Connection, state: State) -> None:
        """Make the keys of a Book that has never sealed anything; else see that they are there."""
        lacking = [name for name, _ in self._kinds(state.generation) if not self._keys.has(name)]
        if not lacking:
            return
        row = connection.execute(self._used).fetchone()
        if state.generation > 1 or row != (False,) or was_made(self._keys, lacking[0]):
            raise KeyMissing("the keystore lacks the vault's keys: another keystore?", key=lacking)
        self.make(state.generation)

    def destroy_before(self, oldest: int) -> tuple[str, ...]:
        """Destroy the keys of all generations before `oldest`, durable on return.

        Returns the names of those that were there; safe to repeat and to interrupt.
        """
        gone = []
        for generation in range(max(1, oldest - _LOOK_BACK), oldest):
            for name, _ in self._kinds(generation):
                if self._keys.has(name):
                    gone.append(name)
                with suppress(KeyMissing, KeyDestroyed):
                    self._keys.destroy(name)
        return tuple(gone)

    def forget_before(self, oldest: int) -> None:
        """Like `destroy_before`, for what another process destroyed and this one may remember."""
        if oldest > self._forgotten:
            self._macs.clear()
            self.destroy_before(oldest)
            self._forgotten = oldest

    def names(self, generation: int) -> tuple[str, ...]:
        """Return the names of both keys of a generation."""
        return tuple(name for name, _ in self._kinds(generation))

    def _kinds(self, generation: int) -> tuple[tuple[str, Kind], ...]:
        return keys_of(self._origin, generation)
