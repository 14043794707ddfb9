# SPDX-License-Identifier: Apache-2.0
"""One hash stands for a whole log: the tree that binds each entry to its position.

    leaf  = SHA-256(0x00 ‖ entry)        node = SHA-256(0x01 ‖ left ‖ right)
    empty = SHA-256("")                  a left subtree always holds the larger power of two

The two prefixes keep a node from being shown as an entry. A log of 5 entries:

                 root
               ╱      ╲
           ab─cd       e          path of entry 2 (c): d, ab, e
          ╱     ╲      │
        ab       cd    │
       ╱  ╲     ╱  ╲   │
      a    b   c    d  e

Hashes are 32 bytes each; positions count from 0 and sizes from 1. Source: RFC 9162 §2.1.
"""

from collections.abc import Sequence
from hashlib import sha256

from sealtrail.verify.errors import Refuted

HASH_BYTES = 32

#: No log grows to this size, so every size and position fits in a signed 64-bit number.
SIZE_LIMIT = 2**63

#: The root of a log without entries.
EMPTY_ROOT = sha256(b"").digest()


class ProofInvalid(Refuted):
    """The proof does not lead to the given root."""


def leaf_hash(entry: bytes) -> bytes:
    """The 32 bytes that stand for `entry`, exactly these bytes, in the tree."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two neighbouring subtrees."""
    return sha256(b"\x01" + left + right).digest()


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """The root over these leaf hashes, in this order; O(n). RFC 9162 §2.1.1."""
    if not leaves:
        return EMPTY_ROOT
    level = list(leaves)
    while len(level) > 1:
        above = [node_hash(a, b) for a, b in zip(level[::2], level[1::2], strict=False)]
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]


def check_inclusion(
    *, leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes
) -> None:
    """Return if the tree of `size` entries under `root` holds `leaf` at `index`; else raise.

    path: sibling hashes from the leaf upward, at most ceil(log2(size)) of them.
    Source: RFC 9162 §2.1.3.2. Raises ProofInvalid; never returns a truth value, so a caller
    cannot forget to look at it.
    """
    _require_hashes(root)
    if root_of_inclusion(leaf=leaf, index=index, size=size, path=path) != root:
        raise ProofInvalid("The inclusion path does not lead to the root.")


def root_of_inclusion(*, leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root to which `path` leads; for a proof whose root is known by its signature only.

    The path alone shows nothing: it leads from any leaf to some root. Neither does the root say
    how large its tree is: that has to be signed, too. Raises ProofInvalid for a path that is no
    path of a tree of this size.
    """
    _require_number(index)
    _require_number(size)
    _require_hashes(leaf, *path)
    if index >= size:
        raise ProofInvalid("The position is not inside a log of this size.")

    node, last = index, size - 1
    computed = leaf
    for sibling in path:
        if last == 0:
            raise ProofInvalid("The inclusion path is longer than the tree is high.")
        if node & 1 or node == last:
            computed = node_hash(sibling, computed)
            node, last = _skip_lone_levels(node, last)
        else:
            computed = node_hash(computed, sibling)
        node >>= 1
        last >>= 1
    if last != 0:
        raise ProofInvalid("The inclusion path is shorter than the tree is high.")
    return computed


def check_consistency(
    *, old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: Sequence[bytes]
) -> None:
    """Return if the log under `new_root` begins with the whole log under `old_root`; else raise.

    path: as RFC 9162 §2.1.4.1 makes it; empty if the sizes are equal. The empty log (`old_size`
    0) is refused: every log extends it, so such a proof would say nothing.
    Source: RFC 9162 §2.1.4.2. Raises ProofInvalid.
    """
    _require_number(old_size)
    _require_number(new_size)
    _require_hashes(old_root, new_root, *path)
    if old_size == new_size:
        _require_same(old_size, old_root, new_root, path)
        return
    if old_size == 0:
        raise ProofInvalid(_SAYS_NOTHING)
    if old_size > new_size:
        raise ProofInvalid("The later log is smaller than the earlier one.")
    if not path:
        raise ProofInvalid("The consistency path is empty although the log has grown.")

    # A perfect old tree is itself the first node, and the prover leaves it out.
    steps = [old_root, *path] if old_size & (old_size - 1) == 0 else path
    old, new = _climb(old_size, new_size, steps)
    if old != old_root:
        raise ProofInvalid("The consistency path does not lead to the earlier root.")
    if new != new_root:
        raise ProofInvalid("The consistency path does not lead to the later root.")


_SAYS_NOTHING = "Every log extends the empty one, so this proof says nothing."


def _require_same(size: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> None:
    if path:
        raise ProofInvalid("A consistency path between equal sizes must be empty.")
    if old_root != new_root:
        raise ProofInvalid("Two roots are claimed for one size of the log.")
    if size == 0:
        raise ProofInvalid(_SAYS_NOTHING)


def _climb(old_size: int, new_size: int, steps: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Both roots that follow from the last whole subtree of the old log, `steps[0]`, upward."""
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old = new = steps[0]
    for sibling in steps[1:]:
        if last == 0:
            raise ProofInvalid("The consistency path is longer than the tree is high.")
        if node & 1 or node == last:
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
            node, last = _skip_lone_levels(node, last)
        else:
            new = node_hash(new, sibling)
        node >>= 1
        last >>= 1
    if last != 0:
        raise ProofInvalid("The consistency path is shorter than the tree is high.")
    return old, new


def _skip_lone_levels(node: int, last: int) -> tuple[int, int]:
    """Climb the levels on which the rightmost node has no sibling and is passed up unchanged."""
    while node and not node & 1:
        node >>= 1
        last >>= 1
    return node, last


def _require_number(number: int) -> None:
    # `type` and not `isinstance`: True is no position.
    if type(number) is not int or not 0 <= number < SIZE_LIMIT:
        raise ProofInvalid("A position or size is not a whole number from 0 to 2^63 - 1.")


def _require_hashes(*hashes: bytes) -> None:
    for value in hashes:
        if type(value) is not bytes or len(value) != HASH_BYTES:
            raise ProofInvalid("A hash in the proof is not 32 bytes long.")
