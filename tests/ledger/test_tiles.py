# SPDX-License-Identifier: GPL-3.0-or-later
"""Tiles of 256: what a batch completes, what is left over, and whether it adds up."""

import dataclasses
import hashlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.tiles import WIDTH, Edge, Tile, TilesDisagree
from sealtrail.verify.frontier import Frontier
from sealtrail.verify.merkle import tree_root


def leaves(count, seed=0):
    return [hashlib.sha256(b"%d %d" % (seed, n)).digest() for n in range(count)]


def grow(batches):
    """Append batches one after the other: the edge, the frontier, and all tiles on the way."""
    edge, frontier, tiles = Edge.empty(), Frontier.empty(), []
    for batch in batches:
        edge, made = edge.append(batch)
        frontier = frontier.append(batch)
        tiles += made
    return edge, frontier, tiles


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 600), max_size=6))
def test_any_batches_give_the_tiles_of_the_whole(sizes):
    """How entries were batched leaves no trace in the tiles, and the edge adds up to the root."""
    everything = leaves(sum(sizes))
    cuts = [sum(sizes[:n]) for n in range(len(sizes) + 1)]
    batches = [everything[a:b] for a, b in itertools.pairwise(cuts)]

    edge, frontier, tiles = grow(batches)

    whole, _, expected = grow([everything])
    assert sorted(tiles, key=order) == sorted(expected, key=order)
    assert edge.size == len(everything)
    assert [row for row in edge.rows if row] == [row for row in whole.rows if row]
    edge.check(frontier)


def order(tile: Tile):
    return tile.level, tile.index


def test_a_full_row_of_tiles_rises_to_the_next_level():
    """65,536 leaves: 256 tiles on level 0 and one on level 1, whose hashes are their roots."""
    everything = leaves(WIDTH * WIDTH)

    edge, frontier, tiles = grow([everything[:1000], everything[1000:]])

    (above,) = [tile for tile in tiles if tile.level == 1]
    below = sorted((tile for tile in tiles if tile.level == 0), key=order)
    assert above.hashes == b"".join(tile.root for tile in below)
    assert above.root == tree_root(everything) == frontier.root()
    edge.check(frontier)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 511, 700])
def test_an_edge_with_one_wrong_hash_does_not_add_up(size):
    """What was read from the database is believed only if the head's tag vouches for it."""
    edge, frontier, _ = grow([leaves(size)])
    for level, row in enumerate(edge.rows):
        for at in range(0, len(row), 50):
            wrong = list(edge.rows)
            wrong[level] = (*row[:at], bytes(32), *row[at + 1 :])
            with pytest.raises(TilesDisagree):
                dataclasses.replace(edge, rows=tuple(wrong)).check(frontier)
    with pytest.raises(TilesDisagree):
        dataclasses.replace(edge, size=size + 1).check(frontier)
