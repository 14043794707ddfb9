# SPDX-License-Identifier: Apache-2.0
"""The right edge of the tree: at most 63 hashes that are enough to grow a log of any size.

A log of m entries is cut, from the left, into perfect subtrees, one for each 1 bit of m, largest
first; their roots are the frontier. For m = 11 = 8 + 2 + 1:

    level 3        A                          new leaves need nothing else: every sibling on their
    level 2      ╱   ╲                        paths is one of A, B, C or a node made of new leaves
    level 1    ╱       ╲        B
    level 0   0 1 2 3 4 5 6 7   8 9   C(10)   ◄ the next leaf is 11

So a batch of k entries gets its root and all its inclusion paths from the frontier and the new
leaf hashes alone, without a read of the tree, in O(k + log n) hashes.

Nodes are numbered by (level, index): node (l, i) covers positions [i·2^l, (i+1)·2^l). A node cut
short by the end of the log is called ragged; each level has at most one, and on a level where it
would have no sibling it is the node below, passed up unchanged. Source: RFC 9162 §2.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple, Self

from sealtrail.verify.errors import Unreadable
from sealtrail.verify.merkle import EMPTY_ROOT, HASH_BYTES, SIZE_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """The roots of the perfect subtrees of a log with `size` entries, largest (leftmost) first."""

    size: int
    nodes: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.size < SIZE_LIMIT:
            raise Unreadable("The frontier's size is not from 0 to 2^63 - 1.")
        if len(self.nodes) != self.size.bit_count():
            raise Unreadable("The frontier has another number of hashes than its size needs.")
        if any(len(node) != HASH_BYTES for node in self.nodes):
            raise Unreadable("A hash in the frontier is not 32 bytes long.")

    @classmethod
    def empty(cls) -> Self:
        return cls(size=0, nodes=())

    @classmethod
    def unpack(cls, size: int, data: bytes) -> Self:
        """The frontier that `pack` printed; raises Unreadable if the length does not fit."""
        if len(data) % HASH_BYTES:
            raise Unreadable("The frontier is not a row of 32-byte hashes.")
        nodes = tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))
        return cls(size=size, nodes=nodes)

    def pack(self) -> bytes:
        """The hashes one after another, largest subtree first: 32 bytes for each 1 bit of size."""
        return b"".join(self.nodes)

    def root(self) -> bytes:
        """The root of the log; at most 62 hashes."""
        if not self.nodes:
            return EMPTY_ROOT
        *left, root = self.nodes
        for node in reversed(left):
            root = _node(node, root)
        return root

    def append(self, leaves: Sequence[bytes]) -> "Frontier":
        """The frontier after these leaf hashes were appended; about one hash per leaf."""
        return _frontier(_grow(self, leaves)) if leaves else self

    def consistency(self, leaves: Sequence[bytes]) -> list[bytes]:
        """The path that proves the log grown by `leaves` to extend this one (RFC 9162 §2.1.4.1).

        Empty if there is nothing to prove: no new leaves, or this log is the empty one.
        """
        return _consistency(self, _grow(self, leaves)) if self.size and leaves else []


class Growth(NamedTuple):
    """What a batch of new leaves makes of a log, and what proves it."""

    frontier: Frontier
    paths: list[list[bytes]]  #: Of each new leaf, as `inclusion_paths` gives them.
    consistency: list[bytes]  #: As `Frontier.consistency` gives it.


def inclusion_paths(frontier: Frontier, leaves: Sequence[bytes]) -> list[list[bytes]]:
    """For each of the new leaves its inclusion path in the log grown by all of them.

    Sibling hashes from the leaf upward, as `merkle.check_inclusion` takes them, for size
    frontier.size + len(leaves). O(k + log n) hashes and O(k log n) copied references.
    """
    return _paths(_grow(frontier, leaves)) if leaves else []


def grow(frontier: Frontier, leaves: Sequence[bytes]) -> Growth:
    """New frontier, inclusion paths and consistency path for the price of one."""
    if not leaves:
        return Growth(frontier, [], [])
    grown = _grow(frontier, leaves)
    consistency = _consistency(frontier, grown) if frontier.size else []
    return Growth(_frontier(grown), _paths(grown), consistency)


class _Row(NamedTuple):
    """The part of one level of the grown tree that new leaves have a hand in."""

    first: int  #: Index of nodes[0], always even: the left sibling of the first new node is kept.
    nodes: list[bytes]  #: Complete nodes from `first` to the end of the level.
    ragged: bytes | None  #: The node after them, cut short by the end of the log.

    def sibling(self, index: int) -> bytes | None:
        """The sibling of node `index`; None if it has none because the log ends before."""
        at = (index ^ 1) - self.first
        if at < len(self.nodes):
            return self.nodes[at]
        return self.ragged if at == len(self.nodes) else None


class _Grown(NamedTuple):
    """The nodes that a batch changes: rows up to the first one where a single node holds it all.

    Above that node nothing but old subtrees of the frontier can be a left sibling of it, and
    nothing is right of it, so what is left of the work is a list of old hashes.
    """

    old_size: int
    new_size: int
    rows: list[_Row]  #: Levels below `top`, leaves first.
    top: bytes  #: The lowest node that covers all new leaves, complete or ragged.
    above: list[bytes]  #: Left siblings from `top` to the root, lowest first.
    frontier: list[bytes]  #: Of the grown log, smallest subtree first.


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def _grow(frontier: Frontier, leaves: Sequence[bytes]) -> _Grown:
    """All nodes of the grown tree that follow from the frontier and at least one new leaf."""
    if not {HASH_BYTES}.issuperset(map(len, leaves)):
        raise ValueError("a leaf hash is 32 bytes long")
    old, new = frontier.size, frontier.size + len(leaves)
    height = (old ^ (new - 1)).bit_length()  # Level of `top`: there both ends have one ancestor.
    kept = list(frontier.nodes)
    rows: list[_Row] = []
    edge: list[bytes] = []
    nodes = list(leaves)
    ragged: bytes | None = None
    for level in range(height):
        begin, end = old >> level, new >> level
        if begin & 1:
            nodes.insert(0, kept.pop())
        rows.append(_Row(begin & ~1, nodes, ragged))
        if end & 1:
            last = nodes[-1]
            edge.append(last)
            ragged = last if ragged is None else _node(last, ragged)
        # _node() written out: a call for each of a million nodes costs as much as the hash.
        nodes = [
            sha256(b"\x01" + left + right).digest()
            for left, right in zip(nodes[::2], nodes[1::2], strict=False)
        ]
    above = kept[::-1]
    if ragged is not None:
        return _Grown(old, new, rows, ragged, above, edge + above)
    # The batch ends where `top` ends, so `top` joins old subtrees as a carry joins 1 bits.
    carry, joined = nodes[0], 0
    while old >> (height + joined) & 1:
        carry = _node(above[joined], carry)
        joined += 1
    return _Grown(old, new, rows, nodes[0], above, [carry, *above[joined:]])


def _frontier(grown: _Grown) -> Frontier:
    return Frontier(size=grown.new_size, nodes=tuple(reversed(grown.frontier)))


def _consistency(frontier: Frontier, grown: _Grown) -> list[bytes]:
    """Path from a log that is not empty to the grown one."""
    # The smallest perfect subtree is the old log's right edge. The path is that node's own
    # inclusion path; the node itself comes first, unless it is the old root.
    nodes, size = frontier.nodes, frontier.size
    path = [] if len(nodes) == 1 else [nodes[-1]]
    level = (size & -size).bit_length() - 1
    if level >= len(grown.rows):
        return [*path, grown.top, *grown.above[1:]]
    index = (size >> level) - 1
    for row in grown.rows[level:]:
        sibling = row.sibling(index)
        if sibling is not None:
            path.append(sibling)
        index >>= 1
    return path + grown.above


def _paths(grown: _Grown) -> list[list[bytes]]:
    """Paths from `top` downward: a node's path is its sibling and then its parent's path."""
    paths = [grown.above]
    first_parent = grown.old_size >> len(grown.rows)
    last = grown.new_size - 1
    for level in range(len(grown.rows) - 1, -1, -1):
        row = grown.rows[level]
        first = grown.old_size >> level
        below = []
        for index in range(first, (last >> level) + 1):
            above = paths[(index >> 1) - first_parent]
            sibling = row.sibling(index)
            below.append(above if sibling is None else [sibling, *above])
        paths, first_parent = below, first
    return paths
