# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON read on the hot path: what sealtrail.verify.canonical reads, five to ten times faster.

Neither function says no. It gives a value that the strict parser would give beyond doubt, and None
for all that is wrong or only unusual: `canonical.decode` and `canonical.parse` judge these. What is
proved, and how, with msgspec for reading and orjson for printing:

    no floats, NaN, numbers over 64 bits     msgspec hands them to a hook, or refuses
    integers within 2^53 - 1                 OPT_STRICT_INTEGER
    UTF-8, lone surrogates, white space      one of the two refuses them
    depth                                    no more brackets than it may be deep, or counted

    fast_decode: spelling, order, names given twice
        printed again with sorted names, it is the same bytes; and no character is beyond 16 bits,
        so that the order of code points is that of UTF-16 units
    fast_parse: names given twice, -0, escapes
        there is no backslash, so every string has two quotes, and a name that was given twice shows
        in the number of quotes once the value is printed; -0 shows in the number of hyphens, of
        which no other whole number gains or loses one

Property tests hold them against the strict parser, over bytes made to deceive. msgspec's only home.
"""

import re
from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeVar

import msgspec
import orjson

from sealtrail.verify import canonical

JSON = dict[str, Any]
T = TypeVar("T")

_SORTED: Final = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER

#: The first byte of a character beyond 16 bits, in UTF-8 that has been checked.
_BEYOND_16_BITS: Final = re.compile(rb"[\xf0-\xf4]")


class _FloatMet(ValueError):  # noqa: N818 - news, not an accident
    pass


def _refuse(_: str) -> NoReturn:
    raise _FloatMet


_PACKER: Final = msgspec.msgpack.Encoder()
_UNPACKER: Final = msgspec.msgpack.Decoder()
_READER: Final = msgspec.json.Decoder(float_hook=_refuse)
_SPLITTER: Final = msgspec.json.Decoder(list[msgspec.Raw])

#: TypeError: orjson met an integer beyond 2^53 - 1, or half of a surrogate pair.
_UNUSUAL: Final = (msgspec.DecodeError, UnicodeDecodeError, _FloatMet, RecursionError, TypeError)


def fast_decode(data: bytes) -> JSON | None:
    """Return the object whose canonical bytes are `data`; None if `canonical.decode` must say."""
    if data.count(b"{") + data.count(b"[") > canonical.MAX_DEPTH:
        return None
    try:
        value = _READER.decode(data)
        if type(value) is not dict or orjson.dumps(value, option=_SORTED) != data:
            return None
    except _UNUSUAL:
        return None
    if not data.isascii() and _BEYOND_16_BITS.search(data):
        return None
    return value


def fast_parse(data: bytes) -> JSON | list[Any] | None:
    """Return the object or list that JSON in any layout stands for; None: ask `canonical.parse`."""
    if b"\\" in data:
        return None
    try:
        value = _READER.decode(data)
        printed = orjson.dumps(value, option=orjson.OPT_STRICT_INTEGER)
    except _UNUSUAL:
        return None
    if type(value) is not dict and type(value) is not list:
        return None
    if data.count(b"{") + data.count(b"[") > canonical.MAX_DEPTH and not _is_shallow(value):
        return None
    if printed == data:  # No white space, as most clients print: nothing can be hidden then.
        return value
    same = printed.count(b'"') == data.count(b'"') and printed.count(b"-") == data.count(b"-")
    return value if same else None


def split(data: bytes) -> list[bytes] | None:
    """Cut a JSON list into the texts of its items; None if that is not beyond doubt.

    Nothing is said of the items but that they, commas and two brackets are all of `data`.
    """
    try:
        items = [bytes(one) for one in _SPLITTER.decode(data)]
    except (msgspec.DecodeError, RecursionError):
        return None
    return items if any(b"[%b]" % comma.join(items) == data for comma in (b",", b", ")) else None


def _is_shallow(value: JSON | list[Any]) -> bool:
    """Whether nothing in `value` is deeper than it may be; level by level."""
    level: list[Any] = [value]
    for _ in range(canonical.MAX_DEPTH):
        level = [
            inner
            for container in level
            for inner in (container.values() if type(container) is dict else container)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return True
    return False


def decode(data: bytes) -> canonical.JSON:
    """Return the value whose canonical bytes are `data`; raises canonical.NotCanonical."""
    value = fast_decode(data)
    return canonical.decode(data) if value is None else value


def packed(value: Any) -> bytes:
    """Print a value for another process of this server (MessagePack). Never stored or hashed."""
    return _PACKER.encode(value)


def unpacked(data: bytes) -> Any:
    """Read what `packed` printed; a tuple comes back as a list."""
    return _UNPACKER.decode(data)


def unpacker(kind: type[T]) -> Callable[[bytes], T]:
    """Return what reads a `kind` that `packed` printed: named tuples come back as such."""
    return msgspec.msgpack.Decoder(kind).decode
