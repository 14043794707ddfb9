# SPDX-License-Identifier: GPL-3.0-or-later
"""RFC 8785 with numbers that have fractions, for formats of others that ask for them.

This ledger's own bytes hold no floats. CAP's events do (`RiskScore`, `learningRate`), and are
hashed in canonical form all the same: a number is then the nearest IEEE 754 double, printed the way
that ECMAScript prints it (RFC 8785 §3.2.2.3). Nothing that is printed here is ever an entry.
"""

import json
import math
from decimal import Decimal
from typing import Any, Final, TypeAlias

JSON: TypeAlias = dict[str, Any]

#: The largest whole number that is exact in every reader of JSON.
EXACT: Final = 2**53 - 1

#: Prints a string: json escapes what RFC 8785 wants escaped, and in its spelling.
_text: Final = json.JSONEncoder(ensure_ascii=False).encode


def encode(value: Any) -> bytes:
    """Return the canonical bytes of a JSON value; raises ValueError for NaN and infinities."""
    return _print(value).encode("utf-8")


def number(decimal: str) -> float | int:
    """Return the number that a decimal string means: whole ones that every reader keeps as int."""
    exact = Decimal(decimal)
    whole = exact == exact.to_integral_value() and abs(exact) <= EXACT
    return int(exact) if whole else float(exact)


def _print(value: Any) -> str:
    if isinstance(value, dict):
        # The order is that of UTF-16 code units.
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{_text(name)}:{_print(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_print, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return _float(value)
    return json.dumps(value)  # None, true, false, whole numbers.


def _float(value: float) -> str:
    """Print a double as ECMAScript's Number::toString does; Python finds the same digits."""
    if not math.isfinite(value):
        raise ValueError("JSON has no such number")
    if value == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    text = "".join(map(str, digits))
    point = len(text) + int(exponent)  # Where the decimal point stands, from the first digit.
    minus = "-" if sign else ""
    if len(text) <= point <= 21:
        return f"{minus}{text}{'0' * (point - len(text))}"
    if 0 < point <= 21:
        return f"{minus}{text[:point]}.{text[point:]}"
    if -6 < point <= 0:
        return f"{minus}0.{'0' * -point}{text}"
    mantissa = text[0] + (f".{text[1:]}" if len(text) > 1 else "")
    return f"{minus}{mantissa}e{'+' if point > 0 else '-'}{abs(point - 1)}"
