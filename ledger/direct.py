# SPDX-License-Identifier: GPL-3.0-or-later
"""A statement straight through libpq, for the one that every commit sends.

A cursor of psycopg adapts each value, waits in Python and makes rows of what comes back: more work
than the entry it writes. Here values are binary already, the wait is libpq's own, without Python's
lock, and what comes back is one number. Errors are psycopg's, as from a cursor.
"""

from collections.abc import Sequence
from hashlib import sha256
from struct import Struct
from typing import Final
from weakref import WeakKeyDictionary

from psycopg import errors
from psycopg.pq import ConnStatus, ExecStatus, Format
from psycopg.pq.abc import PGresult

from ledger.database import Connection

_BIGINT: Final = Struct("!q")

#: The statements that a connection has prepared.
_PREPARED: Final[WeakKeyDictionary[Connection, set[bytes]]] = WeakKeyDictionary()


class Statement:
    """A statement with places `%b` for binary values, which returns one bigint."""

    def __init__(self, text: str) -> None:
        pieces = text.split("%b")
        numbered = [f"{piece}${at}" for at, piece in enumerate(pieces[:-1], start=1)]
        self._text = ("".join(numbered) + pieces[-1]).encode()
        self._name = f"sealtrail_{sha256(self._text).hexdigest()[:16]}".encode()
        self._formats = [Format.BINARY] * len(numbered)

    def execute(self, connection: Connection, values: Sequence[bytes]) -> int | None:
        """Run it and return the number, or None if there is no row; raises psycopg.Error."""
        line = connection.pgconn
        known = _PREPARED.setdefault(connection, set())
        if self._name not in known:
            _checked(connection, line.prepare(self._name, self._text))
            known.add(self._name)
        result = line.exec_prepared(self._name, values, self._formats, Format.BINARY)
        _checked(connection, result)
        value = result.get_value(0, 0) if result.ntuples else None
        return None if value is None else int(_BIGINT.unpack(value)[0])


def bigint(value: int) -> bytes:
    """Encode one bigint; struct.error for a number that does not fit."""
    return _BIGINT.pack(value)


def _checked(connection: Connection, result: PGresult) -> None:
    """Return if the statement succeeded, else raise what a cursor would."""
    if result.status in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        return
    if connection.pgconn.status == ConnStatus.BAD:
        raise errors.OperationalError("the connection to the database is lost")
    raise errors.error_from_result(result)
