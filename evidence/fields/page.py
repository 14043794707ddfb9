# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/fields.md: every field of every source, where it is at home, how it is kept, what shows it.

Made from the lists and the catalogue; a test holds the lists against the sources themselves.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Final

from evidence.fields.homes import Home
from evidence.fields.table import SOURCES, Row, rows

_HEAD: Final = """\
# Fields

Made from the lists in `evidence/fields` and from the catalogue by `python -m evidence.fields`; do
not edit.

Two articles asked for this ledger, a profile of others (CAP) and the law ask for more. Here stands
each field that they name, as they name it, and where this ledger keeps it. *Kept* says how:

* **clear**: it is part of the entry's bytes.
* **committed, sealed for** somebody: the entry holds a salted digest; the value is encrypted under
  a key that goes when that one is erased. What is the *tenant*'s own goes with nobody.
* **clear or committed**: the client chooses.
* **artifact**: a digest stands in the entry; the thing itself lies encrypted in the archive.
* **outside the leaf**: beside the entry, or handed out with it; it may change, or is proved by it.

A field without a home has its reason. Tests are named below each table; [n] says which.
"""


def describe() -> str:
    """Return the page; raises HomeUnknownError if a list names what the ledger does not have."""
    blocks = [_HEAD]
    for source, title in SOURCES.items():
        blocks.append(f"## {title}\n")
        for section, group in groupby(rows(source), key=lambda row: row.section):
            blocks += _section(section, list(group))
    return "\n".join(blocks)


def _section(title: str, group: list[Row]) -> Iterator[str]:
    tests: dict[str, int] = {}
    lines = ["| field | home | kept | test |", "| --- | --- | --- | --- |"]
    lines += [_line(row, tests) for row in group]
    yield f"### {title.replace(', ', ' · ')}\n"
    yield "\n".join(lines) + "\n"
    if tests:
        yield "\n".join(f"{number}. `{name}`" for name, number in tests.items()) + "\n"


def _line(row: Row, tests: dict[str, int]) -> str:
    homes = row.homes()
    numbers = list(dict.fromkeys(_number(one, tests) for one in homes))
    where = "<br>".join(one.where for one in homes)
    if row.note:
        where = f"{where}: {row.note}" if where else f"none: {row.note}"
    kept = "<br>".join(one.placement for one in homes)
    shown = " ".join(f"[{number}]" for number in numbers)
    return f"| {_escaped(row.field)} | {where} | {kept} | {shown} |"


def _number(home: Home, tests: dict[str, int]) -> int:
    """Return a test's number in its section; parts of a test are one."""
    return tests.setdefault(home.test, len(tests) + 1)


def _escaped(text: str) -> str:
    return f"`{text}`" if " " not in text else text.replace("|", "\\|")
