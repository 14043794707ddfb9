# SPDX-License-Identifier: Apache-2.0
"""Reads the encoding that certificates and time-stamp tokens are written in, in one way only.

    element = tag (one byte) ‖ length ‖ content

DER gives each value one spelling. Accepted here: tags of one byte, definite lengths in their
shortest form, integers and object identifiers without padding, TRUE as 0xFF, times in UTC with
seconds. Not enforced: the order inside a SET, which authorities often get wrong where nobody
signs it (`certificates`); who needs the order asks `in_order`.

Source: ITU-T X.690 (02/2021) §8, §10, §11; RFC 5280 §4.1.2.5 for times.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

from sealtrail.verify.errors import Unreadable

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
NULL: Final = 0x05
OBJECT_IDENTIFIER: Final = 0x06
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30
SET: Final = 0x31

_LENGTH_BYTES_MAX: Final = 4
_OID_MAX: Final = 64


class NotDer(Unreadable):
    """The bytes are not strict DER, or not of the expected structure."""


class TrailingBytes(NotDer):
    """Something follows where the structure must end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One tag, length and content. `raw` is all of it, byte for byte as it was read."""

    tag: int
    content: bytes
    raw: bytes


class Fields:
    """The elements inside some bytes, taken one after the other in the order of the format."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def more(self) -> bool:
        return self._at < len(self._data)

    def next(self, tag: int | None = None) -> Element:
        """Take one element, of `tag` if given. Raises NotDer."""
        if not self.more():
            raise NotDer("A structure ends before its last field.")
        element, self._at = _element(self._data, self._at)
        if tag is not None and element.tag != tag:
            raise NotDer(f"A field has the tag 0x{element.tag:02x} instead of 0x{tag:02x}.")
        return element

    def optional(self, tag: int) -> Element | None:
        """Take one element if the next one has this tag."""
        if self.more() and self._data[self._at] == tag:
            return self.next(tag)
        return None

    def end(self) -> None:
        """Return if nothing is left; else raise TrailingBytes."""
        if self.more():
            raise TrailingBytes("A structure goes on after its last field.")


def parse(data: bytes, tag: int | None = None) -> Element:
    """The one element that `data` is, of `tag` if given. Raises NotDer, TrailingBytes."""
    fields = Fields(data)
    element = fields.next(tag)
    fields.end()
    return element


def children(element: Element) -> list[Element]:
    """The elements inside a constructed one, in the order in which they stand."""
    fields = Fields(element.content)
    found = []
    while fields.more():
        found.append(fields.next())
    return found


def in_order(elements: list[Element]) -> bool:
    """Whether they stand as DER orders a SET OF: by their encodings, ascending (X.690 §11.6)."""
    return all(one.raw <= two.raw for one, two in pairwise(elements))


def boolean(element: Element) -> bool:
    _tagged(element, BOOLEAN)
    if element.content not in {b"\x00", b"\xff"}:
        raise NotDer("A truth value is neither 0x00 nor 0xff.")
    return element.content == b"\xff"


def integer(element: Element) -> int:
    """Any whole number; the caller says what range it takes."""
    _tagged(element, INTEGER)
    content = element.content
    if not content:
        raise NotDer("A whole number has no bytes.")
    if len(content) > 1 and content[0] in {0x00, 0xFF} and content[0] >> 7 == content[1] >> 7:
        raise NotDer("A whole number is padded.")
    return int.from_bytes(content, "big", signed=True)


def oid(element: Element) -> str:
    """An object identifier in its dotted form, such as `1.2.840.113549`."""
    _tagged(element, OBJECT_IDENTIFIER)
    content = element.content
    if not content or len(content) > _OID_MAX or content[-1] & 0x80:
        raise NotDer("An object identifier is empty, too long or cut off.")
    arcs: list[int] = []
    arc, fresh = 0, True
    for byte in content:
        if fresh and byte == 0x80:
            raise NotDer("An object identifier is padded.")
        arc, fresh = arc << 7 | byte & 0x7F, not byte & 0x80
        if fresh:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))


