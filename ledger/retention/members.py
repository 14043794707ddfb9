# SPDX-License-Identifier: GPL-3.0-or-later
"""Which positions of a run of 256 are meant: 32 bytes, in which bit i is position 256·number + i.

The lowest bit of a byte comes first, as PostgreSQL's `get_bit` counts the bits of a bytea.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

WIDTH: Final = 256
BYTES: Final = WIDTH // 8


def pack(positions: Iterable[int]) -> bytes:
    """Pack positions of one run."""
    bits = 0
    for position in positions:
        bits |= 1 << position % WIDTH
    return bits.to_bytes(BYTES, "little")


def unpack(number: int, members: bytes) -> list[int]:
    """Return the positions of run `number`, in order. ValueError unless there are 32 bytes."""
    if len(members) != BYTES:
        raise ValueError("a run has 256 positions: 32 bytes")
    bits = int.from_bytes(members, "little")
    return [number * WIDTH + at for at in range(WIDTH) if bits >> at & 1]


def holds(members: bytes, position: int) -> bool:
    """Say if a position is among those of its run."""
    at = position % WIDTH
    return bool(members[at >> 3] >> (at & 7) & 1)


def by_run(positions: Iterable[int]) -> dict[int, list[int]]:
    """Sort positions by the number of their run."""
    runs: dict[int, list[int]] = defaultdict(list)
    for position in positions:
        runs[position // WIDTH].append(position)
    return dict(runs)


def ranges(positions: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield [from, to) of each unbroken range of positions that are in order."""
    begin = end = None
    for position in positions:
        if begin is None or end is None:
            begin, end = position, position + 1
        elif position == end:
            end += 1
        else:
            yield begin, end
            begin, end = position, position + 1
    if begin is not None and end is not None:
        yield begin, end
