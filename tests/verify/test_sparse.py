# SPDX-License-Identifier: GPL-3.0-or-later
"""The sparse tree of digests: one place for each, and no prover who can show it taken and free."""

import json
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchoring.sparse_tree import Crown, SparseBuilder, root_of, split
from ledger.errors import IntegrityViolation
from sealtrail.verify.errors import Refuted, Unreadable
from sealtrail.verify.sparse import (
    BYTES,
    EMPTY,
    MAX_SIBLINGS,
    PIXELS,
    SparseInvalid,
    SparsePath,
    check_absent,
    check_present,
    check_salt,
    decode_path,
    map_leaf,
    map_node,
    member_key,
    parse_path,
    position_value,
    salt_commitment,
)

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
WHOLE = json.loads((VECTORS / "sparse.json").read_text())
SALT = bytes.fromhex(WHOLE["salt"])
CASES = WHOLE["cases"]
NAMES = [case["name"] for case in CASES]


class Tree:
    """A tree with its buckets, as whoever built it has it."""

    def __init__(self, members):
        """members: key → position."""
        self.buckets = {}
        builder = SparseBuilder()
        for key, position in members.items():
            builder.add(key, position)
        self.crown = builder.build(self.buckets.__setitem__)
        self.root = self.crown.root

    def walk(self, key):
        return self.crown.walk(key, lambda number: split(self.buckets[number]))


def tree_of(case):
    members = {
        member_key(SALT, one["tag"], bytes.fromhex(one["digest"])): one["position"]
        for one in case["members"]
    }
    return Tree(members)


# What a second implementation says


def test_the_second_implementation_makes_the_committed_vectors(tmp_path):
    """It shares no code with us, and nobody edits a vector by hand."""
    command = [sys.executable, "-I", "-S", str(VECTORS / "make_sparse.py"), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)

    assert (tmp_path / "sparse.json").read_bytes() == (VECTORS / "sparse.json").read_bytes()
    assert salt_commitment(SALT).hex() == WHOLE["salt_commit"]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_roots_keys_and_paths_are_those_of_the_vectors(case):
    """Byte for byte, and the verifier believes each of them."""
    tree = tree_of(case)

    assert tree.root.hex() == case["root"]
    for asked in case["asked"]:
        key = member_key(SALT, asked["tag"], bytes.fromhex(asked["digest"]))
        walk = tree.walk(key)
        assert (key.hex(), walk.found) == (asked["key"], asked["position"])
        assert walk.path.encode().hex() == asked["path"]
        assert parse_path(walk.path.text()) == walk.path
        if walk.found is None:
            check_absent(tree.root, key, walk.path)
        else:
            check_present(tree.root, key, position_value(walk.found), walk.siblings)


# What the tree is


def test_a_hundred_thousand_members_need_less_than_700_bytes_of_hashes_on_average():
    """Siblings that are not empty, and the two hashes of the leaf at the end, if there is one."""
    members = {sha256(f"member {n}".encode()).digest(): n for n in range(100_000)}
    tree = Tree(members)

    sizes = []
    for number in range(1_000):
        key = sha256(f"stranger {number}".encode()).digest()
        path = tree.walk(key).path
        check_absent(tree.root, key, path)
        hashes = sum(one != EMPTY for one in path.siblings) + 2 * (path.terminal is not None)
        sizes.append(32 * hashes)

    assert 500 < fmean(sizes) < 700
    assert max(sizes) < 1_000


def test_a_stored_crown_is_the_crown():
    """Printed and read, it leads to the same root; cut off, it is refused."""
    tree = Tree({sha256(bytes([n])).digest(): n for n in range(200)} | {b"\x01" * 32: 7})

    printed = tree.crown.encode()

    assert Crown.decode(printed).root == tree.root
    with pytest.raises(IntegrityViolation):
        Crown.decode(printed[:-1])


