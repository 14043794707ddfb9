# SPDX-License-Identifier: GPL-3.0-or-later
"""What JSON text may stand where, read off the event classes: for `ledger.mould`.

A plan of a model has its members, and for each value a pattern over bytes. What matches the
pattern is a value that the model takes, in the spelling of canonical JSON; not every such value
matches. So a pattern says yes, or nothing, like `ledger.events.shapes`; tests hold it against the
rules. Of UTF-8 it knows nothing, and an escape has to be `hidden` from it: whoever matches looks at
that. What no pattern can say, such as any JSON, has no plan.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter

from ledger.events.values import RULES, U64, Day, Time

Schema = Mapping[str, Any]

#: The shortest escapes of JSON, which canonical JSON has, too; and for each a byte that UTF-8 never
#: has. A pattern that knows of pairs would have to try and remember: of a long text, megabytes.
_ESCAPES: Final = tuple(
    zip(
        (b"\\\\", b'\\"', *(b"\\" + one for one in (b"b", b"f", b"n", b"r", b"t"))),
        (bytes([one]) for one in range(0xF8, 0xFF)),
        strict=True,
    )
)

#: A byte that stands in a JSON string as it is.
_PLAIN: Final = r'[^"\\\x00-\x1f\x7f\xf8-\xff]'


def _up_to(most: int) -> str:
    """Return what matches the whole numbers from 1 to `most`: the shorter ones, then by digit."""
    digits = str(most)
    found = [f"[1-9][0-9]{{0,{len(digits) - 2}}}+"] if len(digits) > 1 else []
    for at, digit in enumerate(digits):
        least = "0" if at else "1"
        if digit > least:
            below = f"{digits[:at]}[{least}-{int(digit) - 1}]"
            found.append(below + "[0-9]" * (len(digits) - at - 1))
    return "|".join([*found, digits])


#: Rules whose own pattern has no quotation mark, no backslash and nothing beyond ASCII.
_AS_DECLARED: Final = frozenset({
    "digest", "mac", "uuid7", "identifier", "code", "decimal", "media-type", "language", "currency",
    "fingerprint", "trace-id", "span-id",
})  # fmt: skip

#: Any millisecond of the years 1970 to 2999 but those of a leap day.
_DAY: Final = (
    "(?:19[7-9][0-9]|2[0-9]{3})-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
TIME: Final = rf"{_DAY}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{{3}}Z"
_NARROWED: Final = {
    "line": rf"{_PLAIN}{{1,256}}+",
    "text": rf"{_PLAIN}{{1,2000}}+",
    "token": r"[!#-\[\]-~]{1,256}+",
    "url": r"[a-z][a-z0-9+.-]{0,31}+:[!#-\[\]-~]{1,1000}+",
    "uint64": f"(?:0|{_up_to(2**64 - 1)})",
    "day": _DAY,
    "time": TIME,
}


@dataclass(frozen=True, slots=True)
class Slot:
    """A value that differs from request to request."""

    pattern: str  #: Over bytes; of what stands between the quotation marks, if there are any.
    quoted: bool = True


@dataclass(frozen=True, slots=True)
class Fixed:
    """A value that belongs to the shape: true or false."""


@dataclass(frozen=True, slots=True)
class Group:
    """An object with members of our own naming."""

    members: Mapping[str, "Plan"]


@dataclass(frozen=True, slots=True)
class Series:
    """A list."""

    item: "Plan"


@dataclass(frozen=True, slots=True)
class Labelled:
    """An object with names of the client's own; these belong to the shape."""

    value: "Plan"


@dataclass(frozen=True, slots=True)
class Ruled:
    """What has rules beyond those of its parts: the model itself has to be asked."""

    inner: "Plan"


#: None: no pattern can say.
Plan = Slot | Fixed | Group | Series | Labelled | Ruled | None

