# SPDX-License-Identifier: GPL-3.0-or-later
"""pymerkle as the second computation: it agrees with us on the truth and on nothing else."""

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anchoring.second_opinion import GrowingTree, TreeDisagrees, day_root
from sealtrail.verify.frontier import Frontier
from sealtrail.verify.merkle import EMPTY_ROOT, leaf_hash, tree_root


def made(count):
    entries = [b'{"n":%d}' % n for n in range(count)]
    return entries, [leaf_hash(entry) for entry in entries]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 400), st.integers(0, 200))
def test_from_any_agreed_frontier_both_reach_the_same_root(agreed, new):
    """What was agreed before plus the new bytes gives the root that we signed."""
    entries, leaves = made(agreed + new)
    before = Frontier.empty().append(leaves[:agreed])
    after = Frontier.empty().append(leaves)

    tree = GrowingTree(before)
    tree.extend(entries[agreed:])

    assert tree.root() == after.root()
    tree.agree(after)


def test_the_root_of_a_day_is_over_its_own_entries_alone():
    """A day without entries has the root of nothing, SHA-256 of the empty string."""
    entries, leaves = made(37)

    assert day_root(entries) == tree_root(leaves)
    assert day_root([]) == hashlib.sha256(b"").digest() == EMPTY_ROOT


def test_entries_that_pass_by_are_appended_on_their_way():
    """One reading of the day serves both roots."""
    entries, leaves = made(50)
    tree = GrowingTree(Frontier.empty().append(leaves[:20]))

    passed = list(tree.extending(entries[20:]))

    assert passed == entries[20:]
    assert tree.root() == tree_root(leaves)


def test_one_changed_bit_anywhere_is_a_disagreement():
    """In an agreed subtree, in an entry, in a node of our own frontier, or in the size."""
    entries, leaves = made(83)
    before, after = Frontier.empty().append(leaves[:53]), Frontier.empty().append(leaves)
    chance = random.Random(1)

    def grown(agreed, tail):
        tree = GrowingTree(agreed)
        tree.extend(tail)
        return tree

    for at in range(len(before.nodes)):
        nodes = list(before.nodes)
        nodes[at] = bytes(32)
        with pytest.raises(TreeDisagrees):
            grown(Frontier(size=53, nodes=tuple(nodes)), entries[53:]).agree(after)
    for at in chance.sample(range(53, 83), 5):
        tail = [*entries[53:at], b"{}", *entries[at + 1 :]]
        with pytest.raises(TreeDisagrees):
            grown(before, tail).agree(after)
    for at in range(len(after.nodes)):
        nodes = list(after.nodes)
        nodes[at] = bytes(32)
        with pytest.raises(TreeDisagrees):
            grown(before, entries[53:]).agree(Frontier(size=83, nodes=tuple(nodes)))
    with pytest.raises(TreeDisagrees):
        grown(before, entries[53:82]).agree(after)


def test_nodes_that_only_fold_to_the_right_root_are_not_agreed():
    """A frontier is agreed node by node: the next night builds on each of them."""
    entries, leaves = made(3)
    tree = GrowingTree(Frontier.empty())
    tree.extend(entries)
    right = Frontier.empty().append(leaves)

    tree.agree(right)

    with pytest.raises(TreeDisagrees):
        tree.agree(Frontier(size=3, nodes=(right.nodes[1], right.nodes[0])))


def test_leaf_hashes_alone_rebuild_the_root_in_bounded_memory():
    """For a rebuild of the whole log whose bytes are checked elsewhere."""
    _, leaves = made(1000)
    tree = GrowingTree(Frontier.empty())

    for begin in range(0, 1000, 150):
        tree.extend_hashes(leaves[begin : begin + 150])
        tree = tree.folded()
        assert not tree._leaves

    assert tree.root() == tree_root(leaves)
    tree.agree(Frontier.empty().append(leaves))
