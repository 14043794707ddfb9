# SPDX-License-Identifier: GPL-3.0-or-later
"""A proof verifies for the one entry, position and root that it was made for."""

import base64
import json
import runpy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealtrail.verify.errors import Refuted
from sealtrail.verify.merkle import (
    EMPTY_ROOT,
    ProofInvalid,
    check_consistency,
    check_inclusion,
    leaf_hash,
    node_hash,
    tree_root,
)

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
PUBLIC = Path(__file__).resolve().parents[2] / ".." / "shared" / "vectors" / "merkle"
NAIVE = runpy.run_path(str(VECTORS / "make.py"))
OURS = json.loads((VECTORS / "merkle.json").read_text(encoding="ascii"))
LEAVES = [leaf_hash(str(n).encode()) for n in range(40)]

#: The one probe that wants roots of 12 bytes taken for roots. Ours have 32, always.
SHORT_ROOTS = "consistency/additional/sizes-are-equal-one-and-proof-is-empty.json"

needs_public = pytest.mark.skipif(
    not PUBLIC.is_dir(), reason="the public RFC 9162 probes (shared/vectors/merkle) are not here"
)


def hashes(texts):
    return [bytes.fromhex(text) for text in texts]


def test_leaves_and_nodes_are_those_of_the_second_implementation():
    """The two prefixes, and the root of nothing."""
    entries, leaves = hashes(OURS["entries"]), hashes(OURS["leaves"])

    assert [leaf_hash(entry) for entry in entries] == leaves
    assert node_hash(leaves[0], leaves[1]) == tree_root(leaves[:2])
    assert tree_root([]) == EMPTY_ROOT


@pytest.mark.parametrize("log", OURS["logs"], ids=lambda log: f"size-{log['size']}")
def test_proofs_of_the_second_implementation_verify(log):
    """Each path and each consistency path that it made is accepted."""
    leaves, size, root = hashes(OURS["leaves"]), log["size"], bytes.fromhex(log["root"])

    assert tree_root(leaves[:size]) == root
    for index, path in enumerate(log["paths"]):
        check_inclusion(leaf=leaves[index], index=index, size=size, path=hashes(path), root=root)
    for old, path in enumerate(log["consistency"], start=1):
        check_consistency(
            old_size=old,
            old_root=tree_root(leaves[:old]),
            new_size=size,
            new_root=root,
            path=hashes(path),
        )


def inclusion(index, size):
    leaves = LEAVES[:size]
    path = NAIVE["path_of"](index, leaves)
    return {
        "leaf": leaves[index],
        "index": index,
        "size": size,
        "path": path,
        "root": tree_root(leaves),
    }


def consistency(old, new):
    return {
        "old_size": old,
        "old_root": tree_root(LEAVES[:old]),
        "new_size": new,
        "new_root": tree_root(LEAVES[:new]),
        "path": NAIVE["consistency_of"](old, LEAVES[:new]),
    }


