# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the sparse Merkle sum tree over the outcomes of one range, and walks to one of them.

Leaves come in the order of their keys and are folded as they come: a subtree is finished as soon as
a key comes that is not in it. What is remembered is one finished left half for each bit of a key,
whatever the number of leaves: a million take some seconds, and no memory to speak of.

What is checked with it: `sealtrail.verify.sum_tree`, where the bytes are defined.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from ledger.errors import IntegrityViolation
from sealtrail.verify.sum_tree import DEPTH, EMPTY, Node, Outcome, SumPath, leaf, node, shared_bits

Leaf = tuple[bytes, Outcome]  # A key and its outcome.


class AttemptTwice(IntegrityViolation):
    """One attempt has two outcomes, or leaves do not come in order of their keys."""


class Built(NamedTuple):
    """The top of a tree, and the way to the key that was asked for."""

    root: Node
    path: SumPath | None  #: None if none was asked for.


def build(leaves: Iterable[Leaf], *, wanted: bytes | None = None) -> Built:
    """Return the tree over `leaves`; raises AttemptTwice.

    wanted: a key of 32 bytes to which to find the way, whether or not it has a leaf.
    """
    fold = _Fold(wanted)
    last: Leaf | None = None
    before = -1
    for one in leaves:
        if last is not None:
            if one[0] <= last[0]:
                raise AttemptTwice
            after = shared_bits(last[0], one[0])
            fold.take(last, before, after)
            before = after
        last = one
    if last is not None:
        fold.take(last, before, -1)
    return Built(fold.root, fold.path())


_FIRST: Final = 1 << DEPTH - 1


class _Fold:
    """What is known of a tree while its leaves come."""

    def __init__(self, wanted: bytes | None) -> None:
        self.root = EMPTY
        self._halves: list[tuple[int, Node]] = []  # Finished left halves: their depth, and they.
        self._wanted = wanted
        self._siblings: dict[int, Node] = {}  # Of the wanted key's way, by depth.
        self._nearest: tuple[int, Leaf | None, int] = (-1, None, 0)

    def take(self, one: Leaf, before: int, after: int) -> None:
        """Fold a leaf that shares so many bits with the leaves before and after it, or -1."""
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
        if after < 0:
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
        siblings = tuple(self._siblings.get(at, EMPTY) for at in range(1, length + 1))
        return SumPath(siblings=siblings, terminal=terminal)
