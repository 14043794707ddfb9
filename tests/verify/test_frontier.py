# SPDX-License-Identifier: GPL-3.0-or-later
"""From the frontier and the new leaves alone come the same root and paths as from all leaves."""

import json
from functools import cache
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealtrail.verify.errors import Unreadable
from sealtrail.verify.frontier import Frontier, grow, inclusion_paths
from sealtrail.verify.merkle import EMPTY_ROOT, check_consistency, check_inclusion, tree_root

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
OURS = json.loads((VECTORS / "merkle.json").read_text(encoding="ascii"))
LEAVES = [sha256(b"leaf %d" % n).digest() for n in range(131)]

#: Few leaves, so that one batch can meet many heights; sizes near powers of two above all.
heights = st.integers(0, 62).flatmap(
    lambda height: st.integers(max(0, 2**height - 70), 2**height + 70)
)
sizes = st.one_of(st.integers(0, 2**20), heights.filter(lambda size: size < 2**63 - 100))


class Twin:
    """The tree of RFC 9162 by recursion, over old subtrees of which only the root is known."""

    def __init__(self, frontier, leaves):
        self.size = frontier.size + len(leaves)
        self.known = {}
        begin = 0
        for node in frontier.nodes:
            width = 1 << ((frontier.size - begin).bit_length() - 1)
            self.known[begin, begin + width] = node
            begin += width
        for at, leaf in enumerate(leaves):
            self.known[begin + at, begin + at + 1] = leaf
        self.root = cache(self._root)

    def _root(self, begin, end):
        if (begin, end) in self.known:
            return self.known[begin, end]
        middle = begin + self.half(end - begin)
        left, right = self.root(begin, middle), self.root(middle, end)
        return sha256(b"\x01" + left + right).digest()

    @staticmethod
    def half(count):
        return 1 << ((count - 1).bit_length() - 1)

    def path(self, index):
        begin, end, path = 0, self.size, []
        while end - begin > 1:
            middle = begin + self.half(end - begin)
            if index < middle:
                path.insert(0, self.root(middle, end))
                end = middle
            else:
                path.insert(0, self.root(begin, middle))
                begin = middle
        return path

    def consistency(self, old):
        return self._consistency(old, 0, self.size, whole=True)

    def _consistency(self, old, begin, end, *, whole):
        if old == end:
            return [] if whole else [self.root(begin, end)]
        middle = begin + self.half(end - begin)
        if old <= middle:
            path = self._consistency(old, begin, middle, whole=whole)
            return [*path, self.root(middle, end)]
        path = self._consistency(old, middle, end, whole=False)
        return [*path, self.root(begin, middle)]


def frontier_of(size):
    """The frontier of a log nobody could hold: its old subtrees are any hashes."""
    nodes = tuple(sha256(b"%d:%d" % (size, at)).digest() for at in range(size.bit_count()))
    return Frontier(size=size, nodes=nodes)


