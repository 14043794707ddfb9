# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree as RFC 9162 §2.1 defines it, by recursion: a second implementation, to compare with.

It shares no line with ours. Each subtree is computed once: its leaves never change, so what is
remembered stays true while the log grows.
"""

from hashlib import sha256


class NaiveTree:
    """A log of leaf hashes that can say every root and every proof that it ever had."""

    def __init__(self, leaves=()):
        self.leaves = list(leaves)
        self._known = {}

    def __len__(self):
        return len(self.leaves)

    def append(self, leaf):
        self.leaves.append(leaf)

    def root(self, size=None):
        """MTH(D[0:size]) of §2.1.1."""
        size = len(self.leaves) if size is None else size
        return self.over(0, size) if size else sha256(b"").digest()

    def over(self, begin, end):
        """MTH(D[begin:end]); `begin` is where a subtree can begin."""
        width = end - begin
        if width == 1:
            return self.leaves[begin]
        known = self._known.get((begin, end))
        if known is None:
            middle = begin + largest_power_below(width)
            both = self.over(begin, middle) + self.over(middle, end)
            known = self._known[begin, end] = sha256(b"\x01" + both).digest()
        return known

    def path(self, index, size):
        """PATH(index, D[0:size]) of §2.1.3.1: siblings from the leaf upward."""
        begin, end, siblings = 0, size, []
        while end - begin > 1:
            middle = begin + largest_power_below(end - begin)
            if index < middle:
                siblings.append((middle, end))
                end = middle
            else:
                siblings.append((begin, middle))
                begin = middle
        return [self.over(*sibling) for sibling in reversed(siblings)]

    def consistency(self, old, new):
        """PROOF(old, D[0:new]) of §2.1.4.1."""
        begin, end, nodes, whole = 0, new, [], True
        while old != end:
            middle = begin + largest_power_below(end - begin)
            if old <= middle:
                nodes.append((middle, end))
                end = middle
            else:
                nodes.append((begin, middle))
                begin, whole = middle, False
        if not whole:
            nodes.append((begin, end))
        return [self.over(*node) for node in reversed(nodes)]

    def frontier(self, size=None):
        """The roots of the perfect subtrees from the left, one for each 1 bit of the size."""
        begin, size = 0, len(self.leaves) if size is None else size
        roots = []
        while begin < size:
            width = 1 << (size - begin).bit_length() - 1
            roots.append(self.over(begin, begin + width))
            begin += width
        return roots


def largest_power_below(number):
    """The largest power of two that is smaller than `number`."""
    return 1 << (number - 1).bit_length() - 1
