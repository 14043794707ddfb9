# SPDX-License-Identifier: GPL-3.0-or-later
"""Vectors for the sparse tree of digests, made by a second program that shares no code.

Keys are texts of bits, trees are recursion over lists of them, straight from the formulas of
docs/formats.md. It imports nothing of the product.

    python tests/vectors/make_sparse.py [folder]       writes sparse.json, by default beside it
"""

import json
import sys
from hashlib import sha256
from pathlib import Path

SALT = sha256(b"salt of the vectors").digest()
EMPTY = bytes(32)
TAGS = ("bytes-sha256", "pixel-sha256")


def u64be(number):
    return bytes((number >> shift) & 255 for shift in (56, 48, 40, 32, 24, 16, 8, 0))


def bits(key):
    return "".join(f"{byte:08b}" for byte in key)


def key_of(tag, digest):
    text = b"sealtrail.dataset.key.v1" + b"\x00" + SALT + tag.encode() + b"\x00" + digest
    return sha256(text).digest()


def leaf(key, position):
    return sha256(b"\x10" + key + sha256(u64be(position)).digest()).digest()


def root_of(leaves, depth=0):
    """leaves: (key, position) of all that begin with the same `depth` bits."""
    if not leaves:
        return EMPTY
    if len(leaves) == 1:
        return leaf(*leaves[0])
    left = [one for one in leaves if bits(one[0])[depth] == "0"]
    right = [one for one in leaves if bits(one[0])[depth] == "1"]
    return sha256(b"\x11" + root_of(left, depth + 1) + root_of(right, depth + 1)).digest()


def walk(leaves, key):
    """Siblings from the root down, and the leaf at the end, if there is one."""
    siblings = []
    while len(leaves) > 1:
        depth = len(siblings)
        near = [one for one in leaves if bits(one[0])[depth] == bits(key)[depth]]
        far = [one for one in leaves if one not in near]
        siblings.append(root_of(far, depth + 1))
        leaves = near
    return siblings, leaves[0] if leaves else None


def printed(siblings, end):
    """A path as bytes."""
    marks = "".join("0" if one == EMPTY else "1" for one in siblings)
    marks += "0" * (-len(marks) % 8)
    out = bytes([len(siblings) // 256, len(siblings) % 256])
    out += bytes(int(marks[at : at + 8], 2) for at in range(0, len(marks), 8))
    out += b"".join(one for one in siblings if one != EMPTY)
    if end is None:
        return out + b"\x00"
    return out + b"\x01" + end[0] + sha256(u64be(end[1])).digest()


def grown(start, bit_count):
    """A digest whose key shares its first bits with that of `start`, by trying."""
    wanted = bits(key_of(TAGS[0], start))[:bit_count]
    number = 0
    while True:
        digest = sha256(f"{bit_count} {number}".encode()).digest()
        if digest != start and bits(key_of(TAGS[0], digest)).startswith(wanted):
            return digest
        number += 1


def case(name, members, asked):
    leaves = sorted((key_of(tag, digest), position) for tag, digest, position in members)
    questions = []
    for tag, digest in asked:
        key = key_of(tag, digest)
        siblings, end = walk(leaves, key)
        found = end is not None and end[0] == key
        questions.append(
            {
                "tag": tag,
                "digest": digest.hex(),
                "key": key.hex(),
                "position": end[1] if found else None,
                "path": printed(siblings, end).hex(),
            }
        )
    return {
        "name": name,
        "members": [
            {"tag": tag, "digest": digest.hex(), "position": position}
            for tag, digest, position in members
        ],
        "root": root_of(leaves).hex(),
        "asked": questions,
    }


def digest(text):
    return sha256(text.encode()).digest()


def vectors():
    one, other = digest("one"), digest("other")
    near = grown(one, 12)
    both = [(tag, digest(str(n)), 2 * n) for n in range(20) for tag in TAGS]
    cases = [
        case("nothing", [], [(TAGS[0], one)]),
        case("one-leaf", [(TAGS[0], one, 7)], [(TAGS[0], one), (TAGS[0], other), (TAGS[1], one)]),
        case(
            "two-that-share-twelve-bits",
            [(TAGS[0], one, 0), (TAGS[0], near, 2**40)],
            [(TAGS[0], one), (TAGS[0], near), (TAGS[0], other)],
        ),
        case(
            "bytes-and-pixels-of-twenty",
            both,
            [(tag, digest(str(n))) for n in (0, 7, 19, 20, 21, 22) for tag in TAGS],
        ),
    ]
    commitment = sha256(b"sealtrail.dataset.salt.v1" + b"\x00" + SALT).hexdigest()
    return {"salt": SALT.hex(), "salt_commit": commitment, "cases": cases}


def main(folder):
    text = json.dumps(vectors(), indent=1, ensure_ascii=True) + "\n"
    (folder / "sparse.json").write_text(text, encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