def test_of_several_positions_the_first_stays():
    """One digest has one place, and the earliest entry is the one that tells since when."""
    key = sha256(b"a picture that came twice").digest()

    assert root_of([(key, 9), (key, 4)]) == root_of([(key, 4)]) == map_leaf(key, position_value(4))


#: Keys that agree in many bits, which random ones would not.
key_strategy = st.builds(
    lambda front, back: (front + back).ljust(32, b"\x00")[:32],
    st.binary(max_size=2),
    st.sampled_from([b"", b"\x00\x01", b"\x80", bytes(29) + b"\x01", bytes(29) + b"\x02"]),
)
members_strategy = st.dictionaries(key_strategy, st.integers(0, 2**63 - 1), max_size=20)


@given(members_strategy, key_strategy)
def test_every_key_is_shown_to_be_there_or_not(members, asked):
    """Whatever the tree looks like: the walk ends, and is believed."""
    tree = Tree(members)
    walk = tree.walk(asked)

    assert walk.found == members.get(asked)
    assert decode_path(walk.path.encode()) == walk.path
    if asked in members:
        check_present(tree.root, asked, position_value(members[asked]), walk.siblings)
    else:
        check_absent(tree.root, asked, walk.path)


# A prover who lies


@given(members_strategy.filter(bool), st.data())
def test_what_is_there_cannot_be_shown_to_be_absent(members, data):
    """The prover has the whole tree, and mixes siblings, depths and ends as it likes."""
    tree = Tree(members)
    victim = data.draw(st.sampled_from(sorted(members)))
    hashes = sorted(
        {EMPTY, tree.root}
        | {one for key in members for one in tree.walk(key).siblings}
        | {map_leaf(key, position_value(at)) for key, at in members.items()}
    )
    ends = [(key, sha256(position_value(at)).digest()) for key, at in members.items()]
    honest = tree.walk(victim).siblings
    chosen = data.draw(
        st.one_of(
            st.just(honest),
            st.lists(st.sampled_from(hashes), max_size=len(honest) + 2).map(tuple),
            st.integers(0, len(honest)).map(lambda count: honest[:count]),
            st.sampled_from(sorted(members)).map(lambda key: tree.walk(key).siblings),
        )
    )
    end = data.draw(st.one_of(st.none(), st.sampled_from(ends)))

    with pytest.raises(Refuted):
        check_absent(tree.root, victim, SparsePath(tuple(chosen), end))


@given(members_strategy, key_strategy, st.integers(0, 2**63 - 1), st.data())
def test_what_is_absent_cannot_be_shown_to_be_there(members, stranger, position, data):
    """Nor at another position than the one that is there."""
    tree = Tree(members)
    position += members.get(stranger) == position
    walks = [tree.walk(key).siblings for key in [stranger, *members]]
    siblings = data.draw(st.sampled_from(walks))

    with pytest.raises(Refuted):
        check_present(tree.root, stranger, position_value(position), siblings)


