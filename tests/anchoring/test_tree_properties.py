# SPDX-License-Identifier: GPL-3.0-or-later
"""Every root and every proof of every small log, and of large ones chosen by chance.

A second implementation (tests/naive_tree.py), written from the RFC and sharing no line with ours,
says what is true. In each run, for all sizes up to 1,200: the root, every inclusion proof, and the
consistency proofs from the sizes around each power of two and some more. Every consistency proof
between any two sizes up to 400 is in each run; between any two up to 1,200 it is `scripts/soak`'s.
"""

import random
from hashlib import sha256

import pytest
from naive_tree import NaiveTree

from ledger.tiles import Edge
from sealtrail.verify.frontier import Frontier, grow
from sealtrail.verify.merkle import check_consistency, check_inclusion, tree_root

LARGEST, ALL_PAIRS = 1200, 400
LEAVES = [sha256(b"%d" % n).digest() for n in range(LARGEST)]
TREE = NaiveTree(LEAVES)
ROOTS = [TREE.root(size) for size in range(LARGEST + 1)]
PART = 200
PARTS = [range(begin, begin + PART) for begin in range(1, LARGEST, PART)]


def name(sizes):
    return f"{sizes[0]}-{sizes[-1]}"


def check_pair(old, new):
    check_consistency(
        old_size=old,
        old_root=ROOTS[old],
        new_size=new,
        new_root=ROOTS[new],
        path=TREE.consistency(old, new),
    )


def test_growing_by_one_gives_every_root():
    """The frontier grown leaf by leaf, the tree rebuilt and the RFC agree 1,200 times."""
    frontier = Frontier.empty()
    for size in range(1, LARGEST + 1):
        frontier = frontier.append([LEAVES[size - 1]])
        assert frontier.root() == ROOTS[size] == tree_root(LEAVES[:size])
        assert list(frontier.nodes) == TREE.frontier(size)


@pytest.mark.parametrize("sizes", PARTS, ids=name)
def test_every_inclusion_proof_of_every_size_verifies(sizes):
    """As the writer makes them: 720,600 paths, each leading to the root by the RFC."""
    for size in sizes:
        frontier, paths, _ = grow(Frontier.empty(), LEAVES[:size])
        assert frontier.root() == ROOTS[size]
        for index, path in enumerate(paths):
            check_inclusion(leaf=LEAVES[index], index=index, size=size, path=path, root=ROOTS[size])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 255, 256, 257, 600, 1023, 1024, 1025, 1200])
def test_our_paths_are_those_of_the_rfc(size):
    """Not only do they verify: they are the same hashes."""
    _, paths, _ = grow(Frontier.empty(), LEAVES[:size])

    assert paths == [TREE.path(index, size) for index in range(size)]


def test_every_consistency_proof_between_small_sizes_verifies():
    """All 80,200 pairs up to 400."""
    for new in range(1, ALL_PAIRS + 1):
        for old in range(1, new + 1):
            check_pair(old, new)


def test_consistency_proofs_of_every_size_verify():
    """From sizes around each power of two and from ten by chance, to every size up to 1,200."""
    chance = random.Random(1)
    edges = [n for power in range(11) for n in (2**power - 1, 2**power, 2**power + 1)]
    for new in range(ALL_PAIRS, LARGEST + 1):
        for old in {*edges, *chance.sample(range(1, new + 1), 10), new - 1, new}:
            if 0 < old <= new:
                check_pair(old, new)


@pytest.mark.soak
def test_every_consistency_proof_between_any_two_sizes_verifies():
    """The whole square: 720,600 pairs."""
    for new in range(1, LARGEST + 1):
        for old in range(1, new + 1):
            check_pair(old, new)


def test_any_batches_on_any_log_give_the_root_and_the_proofs():
    """Batches of 1 to 300 by chance: roots, inclusion paths, consistency paths and tiles."""
    chance = random.Random(2)
    for _ in range(60):
        frontier, edge, size = Frontier.empty(), Edge.empty(), 0
        while size < LARGEST:
            batch = LEAVES[size : size + chance.choice([1, 1, 2, 5, 31, 64, 255, 256, 300])]
            grown, paths, _ = grow(frontier, batch)
            bridge, (edge, tiles) = frontier.consistency(batch), edge.append(batch)
            assert grown.root() == ROOTS[grown.size]
            assert bridge == (TREE.consistency(size, grown.size) if size else [])
            for index in {0, len(batch) - 1, chance.randrange(len(batch))}:
                assert paths[index] == TREE.path(size + index, grown.size)
            for tile in tiles:
                width = 256**tile.level
                begin = tile.index * 256 * width
                hashes = [TREE.over(begin + n * width, begin + (n + 1) * width) for n in range(256)]
                assert (tile.root, tile.hashes) == (tree_root(hashes), b"".join(hashes))
            edge.check(grown)
            frontier, size = grown, grown.size


@pytest.fixture(scope="module")
def large():
    """A log of 2^20 leaves, and the roots of its perfect subtrees by plain hashing."""
    levels = [[n.to_bytes(32, "big") for n in range(2**20)]]
    while len(levels[-1]) > 1:
        row = levels[-1]
        levels.append(
            [sha256(b"\x01" + row[n] + row[n + 1]).digest() for n in range(0, len(row), 2)]
        )
    tree = NaiveTree(levels[0])
    tree.over = remembering(levels, tree.over)
    return tree


def remembering(levels, over):
    """Take perfect subtrees from what was hashed row by row, all others by the recursion."""

    def look(begin, end):
        width = end - begin
        if width & (width - 1) == 0:
            return levels[width.bit_length() - 1][begin // width]
        return over(begin, end)

    return look


def test_proofs_of_large_logs_verify(large):
    """Forty sizes by chance up to 2^20, its neighbours too: root, paths, bridges from both ends."""
    chance = random.Random(3)
    for size in [2**20, 2**20 - 1, 2**19 + 1, *(chance.randint(1, 2**20) for _ in range(40))]:
        root = large.root(size)
        batch = min(size, chance.randint(1, 64))
        begin = size - batch
        start = Frontier(size=begin, nodes=tuple(large.frontier(begin)))
        grown, paths, _ = grow(start, large.leaves[begin:size])
        assert grown.root() == root
        assert paths[0] == large.path(begin, size)
        for index in (0, size - 1, begin, chance.randrange(size), chance.randrange(size)):
            path = large.path(index, size)
            check_inclusion(leaf=large.leaves[index], index=index, size=size, path=path, root=root)
        for old in {begin, 1, size, *(chance.randint(1, size) for _ in range(5))} - {0}:
            bridge = large.consistency(old, size)
            assert old != begin or bridge == start.consistency(large.leaves[begin:size])
            check_consistency(
                old_size=old, old_root=large.root(old), new_size=size, new_root=root, path=bridge
            )