def check_against_twin(frontier, leaves):
    twin = Twin(frontier, leaves)
    grown, paths, _ = grow(frontier, leaves)
    root = grown.root()

    assert root == (twin.root(0, twin.size) if twin.size else EMPTY_ROOT)
    assert paths == [twin.path(frontier.size + at) for at in range(len(leaves))]
    if frontier.size and leaves:
        path = frontier.consistency(leaves)
        assert path == twin.consistency(frontier.size)
        check_consistency(
            old_size=frontier.size,
            old_root=frontier.root(),
            new_size=grown.size,
            new_root=root,
            path=path,
        )
    for at in {0, len(leaves) // 2, len(leaves) - 1} if leaves else ():
        check_inclusion(
            leaf=leaves[at],
            index=frontier.size + at,
            size=grown.size,
            path=paths[at],
            root=root,
        )


@pytest.mark.parametrize("log", OURS["logs"], ids=lambda log: f"size-{log['size']}")
def test_the_frontier_is_that_of_the_second_implementation(log):
    """Largest subtree first, one for each 1 bit of the size."""
    leaves = [bytes.fromhex(leaf) for leaf in OURS["leaves"][: log["size"]]]

    frontier = Frontier.empty().append(leaves)

    assert [node.hex() for node in frontier.nodes] == log["frontier"]
    assert frontier.root().hex() == log["root"]
    assert [
        [step.hex() for step in path] for path in inclusion_paths(Frontier.empty(), leaves)
    ] == (log["paths"])


@pytest.mark.parametrize("old", range(131))
def test_every_batch_in_a_small_log_matches_the_naive_twin(old):
    """All sizes up to 130, grown by every number of leaves up to that size."""
    frontier = Frontier.empty().append(LEAVES[:old])

    assert frontier.root() == tree_root(LEAVES[:old])
    for new in range(old, 131):
        check_against_twin(frontier, LEAVES[old:new])
        assert frontier.append(LEAVES[old:new]).root() == tree_root(LEAVES[:new])


@given(sizes, st.integers(0, 70))
def test_a_batch_in_a_log_of_any_size_matches_the_naive_twin(size, count):
    """Up to 2^62 entries: no old leaf is ever needed, so none exists here."""
    check_against_twin(frontier_of(size), LEAVES[:count])


@given(sizes, st.integers(0, 60), st.integers(0, 60))
def test_two_batches_are_one(size, first, second):
    """The frontier does not remember how its leaves came."""
    frontier = frontier_of(size)
    leaves = LEAVES[: first + second]

    assert frontier.append(leaves[:first]).append(leaves[first:]) == frontier.append(leaves)


@given(sizes, st.integers(0, 60))
def test_growing_at_once_is_the_two_calls(size, count):
    """`grow` saves work and changes nothing."""
    frontier, leaves = frontier_of(size), LEAVES[:count]

    assert grow(frontier, leaves) == (
        frontier.append(leaves),
        inclusion_paths(frontier, leaves),
        frontier.consistency(leaves),
    )


@given(sizes, st.integers(1, 60))
def test_each_path_may_be_changed_alone(size, count):
    """No two receipts share a list that one of them could spoil."""
    paths = inclusion_paths(frontier_of(size), LEAVES[:count])
    lengths = [len(path) for path in paths]

    paths[0].append(b"spoilt")

    assert [len(path) for path in paths[1:]] == lengths[1:]


@given(sizes)
def test_a_packed_frontier_is_unpacked_again(size):
    """The head row keeps it as one string of bytes."""
    frontier = frontier_of(size)

    packed = frontier.pack()

    assert len(packed) == 32 * size.bit_count()
    assert Frontier.unpack(size, packed) == frontier


@pytest.mark.parametrize(
    ("size", "length"), [(0, 32), (1, 0), (1, 31), (1, 64), (2, 64), (3, 32), (3, 65), (-1, 32)]
)
def test_a_frontier_that_does_not_fit_its_size_is_refused(size, length):
    """A head row with a missing, further or cut hash does not reach the tree."""
    with pytest.raises(Unreadable):
        Frontier.unpack(size, bytes(length))


def test_the_largest_log_cannot_grow():
    """Positions fit in a signed 64-bit number, or there is no position."""
    frontier = frontier_of(2**63 - 1)

    with pytest.raises(Unreadable):
        frontier.append(LEAVES[:1])


def test_a_leaf_that_is_no_hash_is_refused():
    """An entry handed over in place of its hash would give a tree nobody can verify."""
    for wrong in (b"", b"entry", bytes(33)):
        with pytest.raises(ValueError, match="32 bytes"):
            grow(Frontier.empty(), [LEAVES[0], wrong])


def test_nothing_appended_changes_nothing():
    """An empty batch has no paths and proves nothing."""
    frontier = frontier_of(11)

    assert grow(frontier, []) == (frontier, [], [])
    assert frontier.append([]) == frontier
    assert inclusion_paths(frontier, []) == []
    assert frontier.consistency([]) == []
    assert Frontier.empty().consistency(LEAVES[:3]) == []
    assert Frontier.empty().root() == EMPTY_ROOT
