# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths and sizes of C2SP tlog-tiles: which tile is asked for, and whether it exists.

    tile/<L>/<N>          a full tile: 256 hashes of level L
    tile/<L>/<N>.p/<W>    the first W hashes of a tile that was partial at some size
    tile/entries/<N>      256 entries, each behind its length as two bytes, big endian

N is printed in groups of three digits, all but the last behind an `x`: 1234067 is x001/x234/067.
"""

import re
from dataclasses import dataclass
from typing import Final

from ledger.errors import NotFound

WIDTH: Final = 256
_PATH: Final = re.compile(
    r"(?P<level>entries|[0-9]|[1-5][0-9]|6[0-3])/"
    r"(?P<index>(?:x[0-9]{3}/)*[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)
_LEVELS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePath:
    """A tile as a client asks for it. `level` is None for a bundle of entries."""

    level: int | None
    index: int
    width: int

    @classmethod
    def parse(cls, path: str) -> "TilePath":
        """Read the part after `tile/`; raises NotFound for anything that no tile is called."""
        found = _PATH.fullmatch(path)
        if found is None:
            raise NotFound("no tile has such a path")
        index = int(found["index"].replace("x", "").replace("/", ""))
        width = int(found["width"]) if found["width"] else WIDTH
        if print_index(index) != found["index"] or (found["width"] and width >= WIDTH):
            raise NotFound("no tile has such a path")
        level = None if found["level"] == "entries" else int(found["level"])
        return cls(level=level, index=index, width=width)

    def check(self, size: int) -> None:
        """Return if the log of `size` entries has this tile; else raise NotFound."""
        level = self.level or 0
        elements = size >> (8 * level) if level < _LEVELS else 0
        if self.index * WIDTH + self.width > elements:
            raise NotFound("the log does not have this tile yet")


def print_index(index: int) -> str:
    """Print N as tlog-tiles does."""
    groups = [f"{index % 1000:03d}"]
    while index >= 1000:
        index //= 1000
        groups.append(f"x{index % 1000:03d}")
    return "/".join(reversed(groups))


def bundle(entries: list[bytes]) -> bytes:
    """Print entries as a tlog-tiles bundle; each is at most 65,535 bytes."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
