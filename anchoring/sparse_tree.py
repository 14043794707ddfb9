# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree in which each digest has one place: built once, then asked where a walk ends.

    record = key (32 bytes) ‖ position of the entry that brought the digest (8 bytes)
    bucket = the records of all keys that begin with the same few bits, in order
    crown  = for each bucket: what its subtree is (0 nothing, 1 one leaf, 2 more) ‖ its hash

A tree is kept as its buckets and its crown. A proof reads one bucket of some hundred records and
the crown, which is all above them, so it costs the same whether the tree has a thousand members or
millions. While it is built, a tree takes 40 bytes of memory for each record.
`sealtrail.verify.sparse` says what is hashed.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from typing import Final, NamedTuple

from ledger.errors import IntegrityViolation
from sealtrail.verify.sparse import (
    EMPTY,
    HASH_BYTES,
    VALUE_BYTES,
    SparsePath,
    map_leaf,
    map_node,
    position_value,
)

RECORD_BYTES: Final = HASH_BYTES + VALUE_BYTES

#: Records that a bucket has on average, or twice as many.
_BUCKET: Final = 256
#: The crown of a tree of any size has at most so many bits, and 2 MB.
_MAX_BITS: Final = 16

_PART_BYTES: Final = 1 + HASH_BYTES
_KEY_BITS: Final = 8 * HASH_BYTES


class Part(NamedTuple):
    """A subtree: whether it holds nothing (0), one leaf (1) or more (2), and its hash."""

    leaves: int
    hash: bytes


_NOTHING: Final = Part(0, EMPTY)


@dataclass(frozen=True, slots=True)
class Walk:
    """Where the walk for a key ends: at nothing, at another key's leaf, or at the key itself."""

    siblings: tuple[bytes, ...]
    key: bytes
    record: bytes | None

    @property
    def found(self) -> int | None:
        """The position that stands at the key; None if nothing does."""
        if self.record is None or self.record[:HASH_BYTES] != self.key:
            return None
        return int.from_bytes(self.record[HASH_BYTES:])

    @property
    def path(self) -> SparsePath:
        """The proof of absence, if nothing was found; else the walk, whose end is the leaf."""
        end = None
        if self.record is not None:
            end = self.record[:HASH_BYTES], sha256(self.record[HASH_BYTES:]).digest()
        return SparsePath(self.siblings, end)