def octets(element: Element) -> bytes:
    _tagged(element, OCTET_STRING)
    return element.content


def bits(element: Element) -> bytes:
    """A BIT STRING that holds whole bytes, such as a signature or a key."""
    _tagged(element, BIT_STRING)
    if not element.content or element.content[0] != 0:
        raise NotDer("A string of bits does not hold whole bytes.")
    return element.content[1:]


def named_bits(element: Element) -> frozenset[int]:
    """The numbers of the bits that are set, counted from the first (X.690 §11.2.2)."""
    _tagged(element, BIT_STRING)
    if not element.content or element.content[0] > 7:
        raise NotDer("A string of bits does not say how many of its bits are unused.")
    unused, body = element.content[0], element.content[1:]
    if not body:
        if unused:
            raise NotDer("An empty string of bits has unused bits.")
        return frozenset()
    if not body[-1] >> unused & 1 or body[-1] & ((1 << unused) - 1):
        raise NotDer("A string of named bits does not end with the last bit that is set.")
    return frozenset(
        8 * index + bit for index, byte in enumerate(body) for bit in range(8) if byte << bit & 0x80
    )


def null(element: Element) -> None:
    _tagged(element, NULL)
    if element.content:
        raise NotDer("A NULL is not empty.")


def time(element: Element) -> datetime:
    """A UTCTime (1950 to 2049) or a GeneralizedTime, in UTC and with seconds.

    A fraction of a second is allowed in a GeneralizedTime and cut to microseconds, so that the
    result is never later than what was written.
    """
    try:
        text = element.content.decode("ascii")
    except UnicodeDecodeError:
        raise NotDer("A time is not ASCII.") from None
    fraction = ""
    if element.tag == UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    elif element.tag == GENERALIZED_TIME:
        if "." in text:
            text, _, fraction = text.removesuffix("Z").partition(".")
            if not (fraction.isdigit() and fraction[-1] != "0") or not element.content.endswith(
                b"Z"
            ):
                raise NotDer("A time has a fraction that DER would not write.")
            text += "Z"
    else:
        raise NotDer("A field that should hold a time does not.")
    digits = text.removesuffix("Z")
    if len(text) != len("YYYYMMDDhhmmssZ") or len(digits) != len(text) - 1 or not digits.isdigit():
        raise NotDer("A time is not written as year to second in UTC.")
    try:
        moment = datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise NotDer("A time is not in the calendar.") from None
    return moment.replace(microsecond=int(f"{fraction:0<6}"[:6]) if fraction else 0)


def encode(tag: int, content: bytes) -> bytes:
    """One element, for the few that a check has to build."""
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content


def _tagged(element: Element, tag: int) -> None:
    if element.tag != tag:
        raise NotDer(f"A field has the tag 0x{element.tag:02x} instead of 0x{tag:02x}.")


def _element(data: bytes, at: int) -> tuple[Element, int]:
    """The element at `at` and where the next one begins."""
    start = at
    if len(data) - at < 2:
        raise NotDer("An element is cut off.")
    tag, first = data[at], data[at + 1]
    if tag & 0x1F == 0x1F:
        raise NotDer("An element has a tag of more than one byte.")
    at += 2
    length = first
    if first >= 0x80:
        count = first & 0x7F
        if not 1 <= count <= _LENGTH_BYTES_MAX or len(data) - at < count:
            raise NotDer("An element's length is indefinite, too large or cut off.")
        length = int.from_bytes(data[at : at + count], "big")
        if length < 0x80 or data[at] == 0:
            raise NotDer("An element's length is not in its shortest form.")
        at += count
    if len(data) - at < length:
        raise NotDer("An element is cut off.")
    end = at + length
    return Element(tag=tag, content=data[at:end], raw=data[start:end]), end
