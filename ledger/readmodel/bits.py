# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of positions in blocks of 8,192: one bit for each, as a Python integer and as bytes.

    integer   bit i stands for position 8192 * block + i; sets are joined with | & ~
    bytes     the offsets, two bytes each (big endian, ascending), while there are fewer than 512;
              else the bitmap, 1,024 bytes (little endian). One set, one spelling.

Positions have no gaps, so any question about entries is some operations on a few such blocks,
whether its values are rare or frequent and whatever they are combined with.
"""

from array import array
from collections.abc import Iterable, Iterator
from typing import Final

from ledger.errors import IntegrityViolation

#: Positions of one block.
BLOCK: Final = 8_192
_BYTES: Final = BLOCK // 8
_DENSE: Final = _BYTES // 2

#: Every position of a block.
FULL: Final = (1 << BLOCK) - 1


class BitsDamaged(IntegrityViolation):
    """A row of the search index is none that this ledger writes; rebuild the read model."""

    problem = "search-index-damaged"


def mask_of(offsets: Iterable[int]) -> int:
    """Return the set of these offsets within a block."""
    bitmap = bytearray(_BYTES)
    for offset in offsets:
        bitmap[offset >> 3] |= 1 << (offset & 7)
    return int.from_bytes(bitmap, "little")


def between(start: int, stop: int) -> int:
    """Return the set of the offsets [start, stop), cut to the block."""
    low, high = max(0, start), min(BLOCK, stop)
    return 0 if low >= high else (1 << high) - (1 << low)


def pack(mask: int) -> bytes:
    """Print a set that is not empty."""
    if mask.bit_count() >= _DENSE:
        return mask.to_bytes(_BYTES, "little")
    packed = array("H", offsets_of(mask))
    packed.byteswap()
    return packed.tobytes()


def unpack(data: bytes) -> int:
    """Read what `pack` printed; raises BitsDamaged for what cannot be one."""
    if len(data) == _BYTES:
        return int.from_bytes(data, "little")
    if len(data) % 2 or len(data) > _BYTES:
        raise BitsDamaged
    offsets = array("H", data)
    offsets.byteswap()
    if max(offsets, default=0) >= BLOCK:
        raise BitsDamaged
    return mask_of(offsets)


def gathered(data: bytes) -> int:
    """Return the set of these offsets, two bytes each (big endian), in any order."""
    offsets = array("H", data)
    offsets.byteswap()
    return mask_of(offsets)


def hits(data: bytes, wanted: set[int]) -> list[int]:
    """Return which of some offsets are in the set that `pack` printed, without unpacking it."""
    if len(data) == _BYTES:
        return [offset for offset in wanted if data[offset >> 3] >> (offset & 7) & 1]
    offsets = array("H", data)
    offsets.byteswap()
    return [offset for offset in offsets if offset in wanted]


def offsets_of(mask: int, *, descending: bool = False) -> Iterator[int]:
    """Yield the offsets of a set in order."""
    digits = f"{mask:b}"
    last = len(digits) - 1
    if descending:
        at = digits.find("1")
        while at >= 0:
            yield last - at
            at = digits.find("1", at + 1)
        return
    at = digits.rfind("1")
    while at >= 0:
        yield last - at
        at = digits.rfind("1", 0, at)


def by_block(positions: Iterable[int]) -> dict[int, int]:
    """Return a set of positions, block by block."""
    found: dict[int, list[int]] = {}
    for position in positions:
        found.setdefault(position // BLOCK, []).append(position % BLOCK)
    return {block: mask_of(offsets) for block, offsets in found.items()}