def flipped(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(st.data())
def test_one_bit_of_an_inclusion_proof_matters(data):
    """A forger cannot change leaf, root or path by a single bit."""
    size = data.draw(st.integers(1, 40))
    proof = inclusion(data.draw(st.integers(0, size - 1)), size)
    check_inclusion(**proof)
    bit = data.draw(st.integers(0, 255))
    part = data.draw(st.sampled_from(["leaf", "root", *range(len(proof["path"]))]))

    if isinstance(part, int):
        proof["path"][part] = flipped(proof["path"][part], bit)
    else:
        proof[part] = flipped(proof[part], bit)

    with pytest.raises(ProofInvalid):
        check_inclusion(**proof)


@given(st.data())
def test_one_bit_of_a_consistency_proof_matters(data):
    """A forger cannot change either root or the path by a single bit."""
    new = data.draw(st.integers(2, 40))
    proof = consistency(data.draw(st.integers(1, new)), new)
    check_consistency(**proof)
    bit = data.draw(st.integers(0, 255))
    part = data.draw(st.sampled_from(["old_root", "new_root", *range(len(proof["path"]))]))

    if isinstance(part, int):
        proof["path"][part] = flipped(proof["path"][part], bit)
    else:
        proof[part] = flipped(proof[part], bit)

    with pytest.raises(ProofInvalid):
        check_consistency(**proof)


@pytest.mark.parametrize("size", range(1, 20))
def test_a_path_proves_one_position(size):
    """The proof of one position is refused for every other, whatever the size."""
    for index in range(size):
        proof = inclusion(index, size)
        for other in range(size + 3):
            if other != index:
                with pytest.raises(ProofInvalid):
                    check_inclusion(**proof | {"index": other})


@pytest.mark.parametrize("size", range(1, 20))
def test_a_path_has_exactly_the_length_of_its_climb(size):
    """Neither a missing nor a further hash is overlooked, at either end."""
    for index in range(size):
        proof = inclusion(index, size)
        path = proof["path"]
        wrong = [[*path, proof["root"]], [proof["root"], *path], [*path, LEAVES[0]]]
        if path:
            wrong += [path[:-1], path[1:], []]
        for other in wrong:
            with pytest.raises(ProofInvalid):
                check_inclusion(**proof | {"path": other})


@pytest.mark.parametrize("new", range(1, 20))
def test_a_consistency_path_proves_one_pair_of_sizes(new):
    """Another old size, a shorter and a longer path are refused."""
    for old in range(1, new + 1):
        proof = consistency(old, new)
        for other in range(new + 2):
            if other != old:
                with pytest.raises(ProofInvalid):
                    check_consistency(**proof | {"old_size": other})
        path = proof["path"]
        for longer in ([*path, proof["new_root"]], [proof["old_root"], *path]):
            with pytest.raises(ProofInvalid):
                check_consistency(**proof | {"path": longer})
        if path:
            for shorter in (path[:-1], path[1:], []):
                with pytest.raises(ProofInvalid):
                    check_consistency(**proof | {"path": shorter})


def test_two_roots_for_one_size_are_a_fork():
    """Equal sizes need equal roots: this is how a split view shows."""
    with pytest.raises(ProofInvalid, match="Two roots"):
        check_consistency(old_size=4, old_root=LEAVES[0], new_size=4, new_root=LEAVES[1], path=[])


def test_nothing_is_proved_against_the_empty_log():
    """Every log extends the empty one, so accepting the proof would only look like a check."""
    for size, root in ((0, EMPTY_ROOT), (1, LEAVES[0])):
        with pytest.raises(ProofInvalid):
            check_consistency(
                old_size=0, old_root=EMPTY_ROOT, new_size=size, new_root=root, path=[]
            )
    with pytest.raises(ProofInvalid):
        check_inclusion(leaf=LEAVES[0], index=0, size=0, path=[], root=EMPTY_ROOT)


@pytest.mark.parametrize("number", [-1, 2**63, 10**100, True, 1.0, "1", None])
def test_positions_and_sizes_are_plain_whole_numbers(number):
    """What is no number from 0 to 2^63 - 1 is a refuted proof, not a crash."""
    for name in ("index", "size"):
        with pytest.raises(ProofInvalid):
            check_inclusion(**inclusion(0, 2) | {name: number})
    for name in ("old_size", "new_size"):
        with pytest.raises(ProofInvalid):
            check_consistency(**consistency(1, 2) | {name: number})


@pytest.mark.parametrize("wrong", [b"", bytes(31), bytes(33), "a" * 32, None, bytearray(32)])
def test_hashes_are_32_bytes(wrong):
    """A hash of another length or type is refused wherever it stands."""
    for name, value in (("leaf", wrong), ("root", wrong), ("path", [wrong])):
        with pytest.raises(ProofInvalid):
            check_inclusion(**inclusion(0, 2) | {name: value})
    for name, value in (("old_root", wrong), ("new_root", wrong), ("path", [wrong])):
        with pytest.raises(ProofInvalid):
            check_consistency(**consistency(3, 4) | {name: value})


def test_a_proof_in_the_largest_log_is_climbed_to_the_end():
    """63 levels: the last position of the largest log there can be."""
    size = 2**63 - 1
    path = [leaf_hash(bytes([level])) for level in range(62)]
    root = leaf = LEAVES[0]
    for sibling in path:
        root = node_hash(sibling, root)

    check_inclusion(leaf=leaf, index=size - 1, size=size, path=path, root=root)


def probes(kind):
    if not PUBLIC.is_dir():
        return []
    files = sorted((PUBLIC / kind).rglob("*.json"))
    return [pytest.param(path, id=str(path.relative_to(PUBLIC))) for path in files]


def probed(value):
    return base64.b64decode(value or "", validate=True)


@needs_public
@pytest.mark.parametrize("path", probes("inclusion"))
def test_the_public_inclusion_probes_agree(path):
    """98 proofs, most of them mutated: ours accepts and refuses the same."""
    probe = json.loads(path.read_text("utf-8"))
    proof = {
        "leaf": probed(probe["leafHash"]),
        "index": probe["leafIdx"],
        "size": probe["treeSize"],
        "path": [probed(item) for item in probe["proof"] or []],
        "root": probed(probe["root"]),
    }

    if probe["wantErr"]:
        with pytest.raises(Refuted):
            check_inclusion(**proof)
    else:
        check_inclusion(**proof)


@needs_public
@pytest.mark.parametrize("path", probes("consistency"))
def test_the_public_consistency_probes_agree(path):
    """98 proofs; ours differs in one, whose roots are not hashes."""
    probe = json.loads(path.read_text("utf-8"))
    proof = {
        "old_size": probe["size1"],
        "old_root": probed(probe["root1"]),
        "new_size": probe["size2"],
        "new_root": probed(probe["root2"]),
        "path": [probed(item) for item in probe["proof"] or []],
    }

    if probe["wantErr"] or str(path.relative_to(PUBLIC)) == SHORT_ROOTS:
        with pytest.raises(Refuted):
            check_consistency(**proof)
    else:
        check_consistency(**proof)


@needs_public
def test_all_196_public_probes_were_found():
    """A moved folder must not pass as a green test."""
    assert [len(probes(kind)) for kind in ("inclusion", "consistency")] == [98, 98]
