# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of two versions is the newer one, whatever the house writes: 7, 7.1, v2, 2026-11-01.

Runs of digits count as numbers, runs of letters as text, and what separates them does not count,
but that letters behind a hyphen come before the version itself (`2.0-rc1` before `2.0`), as in
Semantic Versioning. Two spellings of one version are not newer than each other.
"""

import re
from typing import Final

_PARTS: Final = re.compile(r"(-?)([A-Za-z]+)|([0-9]+)")

#: What a part is, in its order: a step before the release, the end, a text, a number.
_BEFORE, _END, _TEXT, _NUMBER = range(4)
Part = tuple[int, int, str]


def newer(version: str, than: str) -> bool:
    """Say if one version comes after another."""
    return _key(version) > _key(than)


def _key(version: str) -> list[Part]:
    parts: list[Part] = []
    for hyphen, text, number in _PARTS.findall(version):
        if number:
            parts.append((_NUMBER, int(number), ""))
        else:
            parts.append((_BEFORE if hyphen and parts else _TEXT, 0, text.lower()))
    return [*parts, (_END, 0, "")]
