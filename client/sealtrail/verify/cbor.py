# SPDX-License-Identifier: Apache-2.0
"""The part of CBOR that COSE receipts are written in, printed in one way and read strictly.

    item = head ‖ content         head = major type (3 bits), argument (5 bits and up to 8 bytes)

Values are whole numbers of 64 bits and a sign, byte strings, text, arrays, maps whose keys are
numbers or text, one kind of tag, false, true and null. `encode` prints the deterministic form:
shortest heads, definite lengths, keys in the order of their bytes. `decode` takes the same but for
the order of keys, which a map of somebody else's may have in another one; whoever needs one
spelling prints what was read and compares. Floats, undefined, indefinite lengths, keys given twice
and bytes behind the end are refused. Nothing is taken on trust: a length is held against the bytes
that are there before anything is made of it.

Source: RFC 8949 §3, §4.2.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sealtrail.verify.errors import Unreadable

MAX_DEPTH: Final = 16
MAX_BYTES: Final = 64 * 1024

_UINT, _NINT, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_SIMPLES: Final[Mapping[int, bool | None]] = {20: False, 21: True, 22: None}
_LIMIT: Final = 2**64


class NotCbor(Unreadable):
    """The bytes are not CBOR as this format allows it."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A value with a number that says what it is, such as 18 for COSE_Sign1."""

    number: int
    value: Any


Value = None | bool | int | bytes | str | list[Any] | dict[int | str, Any] | Tag


def encode(value: Value) -> bytes:
    """The deterministic bytes of `value`. Raises NotCbor for what this format cannot say."""
    return _print(value, 1)


def decode(data: bytes) -> Value:
    """The value that `data`, at most 64 KiB of it, stands for. Raises NotCbor."""
    if len(data) > MAX_BYTES:
        raise NotCbor(f"The CBOR has more than {MAX_BYTES} bytes.")
    reader = _Reader(data)
    value = reader.item(1)
    if reader.left:
        raise NotCbor("Bytes follow behind the end of the CBOR.")
    return value


def _print(value: Any, depth: int) -> bytes:
    if depth > MAX_DEPTH:
        raise NotCbor(f"The CBOR is nested deeper than {MAX_DEPTH}.")
    match value:
        case None | bool():
            printed = _head(_SIMPLE, {False: 20, True: 21, None: 22}[value])
        case int():
            printed = _head(_UINT, value) if value >= 0 else _head(_NINT, -1 - value)
        case bytes():
            printed = _head(_BYTES, len(value)) + value
        case str():
            printed = _print_text(value)
        case list():
            items = b"".join(_print(one, depth + 1) for one in value)
            printed = _head(_ARRAY, len(value)) + items
        case dict():
            printed = _print_map(value, depth)
        case Tag():
            printed = _head(_TAG, value.number) + _print(value.value, depth + 1)
        case _:
            raise NotCbor("CBOR here holds no value of this kind.")
    return printed


def _print_text(text: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise NotCbor("A text of the CBOR holds half of a surrogate pair.") from None
    return _head(_TEXT, len(data)) + data


def _print_map(members: dict[Any, Any], depth: int) -> bytes:
    printed = {_key(_print(key, depth + 1)): _print(one, depth + 1) for key, one in members.items()}
    return _head(_MAP, len(members)) + b"".join(k + printed[k] for k in sorted(printed))


def _key(printed: bytes) -> bytes:
    if printed[0] >> 5 not in (_UINT, _NINT, _TEXT):
        raise NotCbor("A key of a map is neither a number nor a text.")
    return printed


def _head(major: int, argument: int) -> bytes:
    if not 0 <= argument < _LIMIT:
        raise NotCbor("A number of the CBOR has more than 64 bits.")
    if argument < 24:
        return bytes([major << 5 | argument])
    size = next(power for power in (0, 1, 2, 3) if argument < 1 << (8 << power))
    return bytes([major << 5 | 24 + size]) + argument.to_bytes(1 << size, "big")


class _Reader:
    """Reads one item after the other from some bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes are not read yet."""
        return len(self._data) - self._at

    def item(self, depth: int) -> Value:
        if depth > MAX_DEPTH:
            raise NotCbor(f"The CBOR is nested deeper than {MAX_DEPTH}.")
        first = self._at
        major, argument = self._head()
        value: Value
        if major == _UINT:
            value = argument
        elif major == _NINT:
            value = -1 - argument
        elif major == _BYTES:
            value = self._take(argument)
        elif major == _TEXT:
            value = self._text(argument)
        elif major == _ARRAY:
            self._room(argument)
            value = [self.item(depth + 1) for _ in range(argument)]
        elif major == _MAP:
            self._room(2 * argument)
            value = self._map(argument, depth)
        elif major == _TAG:
            value = Tag(argument, self.item(depth + 1))
        elif self._at == first + 1 and argument in _SIMPLES:
            value = _SIMPLES[argument]
        else:
            raise NotCbor("The CBOR holds a float or another value that has no place here.")
        return value

    def _map(self, count: int, depth: int) -> Value:
        members: dict[int | str, Any] = {}
        for _ in range(count):
            key = self.item(depth + 1)
            if type(key) is not int and type(key) is not str:
                raise NotCbor("A key of a map is neither a number nor a text.")
            if key in members:
                raise NotCbor("A map of the CBOR has one key twice.")
            members[key] = self.item(depth + 1)
        return members

    def _head(self) -> tuple[int, int]:
        """Major type and argument of the next item, in their shortest form."""
        first = self._take(1)[0]
        major, short = first >> 5, first & 31
        if short < 24:
            return major, short
        if short > 27:
            raise NotCbor("The CBOR has an indefinite length or a reserved one.")
        size = 1 << (short - 24)
        argument = int.from_bytes(self._take(size), "big")
        if argument < (24 if size == 1 else 1 << (4 * size)):
            raise NotCbor("A number or length of the CBOR is not in its shortest form.")
        return major, argument

    def _text(self, length: int) -> str:
        try:
            return self._take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise NotCbor("A text of the CBOR is not UTF-8.") from None

    def _take(self, length: int) -> bytes:
        self._room(length)
        taken = self._data[self._at : self._at + length]
        self._at += length
        return taken

    def _room(self, needed: int) -> None:
        """Return if as many bytes are left; each item takes one at least."""
        if needed > self.left:
            raise NotCbor("The CBOR ends before all that it announces.")
