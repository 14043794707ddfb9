# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole columns as PostgreSQL's binary arrays: how the writer sends the rows of a commit.

    int32 dimensions (1, or 0 when empty) ‖ int32 has-null ‖ int32 element type
    ‖ int32 count ‖ int32 lower bound (1) ‖ for each element: int32 length (-1: null) ‖ bytes

The driver builds such arrays an element at a time in Python, a third of what a commit then costs.
Here a column is one `join`. Source: PostgreSQL's array_send and array_recv (arrayfuncs.c).
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, repeat
from struct import Struct
from typing import Any, Final

from psycopg import adapters
from psycopg.adapt import Dumper
from psycopg.pq import Format

_EMPTY: Final = Struct("!iii")
_HEAD: Final = Struct("!iiiii")
_LENGTH: Final = Struct("!i")
_NULL: Final = _LENGTH.pack(-1)
_HASH: Final = _LENGTH.pack(32)
_UUID: Final = _LENGTH.pack(16)


class Array(bytes):
    """An encoded array; each subclass is one of PostgreSQL's array types."""

    oid = 0
    element = 0


class Bigints(Array):
    oid, element = 1016, 20


class Byteas(Array):
    oid, element = 1001, 17


class Texts(Array):
    oid, element = 1009, 25


class Uuids(Array):
    oid, element = 2951, 2950


class _AsIs(Dumper):
    """Sends the bytes that were built here."""

    format = Format.BINARY

    def dump(self, obj: Any) -> bytes:
        return bytes(obj)


for _array in (Bigints, Byteas, Texts, Uuids):
    adapters.register_dumper(_array, type(_array.__name__, (_AsIs,), {"oid": _array.oid}))


def bigints(values: Sequence[int]) -> Bigints:
    """Encode a bigint[]; struct.error for a number that does not fit."""
    count = len(values)
    return Bigints(_head(Bigints, count) + _pairs(count).pack(*chain(*zip(repeat(8), values))))


def optional_bigints(values: Sequence[int | None]) -> Bigints:
    """Encode a bigint[] with nulls."""
    if None not in values:
        return bigints([value for value in values if value is not None])
    cells = [_NULL if v is None else _cells([v.to_bytes(8, "big", signed=True)]) for v in values]
    return Bigints(_head(Bigints, len(values), nulls=True) + b"".join(cells))


def hashes(values: Sequence[bytes]) -> Byteas:
    """Encode a bytea[] of values of 32 bytes each; ValueError for another length."""
    if set(map(len, values)) - {32}:
        raise ValueError("a hash is 32 bytes long")
    return Byteas(_head(Byteas, len(values)) + b"".join(chain(*zip(repeat(_HASH), values))))


def byteas(values: Sequence[bytes]) -> Byteas:
    """Encode a bytea[]."""
    return Byteas(_head(Byteas, len(values)) + _cells(values))


def texts(values: Sequence[str]) -> Texts:
    """Encode a text[]."""
    return Texts(_head(Texts, len(values)) + _cells([value.encode() for value in values]))


def optional_texts(values: Sequence[str | None]) -> Texts:
    """Encode a text[] with nulls."""
    if None not in values:
        return texts([value for value in values if value is not None])
    cells = [_NULL if v is None else _cells([v.encode()]) for v in values]
    return Texts(_head(Texts, len(values), nulls=True) + b"".join(cells))


def uuids(values: Sequence[str]) -> Uuids:
    """Encode a uuid[] of UUIDs as text."""
    return packed_uuids([bytes.fromhex(value.replace("-", "")) for value in values])


def packed_uuids(values: Sequence[bytes]) -> Uuids:
    """Encode a uuid[] of UUIDs as 16 bytes each; ValueError for another length."""
    if set(map(len, values)) - {16}:
        raise ValueError("a UUID is 16 bytes long")
    return Uuids(_head(Uuids, len(values)) + b"".join(chain(*zip(repeat(_UUID), values))))


def _head(array: type[Array], count: int, *, nulls: bool = False) -> bytes:
    if not count:
        return _EMPTY.pack(0, 0, array.element)
    return _HEAD.pack(1, nulls, array.element, count, 1)


def _cells(values: Sequence[bytes]) -> bytes:
    return b"".join(chain(*zip(map(_LENGTH.pack, map(len, values)), values, strict=False)))


@lru_cache(maxsize=1024)
def _pairs(count: int) -> Struct:
    """The layout of `count` bigints, each after its length."""
    return Struct("!" + "iq" * count)
