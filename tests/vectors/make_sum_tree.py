# SPDX-License-Identifier: GPL-3.0-or-later
"""Vectors for the sum tree over outcomes, made by a second program that shares no code.

Trees are built by recursion over lists of bits written as text, straight from the formulas of
docs/formats.md. It imports nothing of the product.

    python tests/vectors/make_sum_tree.py [folder]       writes sum_tree.json, by default beside it
"""

import json
import sys
from hashlib import sha256
from pathlib import Path

ORIGIN = "ledger.example/acme"
STATES = {"gen": b"\x01", "deny": b"\x02", "error": b"\x03"}
EMPTY = (bytes(32), (0, 0, 0, 0))


def u64be(number):
    return bytes((number >> shift) & 255 for shift in (56, 48, 40, 32, 24, 16, 8, 0))


def bits(key):
    return "".join(f"{byte:08b}" for byte in key)


def key_of(attempt):
    text = b"sealtrail.outcome.key.v1" + b"\x00" + ORIGIN.encode() + b"\x00" + attempt.encode()
    return sha256(text).digest()


def value_of(attempt_index, state, outcome_index, late):
    return u64be(attempt_index) + STATES[state] + u64be(outcome_index) + bytes([int(late)])


def packed(counts):
    return b"".join(u64be(count) for count in counts)


def leaf_of(one):
    late = int(one["late"])
    value = value_of(one["attempt_index"], one["state"], one["outcome_index"], one["late"])
    counts = (*(int(one["state"] == state) for state in STATES), late)
    return sha256(b"\x20" + key_of(one["attempt_id"]) + value).digest(), counts


def node_of(left, right):
    text = b"\x21" + left[0] + packed(left[1]) + right[0] + packed(right[1])
    return sha256(text).digest(), tuple(a + b for a, b in zip(left[1], right[1], strict=True))


def tree_of(outcomes, prefix=""):
    """The hash and counts of the subtree of all keys that begin with these bits."""
    here = [one for one in outcomes if bits(key_of(one["attempt_id"])).startswith(prefix)]
    if not here:
        return EMPTY
    if len(here) == 1:
        return leaf_of(here[0])
    return node_of(tree_of(here, prefix + "0"), tree_of(here, prefix + "1"))


def path_of(outcomes, key):
    """Siblings from the root down to where the key's walk ends, and the outcome found there."""
    siblings, prefix = [], ""
    while True:
        here = [one for one in outcomes if bits(key_of(one["attempt_id"])).startswith(prefix)]
        if len(here) < 2:
            return siblings, here
        turn = bits(key)[len(prefix)]
        siblings.append(tree_of(here, prefix + ("1" if turn == "0" else "0")))
        prefix += turn


def shown(siblings, ending):
    names = ("gen", "deny", "error", "late")
    whole = {
        "siblings": [
            None
            if hashed == EMPTY[0]
            else {"hash": "sha256:" + hashed.hex(), **dict(zip(names, counts, strict=True))}
            for hashed, counts in siblings
        ]
    }
    for one in ending:
        told = {name: one[name] for name in one if name != "attempt_id"}
        whole["terminal"] = {"key": "sha256:" + key_of(one["attempt_id"]).hex(), **told}
    return whole


def outcome(number):
    state = ("gen", "deny", "error", "gen")[number % 4]
    return {
        "attempt_id": f"attempt-{number}",
        "attempt_index": 2 * number,
        "state": state,
        "outcome_index": 2 * number + 1 + 1000 * (number % 3),
        "late": state == "error" and number % 8 == 2,
    }


def case(count):
    outcomes = [outcome(number) for number in range(count)]
    root, counts = tree_of(outcomes)
    names = [one["attempt_id"] for one in outcomes] + ["attempt-of-another-day", "", "ünïcode"]
    return {
        "outcomes": outcomes,
        "root": "sha256:" + root.hex(),
        "counts": dict(zip(("gen", "deny", "error", "late"), counts, strict=True)),
        "paths": {name: shown(*path_of(outcomes, key_of(name))) for name in names},
    }


def main(folder):
    whole = {
        "origin": ORIGIN,
        "keys": {name: key_of(name).hex() for name in ("", "attempt-0", "a/b:c", "ünïcode")},
        "values": [
            {"of": [1, "gen", 2, False], "bytes": value_of(1, "gen", 2, False).hex()},
            {
                "of": [2**53 - 1, "error", 256, True],
                "bytes": value_of(2**53 - 1, "error", 256, True).hex(),
            },
        ],
        "trees": [case(count) for count in (0, 1, 2, 3, 8, 21)],
    }
    text = json.dumps(whole, indent=1, ensure_ascii=True) + "\n"
    (folder / "sum_tree.json").write_text(text, encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
