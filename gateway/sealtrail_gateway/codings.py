# SPDX-License-Identifier: Apache-2.0
"""Codings of an answer that nobody asked for: taken out, so that what is recorded can be read.

A provider is asked for plain bytes (`accept-encoding: identity`). Some compress all the same; gzip
and deflate are taken out here, and an answer in any other coding is none.
"""

import zlib
from collections.abc import Iterator
from typing import Any, Final, Self

_PIECE: Final = 256 * 1024
_ZIPPED: Final = frozenset({"gzip", "x-gzip", "deflate"})

#: zlib tells the heads of gzip and of its own format apart.
_EITHER: Final = 32 + zlib.MAX_WBITS


class Undecodable(Exception):  # noqa: N818 - an answer, not an accident
    """The answer is in a coding that is not read here, or not in the one that it names."""


class TooMuch(Exception):  # noqa: N818 - an answer, not an accident
    """The answer is larger than it may be, once its coding is taken out."""


class Decoder:
    """Takes one coding out of one answer, a limited piece at a time."""

    def __init__(self) -> None:
        self._zip: Any = None

    @classmethod
    def of(cls, fields: list[tuple[bytes, bytes]]) -> Self | None:
        """Return what decodes an answer with this header; None for one that needs nothing.

        Raises Undecodable.
        """
        transfer = _named(fields, b"transfer-encoding")
        codings = [one for one in _named(fields, b"content-encoding") if one != "identity"]
        if transfer not in ([], ["chunked"]) or len(codings) > 1 or not set(codings) <= _ZIPPED:
            raise Undecodable
        return cls() if codings else None

    def parts(self, data: bytes) -> Iterator[bytes]:
        """Yield what a piece stands for. Raises Undecodable."""
        while data:
            if self._zip is None:
                self._zip = zlib.decompressobj(_EITHER)
            try:
                part = self._zip.decompress(data, _PIECE)
            except zlib.error as problem:
                raise Undecodable from problem
            data = self._zip.unconsumed_tail
            if self._zip.eof:  # Another one may follow (RFC 1952 section 2.2).
                data, self._zip = self._zip.unused_data, None
            if part:
                yield part

    def end(self) -> None:
        """Raises Undecodable for an answer that was cut."""
        if self._zip is not None:
            raise Undecodable

    def whole(self, data: bytes, at_most: int) -> bytes:
        """Return a whole answer. Raises Undecodable, TooMuch."""
        found, size = [], 0
        for part in self.parts(data):
            found.append(part)
            size += len(part)
            if size > at_most:
                raise TooMuch
        self.end()
        return b"".join(found)


def _named(fields: list[tuple[bytes, bytes]], name: bytes) -> list[str]:
    told = b",".join(value for key, value in fields if key.lower() == name).decode("latin-1")
    return [one.strip().lower() for one in told.split(",") if one.strip()]
