# SPDX-License-Identifier: GPL-3.0-or-later
"""A second implementation computes every root that is anchored, from the stored bytes alone.

pymerkle hashes the day's entries itself and shares no code with sealtrail.verify. What two
implementations agree on is anchored; where they differ, the night stops. Of the past it believes
only perfect subtrees that were agreed on before. This module is pymerkle's only home.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pymerkle import BaseMerkleTree, InmemoryTree

from ledger.errors import IntegrityViolation
from sealtrail.verify.frontier import Frontier


class TreeDisagrees(IntegrityViolation):
    """Two implementations computed two roots over the same entries."""

    problem = "tree-disagrees"


def day_root(entries: Iterable[bytes]) -> bytes:
    """Return the root over these entries' bytes alone; SHA-256("") if there are none."""
    tree = InmemoryTree(algorithm="sha256")
    for entry in entries:
        tree.append_entry(entry)
    return bytes(tree.get_root())


class GrowingTree(BaseMerkleTree):  # type: ignore[misc]
    """pymerkle over an agreed frontier and the entries after it, hashed here by pymerkle."""

    def __init__(self, agreed: Frontier) -> None:
        super().__init__(algorithm="sha256", disable_cache=True)
        self._base = agreed.size
        self._agreed: dict[tuple[int, int], bytes] = {}
        at = 0
        for node in agreed.nodes:
            width = 1 << ((agreed.size - at).bit_length() - 1)
            self._agreed[at, width] = node
            at += width
        self._leaves: list[bytes] = []

    def extend(self, entries: Iterable[bytes]) -> None:
        """Append entries by their bytes."""
        for entry in entries:
            self.append_entry(entry)

    def extending(self, entries: Iterable[bytes]) -> Iterator[bytes]:
        """Append entries as they pass by on their way to somebody else."""
        for entry in entries:
            self.append_entry(entry)
            yield entry

    def extend_hashes(self, leaves: Iterable[bytes]) -> None:
        """Append entries by their leaf hashes: for a rebuild whose bytes are checked elsewhere."""
        self._leaves.extend(leaves)

    def root(self) -> bytes:
        return bytes(self.get_root())

    def folded(self) -> "GrowingTree":
        """Return the same tree, of which only its perfect subtrees are remembered."""
        size, at, nodes = self._get_size(), 0, []
        while at < size:
            width = 1 << ((size - at).bit_length() - 1)
            nodes.append(self._subroot(at, width))
            at += width
        return GrowingTree(Frontier(size=size, nodes=tuple(nodes)))

    def agree(self, frontier: Frontier) -> None:
        """Return if `frontier` is what pymerkle computes for its size; else raise TreeDisagrees."""
        if frontier.size != self._get_size() or frontier.root() != self.root():
            raise TreeDisagrees
        at = 0
        for node in frontier.nodes:
            width = 1 << ((frontier.size - at).bit_length() - 1)
            if self._subroot(at, width) != node:
                raise TreeDisagrees
            at += width

    # pymerkle's storage interface. Its leaf indexes count from 1, its offsets from 0.

    def _get_root(self, start: int, end: int) -> bytes:
        if start == end:
            return bytes(self.hash_empty())
        roots: list[bytes] = []
        while start < end:
            width = 1 << ((end - start).bit_length() - 1)
            roots.append(self._subroot(start, width))
            start += width
        root = roots.pop()
        while roots:
            root = bytes(self.hash_pair(roots.pop(), root))
        return root

    def _subroot(self, offset: int, width: int) -> bytes:
        agreed = self._agreed.get((offset, width))
        if agreed is not None:
            return agreed
        if offset >= self._base:
            return bytes(self._get_subroot_uncached(offset, width))
        half = width // 2
        left, right = self._subroot(offset, half), self._subroot(offset + half, half)
        return bytes(self.hash_pair(left, right))

    def _encode_entry(self, data: Any) -> bytes:
        return bytes(data)

    def _store_leaf(self, data: Any, digest: bytes) -> int:
        del data
        self._leaves.append(digest)
        return self._get_size()

    def _get_leaf(self, index: int) -> bytes:
        return self._leaves[index - 1 - self._base]

    def _get_leaves(self, offset: int, width: int) -> Sequence[bytes]:
        begin = offset - self._base
        if begin < 0:
            raise TreeDisagrees("pymerkle asked for a leaf of the agreed past")
        return self._leaves[begin : begin + width]

    def _get_size(self) -> int:
        return self._base + len(self._leaves)
