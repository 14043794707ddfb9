# SPDX-License-Identifier: GPL-3.0-or-later
"""The lists of the sources: which field, and where it is at home.

    [section]
    field | home; home | note

A dash instead of homes means that there is none; then the note says why.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from evidence.fields.homes import Home, home_of

#: Name of the file → what it is a list of.
SOURCES: Final = {
    "checklist": "Checklist for Implementing AI Image Audit Trails",
    "howto": "How to Build an Audit Trail for Generative AI Outputs in Your App",
    "cap": "Content/Creative AI Profile (CAP)",
    "record": "The whole record, law included",
}
_HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One field as its source calls it."""

    source: str
    section: str
    field: str
    pointers: tuple[str, ...]
    note: str

    def homes(self) -> list[Home]:
        """Look its homes up; raises HomeUnknownError."""
        return [home_of(one) for one in self.pointers]


def rows(source: str) -> Iterator[Row]:
    """Yield the fields of one source, in its order; raises ValueError for a line of no form."""
    section = ""
    for line in (_HERE / f"{source}.txt").read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            section = line.strip("[]")
            continue
        field, *rest = line.split(" | ")
        if not 1 <= len(rest) <= 2:
            raise ValueError(f"{source}.txt: a line of no form: {line}")
        pointers = () if rest[0] == "-" else tuple(rest[0].split("; "))
        note = rest[1] if len(rest) == 2 else ""
        yield Row(source=source, section=section, field=field, pointers=pointers, note=note)
