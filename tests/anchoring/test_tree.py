# SPDX-License-Identifier: GPL-3.0-or-later
"""The stored tree: every proof it gives verifies, at every size, and a second library agrees."""

import hashlib
import random

import pytest
from administrator import administrator
from house import attempt, house_in
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from anchoring.tree import Tree, consistency_parts, inclusion_parts, root_of_path
from ledger.errors import IntegrityViolation, NotFound
from ledger.tiles import Edge, load_edge
from sealtrail.verify.frontier import Frontier, inclusion_paths
from sealtrail.verify.merkle import (
    EMPTY_ROOT,
    check_consistency,
    check_inclusion,
    node_hash,
    tree_root,
)

BIG = 66_000  #: One full tile of level 1, one more of level 0, and a ragged edge.


def check_path(tree, leaves, index, size, root):
    check_inclusion(
        leaf=leaves[index], index=index, size=size, path=tree.inclusion(index, size), root=root
    )


# The arithmetic alone, against a tree that is computed the slow way


def computed(leaves, parts):
    """Compute what `parts` name from all leaves."""
    hashes = []
    for part in parts:
        *left, last = [
            tree_root(leaves[node.number << node.height : (node.number + 1) << node.height])
            for node in part
        ]
        for one in reversed(left):
            last = node_hash(one, last)
        hashes.append(last)
    return hashes


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_named_nodes_are_those_of_the_rfc(data):
    """Any index in any size, any two sizes: the nodes that we would read make valid proofs."""
    new = data.draw(st.integers(1, 300))
    leaves = [hashlib.sha256(b"%d" % n).digest() for n in range(new)]
    index = data.draw(st.integers(0, new - 1))
    old = data.draw(st.integers(1, new))

    path = computed(leaves, inclusion_parts(index, new))
    bridge = computed(leaves, consistency_parts(old, new))

    root = tree_root(leaves)
    check_inclusion(leaf=leaves[index], index=index, size=new, path=path, root=root)
    check_consistency(
        old_size=old, old_root=tree_root(leaves[:old]), new_size=new, new_root=root, path=bridge
    )


# A log that really grew, entry by entry


@pytest.fixture(scope="module")
def grown(pattern, tmp_path_factory):
    """1,200 entries in commits of many sizes, and what each commit said its root was."""
    with house_in(pattern, tmp_path_factory.mktemp("grown")) as house:
        said, leaves, sizes = {}, [], random.Random(1)
        while len(leaves) < 1200:
            count = min(sizes.choice([1, 2, 7, 64, 150, 250]), 1200 - len(leaves))
            outcomes = house.post(*[attempt() for _ in range(count)])
            leaves += [outcome.row.link.leaf for outcome in outcomes]
            head = house.book.reader.head()
            said[head.size] = head.root
        yield house, leaves, said


def test_the_root_of_each_commit_is_the_root_of_the_whole(grown):
    """Growing the frontier gives what rebuilding from all entries gives, by two libraries."""
    house, leaves, said = grown
    second = InmemoryTree(algorithm="sha256")
    for stored in house.book.reader.between(0, 1200):
        second.append_entry(stored.entry.data)

    for size, root in said.items():
        assert root == tree_root(leaves[:size]) == second.get_root(size)
        assert root == house.book.tree.root(size)


