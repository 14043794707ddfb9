# SPDX-License-Identifier: Apache-2.0
"""One value, one byte string: the only spelling of JSON that is ever hashed.

Canonical is RFC 8785 without floating-point numbers: no white space, members in the order of
their names' UTF-16 code units, the shortest escapes, UTF-8. Values are null, true, false, whole
numbers within ±(2^53 - 1), strings without lone surrogates, lists and objects with distinct
names, nested at most 64 deep (the outermost container is depth 1). Decimals travel as strings.

`parse` takes these values in any layout (what a person or program sends); `decode` takes the
canonical bytes only (what was stored and hashed): it parses, prints and compares.
Source: RFC 8785, RFC 7493 (I-JSON), RFC 8259.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from sealtrail.verify.errors import Unreadable

MAX_DEPTH = 64
MAX_INTEGER = 2**53 - 1

JSON = None | bool | int | str | list[Any] | dict[str, Any]


class NotCanonical(Unreadable):
    """These bytes are not JSON as this format allows it."""

    def __init__(self, message: str, *, rule: str) -> None:
        super().__init__(message)
        self.rule = rule  #: Stable name of the broken rule, such as `duplicate-key`.


def encode(value: JSON) -> bytes:
    """The canonical bytes of `value`; O(n).

    Raises NotCanonical for a float, a name that is no string, a number out of range, a lone
    surrogate, nesting deeper than 64 and any other type (a tuple and an enum included).
    """
    _require_value(value)
    return _print(value)


def parse(text: bytes | str) -> JSON:
    """The value that strict JSON in any layout stands for; O(n).

    Raises NotCanonical for anything that `encode` could not have been given, and for bytes that
    are not UTF-8, a byte order mark, a name given twice, NaN, an exponent and the number -0.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError:
            raise NotCanonical("The text is not UTF-8.", rule="utf-8") from None
    else:
        _utf8(text)
    if text.startswith("\ufeff"):
        raise NotCanonical("The text begins with a byte order mark.", rule="byte-order-mark")
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _require_shallow(text)
    try:
        value: JSON = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        # The exception holds the whole text, which may hold personal data: only `msg` is told.
        message = f"The text is not JSON: {error.msg.lower()} at character {error.pos}."
        raise NotCanonical(message, rule="not-json") from None
    if _SURROGATE_ESCAPE.search(text):
        # Half of an escaped pair shows when the value is printed again.
        _print(value)
    return value


def decode(data: bytes) -> JSON:
    """The value whose canonical bytes are `data`, exactly; raises NotCanonical otherwise."""
    try:
        # Printing again shows a name given twice, too: so the parser need not look for one.
        if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
            value: JSON = _DECODER_OF_OURS.decode(data.decode("utf-8"))
            if _print(value) == data:
                return value
    except (ValueError, NotCanonical):
        pass  # The slower parser below says which rule is broken.
    value = parse(data)
    if _print(value) != data:
        raise NotCanonical("The JSON text is not in its canonical spelling.", rule="spelling")
    return value


_PRINTER = json.JSONEncoder(
    ensure_ascii=False,
    check_circular=False,  # The depth was checked before, and that is finite.
    allow_nan=False,
    sort_keys=True,
    separators=(",", ":"),
)
_PRINTER_AS_IS = json.JSONEncoder(
    ensure_ascii=False,
    check_circular=False,
    allow_nan=False,
    sort_keys=False,
    separators=(",", ":"),
)

#: Characters of -(2^53 - 1).
_INTEGER_TEXT_MAX = len(str(-MAX_INTEGER))

#: Only beyond this plane does the order of code points differ from that of UTF-16 code units.
_BEYOND_16_BITS = re.compile("[\U00010000-\U0010ffff]")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def _print(value: JSON) -> bytes:
    """Print a value that is known to be one of ours."""
    text = _PRINTER.encode(value)
    if not text.isascii() and _BEYOND_16_BITS.search(text):
        text = _PRINTER_AS_IS.encode(_ordered(value))
    return _utf8(text)


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise NotCanonical("A string holds half of a surrogate pair.", rule="surrogate") from None


def _ordered(value: JSON) -> JSON:
    """The same value with each object's members in UTF-16 order. At most 64 calls deep."""
    if isinstance(value, dict):
        names = sorted(value, key=_utf16)
        return {name: _ordered(value[name]) for name in names}
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    return value


def _utf16(name: str) -> bytes:
    # A lone surrogate passes here and is refused when the text is printed as UTF-8.
    return name.encode("utf-16-be", "surrogatepass")


def _require_value(value: JSON) -> None:
    """Raise unless `value` is built of our types only. Level by level, so never too deep."""
    level: list[dict[Any, Any] | list[Any]] = []
    _require_items((value,), level)
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise _too_deep()
        below: list[dict[Any, Any] | list[Any]] = []
        for container in level:
            if type(container) is dict:
                for name in container:
                    if type(name) is not str:
                        raise NotCanonical("A member's name is not a string.", rule="name")
                _require_items(container.values(), below)
            else:
                _require_items(container, below)
        level = below


def _require_items(items: Iterable[Any], below: list[dict[Any, Any] | list[Any]]) -> None:
    # `type` and not `isinstance`: True is no number, and an enum has a printed form of its own.
    for item in items:
        kind = type(item)
        if kind is str or item is None or kind is bool:
            continue
        if kind is dict or kind is list:
            below.append(item)
        elif kind is int:
            if not -MAX_INTEGER <= item <= MAX_INTEGER:
                raise _out_of_range()
        elif kind is float:
            raise _no_floats()
        else:
            raise NotCanonical("A value is of a type that JSON does not have.", rule="type")


def _require_shallow(text: str) -> None:
    """Raise if brackets outside strings nest too deep, before a parser can run out of stack."""
    # Without escaped backslashes and then escaped quotes, each quote left opens or closes a string.
    pieces = text.replace("\\\\", "").replace('\\"', "").split('"')
    depth = 0
    for piece in pieces[::2]:
        for character in piece:
            if character in "[{":
                depth += 1
                if depth > MAX_DEPTH:
                    raise _too_deep()
            elif character in "]}":
                depth -= 1


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(members)
    if len(value) != len(members):
        raise NotCanonical("An object names one member twice.", rule="duplicate-key")
    return value


def _integer(text: str) -> int:
    # The length is looked at first: int() of a long text is slow, or refuses with its own error.
    if len(text) > _INTEGER_TEXT_MAX:
        raise _out_of_range()
    number = int(text)
    if not -MAX_INTEGER <= number <= MAX_INTEGER:
        raise _out_of_range()
    if str(number) != text:
        raise NotCanonical("A whole number is not spelled as usual.", rule="integer-spelling")
    return number


def _float(_text: str) -> NoReturn:
    raise _no_floats()


def _constant(_text: str) -> NoReturn:
    raise NotCanonical("NaN and Infinity are not JSON.", rule="not-json")


def _no_floats() -> NotCanonical:
    return NotCanonical("Numbers are whole; a decimal is sent as a string.", rule="float")


def _out_of_range() -> NotCanonical:
    message = "A number is outside ±(2^53 - 1); send larger ones as strings."
    return NotCanonical(message, rule="integer-range")


def _too_deep() -> NotCanonical:
    return NotCanonical(f"The value is nested deeper than {MAX_DEPTH}.", rule="depth")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_float=_float,
    parse_int=_integer,
    parse_constant=_constant,
    strict=True,
)
_DECODER_OF_OURS = json.JSONDecoder(
    parse_float=_float,
    parse_int=_integer,
    parse_constant=_constant,
    strict=True,
)
