# SPDX-License-Identifier: Apache-2.0
r"""Shown not to be there: a tree in which each digest has one place, whether it is taken or not.

    key   = SHA-256("sealtrail.dataset.key.v1\0" ‖ salt ‖ tag ‖ 0x00 ‖ digest)
    leaf  = SHA-256(0x10 ‖ key ‖ SHA-256(value))          value = u64be(position of the entry)
    node  = SHA-256(0x11 ‖ left ‖ right)
    empty = 32 zero bytes                                 a subtree with one leaf is that leaf

The bits of the key, most significant first, say where to turn: 0 left, 1 right. Where the walk
for a digest ends at nothing, or at the leaf of another key, the digest is not in the tree. One root
cannot show both: the two walks would be the same, and somewhere one hash would be of two things.

    root                               walk for a key 01…: siblings [n1, b], and it ends at nothing
     ├─ 0 ─┬─ 00 ── b                  walk for a key 111…: siblings [n0, c], and it ends at d,
     │     └─ 01 ── (nothing)          whose key begins with 11, too
     └─ 1 ─┬─ 10 ── c
           └─ 11 ── d

The salt keeps the tree from telling strangers which digests are in it; its commitment stands in the
entry that names the root, because another salt would lead to other places, all of them empty.
As bytes, a path is: the number of siblings (2 bytes); one bit for each of them that says whether
it is not empty (first sibling first, the last byte filled with zeros); those that are not empty;
and for the end of the walk 0x00, or 0x01 with the key and the hash of the value of the leaf there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from sealtrail.verify import base64text
from sealtrail.verify.errors import Refuted, Unreadable

HASH_BYTES: Final = 32
SALT_BYTES: Final = 32
MAX_SIBLINGS: Final = 256
VALUE_BYTES: Final = 8

#: What digests are of: the file's bytes as they are, or its picture as decoded RGB8 rows.
BYTES: Final = "bytes-sha256"
PIXELS: Final = "pixel-sha256"
TAGS: Final = (BYTES, PIXELS)

EMPTY: Final = bytes(HASH_BYTES)

_SALT: Final = b"sealtrail.dataset.salt.v1\0"
_KEY: Final = b"sealtrail.dataset.key.v1\0"
_MAX_PATH: Final = 2 + MAX_SIBLINGS // 8 + (MAX_SIBLINGS + 2) * HASH_BYTES + 1

Terminal = tuple[bytes, bytes]  # A leaf: its key and the hash of its value.


class SparseInvalid(Refuted):
    """The proof does not lead from this digest's place to the root."""


