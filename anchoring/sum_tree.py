# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the sparse Merkle sum tree over the outcomes of one range, and walks to one of them.

Leaves come in the order of their keys and are folded as they come: a subtree is finished as soon as
a key comes that is not in it. What is remembered is one finished left half for each bit of a key,
whatever the number of leaves: a million take some seconds, and no memory to speak of.

Whoever asks for the ways to many leaves of one tree keeps its `Crown`, the uppermost nodes: then
each way needs only the leaves that begin with the same bits.

What is checked with it: `sealtrail.verify.sum_tree`, where the bytes are defined.
"""

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Final, NamedTuple, Self

from ledger.errors import IntegrityViolation
from sealtrail.verify.sum_tree import DEPTH, EMPTY, Node, Outcome, SumPath, leaf, node, shared_bits

Leaf = tuple[bytes, Outcome]  # A key and its outcome.


class AttemptTwice(IntegrityViolation):
    """One attempt has two outcomes, or leaves do not come in order of their keys."""


class Built(NamedTuple):
    """The top of a tree, and the way to the key that was asked for."""

    root: Node
    path: SumPath | None  #: None if none was asked for.


def build(leaves: Iterable[Leaf], *, wanted: bytes | None = None, depth: int = 0) -> Built:
    """Return the tree over `leaves`; raises AttemptTwice.

    wanted: a key of 32 bytes to which to find the way, whether or not it has a leaf. depth: of a
    subtree whose keys, the wanted one too, have so many bits in common; the way begins there.
    """
    fold = _Fold(wanted, depth)
    last: Leaf | None = None
    before = depth - 1
    for one in leaves:
        if last is not None:
            if one[0] <= last[0]:
                raise AttemptTwice
            after = shared_bits(last[0], one[0])
            fold.take(last, before, after)
            before = after
        last = one
    if last is not None:
        fold.take(last, before, depth - 1)
    return Built(fold.root, fold.path())


class Crown:
    """The uppermost nodes of a tree: all of the first `bits` depths, half a megabyte of them."""

    def __init__(self, lowest: list[Node], bits: int) -> None:
        self._bits = bits
        self._levels = [lowest]
        while len(lowest) > 1:
            lowest = [_over(lowest[at], lowest[at + 1]) for at in range(0, len(lowest), 2)]
            self._levels.insert(0, lowest)

    @classmethod
    def of(cls, leaves: Iterable[Leaf], *, bits: int = 10) -> Self:
        """Build a whole tree, and keep its crown; raises AttemptTwice. bits: at most 16."""
        lowest = [EMPTY] * (1 << bits)
        last = -1
        for prefix, group in groupby(leaves, lambda one: _prefix(one[0], bits)):
            if prefix <= last:
                raise AttemptTwice
            lowest[prefix] = build(group, depth=bits).root
            last = prefix
        return cls(lowest, bits)

    @property
    def root(self) -> Node:
        """The top of the tree."""
        return self._levels[0][0]

    def path(self, key: bytes, between: Callable[[bytes, bytes], Iterable[Leaf]]) -> SumPath:
        """Return the way to a key.

        between: gives the leaves of this tree from one key to another, both included, in order.
        """
        siblings: list[Node] = []
        depth = at = 0
        while self._levels[depth][at].counts.attempts > 1 and depth < self._bits:
            depth += 1
            at = _prefix(key, depth)
            siblings.append(self._levels[depth][at ^ 1])
        below = DEPTH - depth
        first = int.from_bytes(key, "big") >> below << below
        last = first | (1 << below) - 1
        leaves = between(first.to_bytes(32, "big"), last.to_bytes(32, "big"))
        rest = build(leaves, wanted=key, depth=depth).path
        terminal = None if rest is None else rest.terminal
        return SumPath(siblings=(*siblings, *(rest.siblings if rest else ())), terminal=terminal)


def _over(left: Node, right: Node) -> Node:
    """Return the subtree of two, of which one or both may be empty."""
    if left.counts.attempts + right.counts.attempts > 1:
        return node(left, right)
    return right if left == EMPTY else left


def _prefix(key: bytes, bits: int) -> int:
    return int.from_bytes(key[:2], "big") >> _PREFIX - bits


_PREFIX: Final = 16
_FIRST: Final = 1 << DEPTH - 1


class _Fold:
    """What is known of a tree while its leaves come."""

    def __init__(self, wanted: bytes | None, base: int) -> None:
        self.root = EMPTY
        self._base = base
        self._halves: list[tuple[int, Node]] = []  # Finished left halves: their depth, and they.
        self._wanted = wanted
        self._siblings: dict[int, Node] = {}  # Of the wanted key's way, by depth.
        self._nearest: tuple[int, Leaf | None, int] = (-1, None, 0)

    def take(self, one: Leaf, before: int, after: int) -> None:
        """Fold a leaf that shares so many bits with the leaves before and after it."""
        key, outcome = one
        depth = max(before, after) + 1
        here = leaf(key, outcome)
        turns = int.from_bytes(key, "big")
        beside = 0  # At this depth the leaf's subtree is a sibling on the wanted way; 0 nowhere.
        if self._wanted is not None:
            shared = shared_bits(key, self._wanted)
            beside = 0 if shared == DEPTH else shared + 1
            if shared > self._nearest[0]:
                self._nearest = (shared, one, depth)
        while depth > after + 1:
            if depth == beside:
                self._siblings[depth] = here
            if turns & _FIRST >> depth - 1:
                left = EMPTY
                if self._halves and self._halves[-1][0] == depth:
                    left = self._halves.pop()[1]
                here = node(left, here)
            else:
                here = node(here, EMPTY)
            depth -= 1
        if depth == beside:
            self._siblings[depth] = here
        if after < self._base:
            self.root = here
        else:
            self._halves.append((depth, here))

    def path(self) -> SumPath | None:
        """Return the way to the wanted key, from the root down."""
        if self._wanted is None:
            return None
        shared, nearest, depth = self._nearest
        if nearest is None:
            return SumPath(siblings=(), terminal=None)
        if shared >= depth:  # The leaf's own subtree lies on the way.
            length, terminal = depth, nearest
        else:  # The way leaves the tree beside the nearest leaf.
            length, terminal = shared + 1, None
        way = range(self._base + 1, length + 1)
        siblings = tuple(self._siblings.get(at, EMPTY) for at in way)
        return SumPath(siblings=siblings, terminal=terminal)