UUID7: Final = Slot(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
IDENTIFIER: Final = Slot(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}+")
#: A natural person's id, or part of those that there can be.
PERSON: Final = Slot(r"[!#-\[\]-~][ !#-\[\]-~]{0,255}+")
#: 32 bytes in base64url: the last character stands for four bits.
RECORD_KEY: Final = Slot("[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
#: Any text that is spelled as canonical JSON spells it, its escapes hidden.
FREE: Final = Slot(r'[^"\\\x00-\x1f\x7f\xff]*+')


def hidden(data: bytes) -> bytes:
    """Return UTF-8 with one byte for each of the shortest escapes; others stay."""
    for escape, byte in _ESCAPES:  # Backslashes first: of a row of them, every other one begins.
        data = data.replace(escape, byte)
    return data


def shown(data: bytes) -> bytes:
    """Return what was `hidden`."""
    for escape, byte in _ESCAPES:
        data = data.replace(byte, escape)
    return data


@lru_cache(maxsize=256)
def plan_of(model: type[BaseModel]) -> Plan:
    """Return the plan of a model."""
    return plan(model.__pydantic_core_schema__)


def plan(schema: Schema) -> Plan:
    """Return the plan of a core schema; None if no pattern can say what it takes."""
    draw = _PLANS.get(schema["type"])
    return None if draw is None else draw(schema)


def _text(schema: Schema) -> Plan:
    rule = RULES.get(schema.get("pattern", ""))
    if rule is None or not schema.keys() <= {"type", "pattern", "metadata"}:
        return None
    if rule.name in _AS_DECLARED:
        return Slot(schema["pattern"][1:-1].replace("(?:", "(").replace("(", "(?:"))
    narrowed = _NARROWED.get(rule.name)
    return None if narrowed is None else Slot(narrowed)


def _integer(schema: Schema) -> Plan:
    if schema.keys() - {"type", "metadata"} != {"ge", "le"}:
        return None
    least, most = schema["ge"], schema["le"]
    if most < 1 or least not in (0, 1, -most):
        return None
    number = _up_to(most)
    if least < 0:
        return Slot(f"(?:0|-?(?:{number}))", quoted=False)
    return Slot(f"(?:0|{number})" if least == 0 else f"(?:{number})", quoted=False)


def _literal(schema: Schema) -> Plan:
    words = schema["expected"]
    if not all(isinstance(one, str) and one.isascii() and one.isprintable() for one in words):
        return None
    if any(mark in one for one in words for mark in '"\\'):
        return None
    return Slot("(?:" + "|".join(map(_escaped, sorted(words, key=len, reverse=True))) + ")")


def _escaped(word: str) -> str:
    return "".join(one if one.isalnum() else f"\\x{ord(one):02x}" for one in word)


def _group(schema: Schema) -> Plan:
    members = {}
    for name, member in schema["fields"].items():
        inner = member["schema"]
        if inner["type"] == "default":  # Absent means absent.
            inner = inner["schema"]
        members[member.get("validation_alias", name)] = plan(inner)
    return Group(members)


def _series(schema: Schema) -> Plan:
    # How many there may be is the same for all requests of one shape.
    return Series(plan(schema["items_schema"]))


def _labelled(schema: Schema) -> Plan:
    return Labelled(plan(schema["values_schema"]))


def _after(schema: Schema) -> Plan:
    inner = plan(schema["schema"])
    if schema["schema"]["type"] == "str":  # The narrowed patterns know of days and of 64 bits.
        checked = (schema["schema"].get("pattern"), schema["function"]["function"])
        return inner if checked in _CHECKED else None
    return Ruled(inner)


#: Patterns that are narrowed to what else is asked of such a value, and what asks it.
_CHECKED: Final = frozenset(
    (schema["schema"]["pattern"], schema["function"]["function"])
    for schema in (TypeAdapter(kind).core_schema for kind in (U64, Day, Time))
)
_PLANS: Final[Mapping[str, Callable[[Schema], Plan]]] = {
    "str": _text,
    "int": _integer,
    "bool": lambda _: Fixed(),
    "literal": _literal,
    "list": _series,
    "dict": _labelled,
    "model": lambda schema: plan(schema["schema"]),
    "model-fields": _group,
    "function-after": _after,
}