@dataclass(frozen=True, slots=True)
class SparsePath:
    """The walk to a key's place: `siblings` from the root downward, and what it ends at."""

    siblings: tuple[bytes, ...]
    terminal: Terminal | None

    def encode(self) -> bytes:
        """Print the path as bytes: about 35 for each doubling of the number of leaves."""
        marks = 0
        for sibling in self.siblings:
            marks = marks << 1 | (sibling != EMPTY)
        width = -(-len(self.siblings) // 8)
        marks <<= 8 * width - len(self.siblings)
        end = b"\x00" if self.terminal is None else b"\x01" + b"".join(self.terminal)
        shown = b"".join(sibling for sibling in self.siblings if sibling != EMPTY)
        return len(self.siblings).to_bytes(2) + marks.to_bytes(width) + shown + end

    def text(self) -> str:
        """Print the path for a JSON document, as Base64."""
        return base64text.encode(self.encode())


def parse_path(text: object) -> SparsePath:
    """Read what `SparsePath.text` printed. Raises Unreadable; each path has one spelling only."""
    if not isinstance(text, str) or len(text) > 2 * _MAX_PATH:
        raise Unreadable("A path in the proof is no text, or longer than any path.")
    return decode_path(base64text.decode(text, "A path in the proof"))


def decode_path(data: bytes) -> SparsePath:
    """Read what `SparsePath.encode` printed. Raises Unreadable unless printing gives it again."""
    count = int.from_bytes(data[:2])
    if count > MAX_SIBLINGS:
        raise Unreadable(f"A path in the proof has more than {MAX_SIBLINGS} siblings.")
    width = -(-count // 8)
    marks = int.from_bytes(data[2 : 2 + width]) >> (8 * width - count)
    at = 2 + width
    siblings = []
    for turn in reversed(range(count)):
        if marks >> turn & 1:
            siblings.append(data[at : at + HASH_BYTES])
            at += HASH_BYTES
        else:
            siblings.append(EMPTY)
    end = data[at:]
    leaf = end[1 : 1 + HASH_BYTES], end[1 + HASH_BYTES :]
    path = SparsePath(tuple(siblings), leaf if end[:1] == b"\x01" else None)
    lengths = {len(part) for part in (*siblings, *(path.terminal or ()))}
    if not lengths <= {HASH_BYTES} or path.encode() != data:
        raise Unreadable("A path in the proof is cut off, too long, or not in its one spelling.")
    return path


def salt_commitment(salt: bytes) -> bytes:
    """The 32 bytes that the entry beside the root holds for this salt."""
    _require(salt, SALT_BYTES, "A salt is 32 bytes long.")
    return sha256(_SALT + salt).digest()


def check_salt(salt: bytes, commitment: bytes) -> None:
    """Return if `salt` is the one that the ledger committed to; else raise SparseInvalid."""
    if salt_commitment(salt) != commitment:
        raise SparseInvalid(
            "The salt is not the one that the ledger committed to: under another salt every place"
            " is empty."
        )


def member_key(salt: bytes, tag: str, digest: bytes) -> bytes:
    """The place of a digest. tag: one of TAGS. digest: 32 bytes or more, nothing shorter."""
    _require(salt, SALT_BYTES, "A salt is 32 bytes long.")
    if tag not in TAGS:
        raise SparseInvalid("The proof is about a kind of digest that this version does not know.")
    if type(digest) is not bytes or len(digest) < HASH_BYTES:
        raise SparseInvalid("A digest in the proof has fewer than 256 bits.")
    return sha256(_KEY + salt + tag.encode("ascii") + b"\0" + digest).digest()


def position_value(position: int) -> bytes:
    """The value of a leaf: the position in the log of the entry that brought the digest."""
    return position.to_bytes(VALUE_BYTES)


def map_leaf(key: bytes, value: bytes) -> bytes:
    """The hash of the leaf that holds `value` at `key`."""
    return _leaf(key, sha256(value).digest())


def map_node(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees, not both of them empty and not one leaf alone."""
    return sha256(b"\x11" + left + right).digest()


def check_absent(root: bytes, key: bytes, path: SparsePath) -> None:
    """Return if nothing stands at `key` in the tree under `root`; else raise SparseInvalid.

    At most 256 siblings. The leaf at the walk's end, if there is one, has another key that begins
    with the bits of the walk.
    """
    _require(key, HASH_BYTES, "A key in the proof is not 32 bytes long.")
    end = EMPTY
    if path.terminal is not None:
        other, value_hash = path.terminal
        _require(other, HASH_BYTES, "A key in the proof is not 32 bytes long.")
        _require(value_hash, HASH_BYTES, "A hash in the proof is not 32 bytes long.")
        if other == key:
            raise SparseInvalid("The walk ends at this very digest: it is in the tree.")
        # The walk's length is checked before its bits are.
        _require_siblings(path.siblings)
        unwalked = 8 * HASH_BYTES - len(path.siblings)
        if int.from_bytes(other) >> unwalked != int.from_bytes(key) >> unwalked:
            raise SparseInvalid("The leaf at the end of the walk does not stand at this place.")
        end = _leaf(other, value_hash)
    _check_walk(root, key, end, path.siblings)


def check_present(root: bytes, key: bytes, value: bytes, siblings: Sequence[bytes]) -> None:
    """Return if `value` stands at `key` in the tree under `root`; else raise SparseInvalid."""
    _require(key, HASH_BYTES, "A key in the proof is not 32 bytes long.")
    _check_walk(root, key, map_leaf(key, value), siblings)


def check_either(root: bytes, key: bytes, path: SparsePath) -> bool:
    """Return whether something stands at `key` in the tree under `root`, as the walk shows.

    Raises SparseInvalid for a walk that shows neither.
    """
    if path.terminal is None or path.terminal[0] != key:
        check_absent(root, key, path)
        return False
    _require(path.terminal[1], HASH_BYTES, "A hash in the proof is not 32 bytes long.")
    _check_walk(root, key, _leaf(*path.terminal), path.siblings)
    return True


def _leaf(key: bytes, value_hash: bytes) -> bytes:
    return sha256(b"\x10" + key + value_hash).digest()


def _check_walk(root: bytes, key: bytes, end: bytes, siblings: Sequence[bytes]) -> None:
    _require(root, HASH_BYTES, "A root is 32 bytes long.")
    _require_siblings(siblings)
    turns = int.from_bytes(key) >> (8 * HASH_BYTES - len(siblings))
    computed = end
    for sibling in reversed(siblings):
        pair = (sibling, computed) if turns & 1 else (computed, sibling)
        computed = map_node(*pair)
        turns >>= 1
    if computed != root:
        raise SparseInvalid("The walk does not lead to the root.")


def _require_siblings(siblings: Iterable[bytes]) -> None:
    count = 0
    for sibling in siblings:
        _require(sibling, HASH_BYTES, "A hash in the proof is not 32 bytes long.")
        count += 1
    if count > MAX_SIBLINGS:
        raise SparseInvalid(f"A path in the proof has more than {MAX_SIBLINGS} siblings.")


def _require(value: bytes, length: int, sentence: str) -> None:
    if type(value) is not bytes or len(value) != length:
        raise SparseInvalid(sentence)