@given(st.data())
def test_no_tree_at_all_shows_both(data):
    """The prover may even build the tree: whatever node it makes up, one walk has one end."""
    key = data.draw(key_strategy)
    other = data.draw(key_strategy.filter(lambda one: one != key))
    value, empty = position_value(3), data.draw(st.booleans())
    siblings = tuple(data.draw(st.lists(st.sampled_from([EMPTY, key, other]), max_size=6)))
    root = map_leaf(key, value)
    for depth in reversed(range(len(siblings))):
        right = key[depth // 8] >> (7 - depth % 8) & 1
        pair = (siblings[depth], root) if right else (root, siblings[depth])
        root = map_node(*pair)
    check_present(root, key, value, siblings)
    end = None if empty else (other, sha256(value).digest())

    for count in range(len(siblings) + 2):
        longer = (*siblings, EMPTY)[:count]
        with pytest.raises(Refuted):
            check_absent(root, key, SparsePath(longer, end))


def test_a_made_up_salt_is_refused():
    """Under it every place is empty: without the commitment anything could be shown absent."""
    digest = sha256(b"a member").digest()
    tree = Tree({member_key(SALT, BYTES, digest): 0})
    made_up = bytes(32)
    elsewhere = member_key(made_up, BYTES, digest)

    check_absent(tree.root, elsewhere, tree.walk(elsewhere).path)
    with pytest.raises(SparseInvalid, match="not the one that the ledger committed to"):
        check_salt(made_up, salt_commitment(SALT))
    check_salt(SALT, salt_commitment(SALT))


def test_a_leaf_that_stands_elsewhere_ends_no_walk():
    """A tree that somebody built with a leaf in the wrong place proves nothing about it."""
    key, other = b"\x00" * 32, b"\xff" * 32
    misplaced = map_leaf(other, position_value(1))
    sibling = map_leaf(b"\x80" * 32, position_value(2))

    with pytest.raises(SparseInvalid, match="does not stand at this place"):
        check_absent(
            map_node(misplaced, sibling),
            key,
            SparsePath((sibling,), (other, sha256(position_value(1)).digest())),
        )


def test_the_walk_cannot_end_at_the_digest_itself():
    """That would be a proof of presence under another name."""
    key = sha256(b"a member").digest()
    tree = Tree({key: 5})

    with pytest.raises(SparseInvalid, match="it is in the tree"):
        check_absent(tree.root, key, tree.walk(key).path)


def test_no_walk_is_longer_than_a_key():
    """A longer one would go round the key again."""
    long = SparsePath((EMPTY,) * (MAX_SIBLINGS + 1), None)

    with pytest.raises(SparseInvalid, match="more than 256"):
        check_absent(bytes(32), bytes(32), long)
    with pytest.raises(SparseInvalid, match="more than 256"):
        check_present(bytes(32), bytes(32), bytes(8), long.siblings)


@pytest.mark.parametrize(
    ("tag", "digest"),
    [("sha1", bytes(32)), (BYTES, bytes(20)), (PIXELS, bytes(16))],
    ids=["unknown-kind", "160-bits", "128-bits"],
)
def test_short_or_unknown_digests_are_refused(tag, digest):
    """Whoever can find two files with one digest could have one of them in and the other out."""
    with pytest.raises(SparseInvalid):
        member_key(SALT, tag, digest)


# Paths as bytes


def damaged():
    tree = tree_of(CASES[-1])
    key = bytes.fromhex(next(q["key"] for q in CASES[-1]["asked"] if q["position"] is None))
    good = tree.walk(key).path
    data = replace(good, siblings=(*good.siblings[:-1], EMPTY)).encode()
    width = -(-len(good.siblings) // 8)
    marks = bytearray(data)
    marks[1 + width] |= 1
    spelled = bytearray(replace(good, siblings=good.siblings[:-1]).encode())
    spelled[1] += 1
    return {
        "empty": b"",
        "cut-off": data[:-1],
        "trailing-byte": data + b"\x00",
        "cut-inside-the-bits": data[:2],
        "bits-beyond-the-last-sibling": bytes(marks),
        "an-empty-sibling-shown": bytes(spelled[:-1]),
        "another-kind-of-end": data[:-65] + b"\x02" + data[-64:],
        "no-end": data[:-65],
        "too-many": (MAX_SIBLINGS + 1).to_bytes(2) + bytes(99),
    }


@pytest.mark.parametrize("name", damaged())
def test_a_path_that_is_damaged_is_unreadable(name):
    """One path has one spelling, and nothing comes after it."""
    with pytest.raises(Unreadable):
        decode_path(damaged()[name])


@pytest.mark.parametrize("text", [None, 7, "", "====", "AAA", "A" * 40_000])
def test_a_path_that_is_no_text_is_unreadable(text):
    """Whatever stands in the document."""
    with pytest.raises(Unreadable):
        parse_path(text)
