# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads amounts and numbers as providers, spreadsheets and countries write them.

    1234.56   1,234.56   1.234,56   1 234,56   1'234.56   0,04   (5.00)   -$5.00   5,00-   5.00 EUR

Which mark is the decimal one is seen where a number leaves no doubt: the last of two different
marks, or one that cannot stand before a group of three digits. Where it leaves one, `1.234` or
`1,234`, the file's habit decides: fields between commas, and JSON, have a decimal point. A file
without a habit has its line refused until its reader says which it is: nothing is guessed that
would be wrong by a thousand.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Literal, NamedTuple

Mark = Literal[".", ","]
Decimals = Literal["point", "comma"]
#: A decimal mark by its name, as one that asks says it.
MARKS: Final[Mapping[Decimals, Mark]] = {"point": ".", "comma": ","}

DOUBT: Final = "1.234 and 1,234 may be two numbers; say which is the decimal mark"
_NUMBER: Final = "an amount is a decimal number, such as 0.04"
_COUNT: Final = "a number of things is up to 15 digits"

_DIGITS_MAX: Final = 18
_DECIMALS_MAX: Final = 30
_SIGNS: Final = {"$": "USD", "US$": "USD", "€": "EUR", "£": "GBP", "¥": None}
_SPACES: Final = re.compile("[ \xa0\u2009\u202f]")
_SPACED: Final = re.compile(r"[0-9]{1,3}(?:[ '’][0-9]{3})+(?:[.,][0-9]+)?")
_SIMPLE: Final = re.compile(r"-?[0-9]{1,18}(?:\.(?:[0-9]{1,2}|[0-9]{4,30}))?")
_SIGN: Final = r"US\$|[$€£¥]|[A-Za-z]{3}"
_AMOUNT: Final = re.compile(
    rf"(?P<minus>[-+])? ?(?P<before>{_SIGN})? ?(?P<inner>[-+])?"
    r"(?P<number>[0-9.,][0-9.,'’ ]*?)(?P<exponent>[eE][-+]?[0-9]{1,2})?"
    rf" ?(?P<after>{_SIGN})? ?(?P<trailing>-)?"
)


class Marks(NamedTuple):
    """What is known of a file's numbers."""

    said: Mark | None = None  #: The decimal mark, as the reader says.
    habit: Mark | None = None  #: The one that such a file has where a number leaves a doubt.


class Unread(ValueError):  # noqa: N818 - news, not an accident
    """A text is no number by these rules; the message is the rule."""


def amount(text: str, marks: Marks) -> tuple[Decimal, str | None]:
    """Return an amount, and the currency that stands beside it, if one does; raises Unread."""
    if marks.said != "," and _SIMPLE.fullmatch(text):  # As most are.
        return Decimal(text), None
    plain = _SPACES.sub(" ", text.strip()).replace("\u2212", "-")
    in_brackets = plain.startswith("(") and plain.endswith(")")
    found = _AMOUNT.fullmatch(plain[1:-1].strip() if in_brackets else plain)
    if found is None:
        raise Unread(_NUMBER)
    signs = [one for one in found.group("minus", "inner", "trailing") if one]
    named = [one for one in found.group("before", "after") if one]
    if len(signs) + in_brackets > 1 or len(named) > 1:
        raise Unread(_NUMBER)
    digits = _plain(found["number"], marks, _NUMBER)
    value = Decimal(digits + (found["exponent"] or ""))
    if in_brackets or "-" in signs:
        value = -value
    return value, _SIGNS.get(named[0], named[0].upper()) if named else None


def count(text: str, marks: Marks) -> int:
    """Return a number of things, such as `1,234`, `1234` or `1234.0`; raises Unread."""
    if len(text) < 16 and text.isascii() and text.isdigit():
        return int(text)
    plain = _SPACES.sub(" ", text.strip())
    group = _grouped(plain)
    if group is not None and marks.said is None and not plain.endswith("000"):
        plain = plain.replace(group, "")  # A part of a thing is none: these are thousands.
    elif group == "." and marks.said is None:
        raise Unread(DOUBT)
    value = Decimal(_plain(plain, marks, _COUNT))
    if value != value.to_integral_value() or value >= 10**15:
        raise Unread(_COUNT)
    return int(value)


def _grouped(text: str) -> str | None:
    """Return the one mark of a number that may stand before a group of three; None without."""
    found = re.fullmatch(r"[1-9][0-9]{0,2}([.,])[0-9]{3}", text)
    return None if found is None else found[1]


def _plain(text: str, marks: Marks, rule: str) -> str:
    """Return a number's digits with a point for its decimal mark; raises Unread."""
    if _SPACED.fullmatch(text):
        text = re.sub("[ '’]", "", text)
        mark = next((one for one in text if one in ".,"), None)
        if mark is not None and marks.said not in (None, mark):
            raise Unread(rule)
    else:
        mark = _decimal_mark(text, marks)
    whole, _, rest = text.partition(mark) if mark else (text, "", "")
    group = "." if mark == "," else "," if mark == "." else "[.,]"
    if re.fullmatch(rf"[1-9][0-9]{{0,2}}({group})[0-9]{{3}}(?:\1[0-9]{{3}})*", whole):
        whole = re.sub("[.,]", "", whole)
    if not re.fullmatch(rf"[0-9]{{{0 if mark else 1},{_DIGITS_MAX}}}", whole) or not re.fullmatch(
        rf"[0-9]{{{1 if mark else 0},{_DECIMALS_MAX}}}", rest
    ):
        raise Unread(rule)
    return f"{whole or '0'}.{rest}" if mark else whole


def _decimal_mark(text: str, marks: Marks) -> str | None:
    """Return which mark is the decimal one; None if there is none. Raises Unread for a doubt."""
    here = [one for one in text if one in ".,"]
    if not here:
        return None
    if marks.said is not None:
        return marks.said if marks.said in here else None
    if len(set(here)) == 2:
        return here[-1]
    if len(here) > 1:
        return None
    if _grouped(text) is None:
        return here[0]
    if marks.habit is None:
        raise Unread(DOUBT)
    return marks.habit if marks.habit == here[0] else None