class Crown:
    """All of a tree that lies above its buckets."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.bits = len(parts).bit_length() - 1
        # As in a heap: the children of node i are 2i and 2i + 1.
        nodes = [_NOTHING] * len(parts) + list(parts)
        for at in reversed(range(1, len(parts))):
            nodes[at] = _join(nodes[2 * at], nodes[2 * at + 1])
        self._nodes = nodes

    @property
    def root(self) -> bytes:
        return self._nodes[1].hash

    def filled(self) -> dict[int, Part]:
        """Return the buckets that hold something, by their numbers."""
        parts = self._nodes[1 << self.bits :]
        return {number: part for number, part in enumerate(parts) if part.leaves}

    def encode(self) -> bytes:
        """Print the crown for `decode`: 33 bytes for each bucket."""
        return b"".join(bytes([one.leaves]) + one.hash for one in self._nodes[1 << self.bits :])

    @classmethod
    def decode(cls, data: bytes) -> "Crown":
        """Read a stored crown; whoever uses it compares its root with the recorded one."""
        rows = [data[at : at + _PART_BYTES] for at in range(0, len(data), _PART_BYTES)]
        if not rows or len(rows) & (len(rows) - 1) or len(rows[-1]) != _PART_BYTES:
            raise IntegrityViolation("The stored crown of a sparse tree is damaged.")
        return cls([Part(row[0], row[1:]) for row in rows])

    def walk(self, key: bytes, bucket: Callable[[int], Sequence[bytes]]) -> Walk:
        """Walk to the place of `key`. bucket: the records of a bucket by its number, in order."""
        turns = int.from_bytes(key)
        siblings: list[bytes] = []
        at = 1
        while self._nodes[at].leaves > 1 and at < 1 << self.bits:
            turn = turns >> (_KEY_BITS - 1 - len(siblings)) & 1
            at = 2 * at + turn
            siblings.append(self._nodes[at ^ 1].hash)
        if self._nodes[at].leaves == 0:
            return Walk(tuple(siblings), key, None)
        while at < 1 << self.bits:  # One leaf, in some bucket below.
            at = 2 * at + (self._nodes[2 * at].leaves == 0)
        records = bucket(at - (1 << self.bits))
        return _walk_bucket(records, key, siblings)


class SparseBuilder:
    """Takes keys in any order and makes the tree."""

    def __init__(self) -> None:
        self._shelves = [bytearray() for _ in range(256)]
        self.count = 0

    def add(self, key: bytes, position: int) -> None:
        """Put a key in. Of several positions for one key the lowest stays."""
        self._shelves[key[0]] += key + position_value(position)
        self.count += 1

    def build(
        self, keep: Callable[[int, bytes], None], step: Callable[[int], None] | None = None
    ) -> Crown:
        """Make the tree, and empty the builder. `count` is then the number of distinct keys.

        keep: takes each bucket that is not empty, as its number and its records joined. step:
        called with the number of records hashed since the last call.
        """
        bits = min((self.count // _BUCKET).bit_length(), _MAX_BITS)
        down = _MAX_BITS - bits
        parts = [_NOTHING] * (1 << bits)
        self.count = 0
        for number, group in groupby(self._sorted(), lambda one: int.from_bytes(one[:2]) >> down):
            records = list(group)
            self.count += len(records)
            parts[number] = fold(records, depth=bits)
            keep(number, b"".join(records))
            if step is not None:
                step(len(records))
        return Crown(parts)

    def _sorted(self) -> Iterator[bytes]:
        for number, shelf in enumerate(self._shelves):
            self._shelves[number] = bytearray()
            last = b""
            for record in sorted(split(bytes(shelf))):
                if record[:HASH_BYTES] != last:
                    last = record[:HASH_BYTES]
                    yield record


def split(records: bytes) -> list[bytes]:
    """Take a bucket apart. Raises IntegrityViolation if it does not hold whole records."""
    if len(records) % RECORD_BYTES:
        raise IntegrityViolation("A stored bucket of a sparse tree is damaged.")
    return [records[at : at + RECORD_BYTES] for at in range(0, len(records), RECORD_BYTES)]


def fold(records: Sequence[bytes], *, depth: int) -> Part:
    """Return the subtree over records, in order, whose keys begin with the same `depth` bits."""
    return _fold(records, 0, len(records), depth)


def root_of(keys: Iterable[tuple[bytes, int]]) -> bytes:
    """Return the root over some keys with their positions, without keeping the tree."""
    builder = SparseBuilder()
    for key, position in keys:
        builder.add(key, position)
    return builder.build(lambda _number, _records: None).root


def _fold(records: Sequence[bytes], low: int, high: int, depth: int) -> Part:
    if low == high:
        return _NOTHING
    if high - low == 1:
        record = records[low]
        return Part(1, map_leaf(record[:HASH_BYTES], record[HASH_BYTES:]))
    middle = _middle(records, low, high, depth)
    return _join(_fold(records, low, middle, depth + 1), _fold(records, middle, high, depth + 1))


def _join(left: Part, right: Part) -> Part:
    if left.leaves + right.leaves > 1:
        return Part(2, map_node(left.hash, right.hash))
    return left if left.leaves else right


def _middle(records: Sequence[bytes], low: int, high: int, depth: int) -> int:
    """Return the first of these records that turns right at `depth`."""
    below = _KEY_BITS - 1 - depth
    first = int.from_bytes(records[low][:HASH_BYTES])
    border = ((first >> below | 1) << below).to_bytes(HASH_BYTES)
    return bisect_left(records, border, low, high)


def _walk_bucket(records: Sequence[bytes], key: bytes, siblings: list[bytes]) -> Walk:
    """Walk on inside a bucket, from the depth that `siblings` has reached."""
    low, high = 0, len(records)
    turns = int.from_bytes(key)
    while high - low > 1:
        depth = len(siblings)
        middle = _middle(records, low, high, depth)
        if turns >> (_KEY_BITS - 1 - depth) & 1:
            siblings.append(_fold(records, low, middle, depth + 1).hash)
            low = middle
        else:
            siblings.append(_fold(records, middle, high, depth + 1).hash)
            high = middle
    return Walk(tuple(siblings), key, records[low] if high > low else None)