def test_every_entry_is_proved_under_sizes_around_the_edges_of_tiles(grown):
    """Full tiles, partial tiles, the ragged edge, and the last entry of each."""
    house, leaves, _ = grown
    for size in (1, 2, 3, 255, 256, 257, 511, 512, 513, 767, 768, 1023, 1024, 1025, 1199, 1200):
        root = tree_root(leaves[:size])
        spread = range(0, size, max(1, size // 16))
        for index in {0, size - 1, size // 2, *spread, *(i for i in (255, 256, 511) if i < size)}:
            check_path(house.book.tree, leaves, index, size, root)


def test_any_entry_is_proved_under_any_later_size(grown):
    """Random pairs; pymerkle gives the same path."""
    house, leaves, _ = grown
    second = InmemoryTree(algorithm="sha256")
    for stored in house.book.reader.between(0, 1200):
        second.append_entry(stored.entry.data)
    chance = random.Random(2)
    for _ in range(60):
        size = chance.randint(1, 1200)
        index = chance.randrange(size)

        path = house.book.tree.inclusion(index, size)

        check_path(house.book.tree, leaves, index, size, tree_root(leaves[:size]))
        theirs = [
            bytes.fromhex(node)
            for node in second.prove_inclusion(index + 1, size).serialize()["path"]
        ]
        assert theirs[1:] == path


def test_any_size_is_proved_to_extend_any_smaller_one(grown):
    """The consistency proofs that monitors ask for."""
    house, leaves, _ = grown
    chance = random.Random(3)
    edges = [(1, 1200), (255, 256), (256, 257), (256, 512), (512, 1024), (768, 1200), (1199, 1200)]
    pairs = [sorted(chance.sample(range(1, 1201), 2)) for _ in range(60)]
    for old, new in [*edges, *pairs]:
        check_consistency(
            old_size=old,
            old_root=tree_root(leaves[:old]),
            new_size=new,
            new_root=tree_root(leaves[:new]),
            path=house.book.tree.consistency(old, new),
        )
    assert house.book.tree.consistency(0, 1200) == []
    assert house.book.tree.consistency(700, 700) == []
    assert house.book.tree.root(0) == EMPTY_ROOT


def test_the_receipts_of_each_commit_came_without_reading_the_tree(grown):
    """A commit's own paths, computed from the frontier, are those that the tiles give later."""
    house, _, _ = grown

    outcomes = house.post(*[attempt() for _ in range(70)])

    for outcome in outcomes:
        position = outcome.row.link.position
        assert list(outcome.path) == house.book.tree.inclusion(position, outcome.size)


def test_tiles_are_served_whole_and_in_part(grown):
    """C2SP tlog-tiles: 256 hashes, or the first so many of the last tile."""
    house, leaves, _ = grown
    tree = house.book.tree

    assert tree.tile(0, 0, 256) == b"".join(leaves[:256])
    assert tree.tile(0, 4, 100) == b"".join(leaves[1024:1124])
    assert tree.tile(1, 0, 4) == b"".join(
        tree_root(leaves[n : n + 256]) for n in (0, 256, 512, 768)
    )
    with pytest.raises(NotFound):
        tree.tile(1, 0, 6)
    with pytest.raises(NotFound):
        tree.tile(0, 9, 1)


# A log so large that a tile of level 1 is full: its hashes are written in, not posted


@pytest.fixture(scope="module")
def big(pattern, tmp_path_factory):
    """66,000 made-up leaves in the real tables, and pymerkle's tree over the same."""
    entries = [b"%d" % n for n in range(BIG)]
    leaves = [hashlib.sha256(b"\0" + entry).digest() for entry in entries]
    second = InmemoryTree(algorithm="sha256")
    for entry in entries:
        second.append_entry(entry)
    with house_in(pattern, tmp_path_factory.mktemp("big")) as house, administrator(house) as admin:
        _, tiles = Edge.empty().append(leaves)
        for tile in tiles:
            admin.do(
                "INSERT INTO {b}.tile VALUES (%s, %s, %s, %s)",
                tile.level,
                tile.index,
                tile.root,
                tile.hashes,
            )
        for position in range(BIG - BIG % 256, BIG):
            admin.do(
                "INSERT INTO {b}.entry VALUES (%s, %s, '', gen_random_uuid(), %s, 1, '', 0, '')",
                position,
                leaves[position],
                f"x/{position}",
            )
        yield house, leaves, second


def test_proofs_cross_a_full_tile_of_level_1(big):
    """Inclusion, consistency, root and edge of a log of 66,000 entries, each in a few reads."""
    house, leaves, second = big
    tree = Tree(house.database, house.schema)
    chance = random.Random(4)
    near = [1, 255, 256, 65_535, 65_536, 65_537, 65_791, 65_792, 65_793, BIG - 1, BIG]
    for size in [*near, *(chance.randint(1, BIG) for _ in range(25))]:
        root = second.get_root(size)
        for index in {0, size - 1, chance.randrange(size)}:
            check_path(tree, leaves, index, size, root)
        old = chance.randint(1, size)
        check_consistency(
            old_size=old,
            old_root=second.get_root(old),
            new_size=size,
            new_root=root,
            path=tree.consistency(old, size),
        )
    assert tree.root(BIG) == second.get_root(BIG)


def test_the_edge_of_a_large_log_is_read_back_and_checked(big):
    """A writer that starts anew needs three short reads, and believes them for the head's sake."""
    house, leaves, _ = big
    frontier = Frontier.empty().append(leaves)
    expected, _ = Edge.empty().append(leaves)

    with house.database.duty(house.schema, "append") as connection:
        edge = load_edge(connection, house.schema, frontier)

    assert edge == expected
    assert frontier.nodes == Tree(house.database, house.schema).frontier_nodes(BIG)


def test_a_tile_that_is_gone_gives_no_proof_instead_of_a_wrong_one(big):
    """Whoever removed it is found by fsck; a client is told 500 and not a false path."""
    house, _, _ = big
    tree = Tree(house.database, house.schema)
    with administrator(house) as admin:
        ((root, hashes),) = admin.do(
            'SELECT root, hashes FROM {b}.tile WHERE (level, "index") = (0, 7)'
        )
        admin.do('DELETE FROM {b}.tile WHERE (level, "index") = (0, 7)')

        with pytest.raises(IntegrityViolation):
            tree.inclusion(7 * 256, BIG)

        admin.do("INSERT INTO {b}.tile VALUES (0, 7, %s, %s)", root, hashes)


def test_a_path_leads_to_the_root_of_its_size_and_no_other_leaf_does():
    """`root_of_path` is the converse of the path, for every entry of every small log."""
    leaves = [hashlib.sha256(bytes([n])).digest() for n in range(70)]
    for size in range(1, 71):
        root = tree_root(leaves[:size])
        for index, path in enumerate(inclusion_paths(Frontier.empty(), leaves[:size])):
            assert root_of_path(leaves[index], index, size, path) == root
            assert size == 1 or root_of_path(bytes(32), index, size, path) != root


def test_a_remembered_path_is_the_path_that_is_read(noon):
    """The same proofs twice, and after the log has grown: from memory and from the database."""
    noon.post(*[attempt() for _ in range(300)])
    for size in (300, 300, 520):
        if size > 300:
            noon.post(*[attempt() for _ in range(size - 300)])
        book = noon.book
        root = book.tree.root(size)
        for index in (0, 1, 255, 256, 299, size - 1):
            leaf, path = book.tree.proof(index, size)
            assert leaf == book.reader.at(index).leaf
            check_inclusion(leaf=leaf, index=index, size=size, path=path, root=root)
