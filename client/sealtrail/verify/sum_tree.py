# SPDX-License-Identifier: Apache-2.0
r"""How every attempt of a day ended, under one hash that also fixes the totals.

    key    = SHA-256("sealtrail.outcome.key.v1\0" ‖ origin ‖ 0x00 ‖ attempt_id)
    value  = u64be(attempt_index) ‖ state ‖ u64be(outcome_index) ‖ late         18 bytes
    counts = u64be(gen) ‖ u64be(deny) ‖ u64be(error) ‖ u64be(late)              32 bytes
    leaf   = SHA-256(0x20 ‖ key ‖ value)
    node   = SHA-256(0x21 ‖ left ‖ counts of left ‖ right ‖ counts of right)
    empty  = 32 zero bytes, with counts of zero

A sparse Merkle sum tree: the bits of a key, the most significant first, say where its leaf has to
be, and a subtree with one leaf is that leaf. So one root holds one outcome for an attempt, or shows
that it has none; and each node hashes how many attempts of each state lie on either side, so that
whoever checks one path learns the totals of all.

`state` is one byte: 1 gen, 2 deny, 3 error. `late` is 0, or 1 if an outcome came after the ledger's
own timeout. The prefixes are those of no other tree of this product (RFC 6962: 0x00, 0x01; sparse
maps: 0x10, 0x11), and a leaf and a node differ in theirs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal, NamedTuple, Self

from sealtrail.verify.canonical import JSON
from sealtrail.verify.errors import Refuted, Unreadable

KEY_DOMAIN: Final = b"sealtrail.outcome.key.v1\x00"
State = Literal["gen", "deny", "error"]
STATES: Final[Mapping[str, int]] = {"gen": 1, "deny": 2, "error": 3}

#: A key has so many bits, and no path more siblings.
DEPTH: Final = 256
#: What a count or a position may be: JSON's whole numbers, and far below 64 bits.
MOST: Final = 2**53 - 1


class Counts(NamedTuple):
    """Attempts below a node by how they ended; `late` of them are errors, and counted there."""

    gen: int = 0
    deny: int = 0
    error: int = 0
    late: int = 0

    @property
    def attempts(self) -> int:
        return self.gen + self.deny + self.error

    def packed(self) -> bytes:
        """The 32 bytes that are hashed."""
        return (
            self.gen << 192 | self.deny << 128 | self.error << 64 | self.late
        ).to_bytes(32, "big")  # fmt: skip


class Outcome(NamedTuple):
    """How one attempt ended: positions of its attempt and of its outcome in the log."""

    attempt_index: int
    state: State
    outcome_index: int
    late: bool = False

    def packed(self) -> bytes:
        """The 18 bytes that are hashed."""
        return b"%b%c%b%c" % (
            self.attempt_index.to_bytes(8, "big"),
            STATES[self.state],
            self.outcome_index.to_bytes(8, "big"),
            self.late,
        )


class Node(NamedTuple):
    """The hash over a subtree, and what it counts."""

    hash: bytes
    counts: Counts


EMPTY: Final = Node(bytes(32), Counts())

_ONE: Final[Mapping[tuple[str, bool], Counts]] = {
    ("gen", False): Counts(gen=1),
    ("deny", False): Counts(deny=1),
    ("error", False): Counts(error=1),
    ("error", True): Counts(error=1, late=1),
}


class Keys:
    """Makes the keys of one log's attempts. origin: of the log, as the report names it."""

    def __init__(self, origin: str) -> None:
        self._started = sha256(KEY_DOMAIN + origin.encode() + b"\x00")

    def key(self, attempt_id: str) -> bytes:
        """The 32 bytes that say where the attempt's leaf is."""
        hashed = self._started.copy()
        hashed.update(attempt_id.encode())
        return hashed.digest()


def leaf(key: bytes, outcome: Outcome) -> Node:
    """The subtree that holds one attempt."""
    hashed = sha256(b"\x20" + key + outcome.packed()).digest()
    return Node(hashed, _ONE[outcome.state, outcome.late])


def node(left: Node, right: Node) -> Node:
    """The subtree of two, not both of them empty."""
    (at_left, here), (at_right, there) = left, right
    hashed = sha256(b"\x21" + at_left + here.packed() + at_right + there.packed()).digest()
    counts = Counts(here[0] + there[0], here[1] + there[1], here[2] + there[2], here[3] + there[3])
    return Node(hashed, counts)


def shared_bits(one: bytes, other: bytes) -> int:
    """How many bits two keys have in common before the first that differs."""
    differs = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
    return DEPTH - differs.bit_length()


@dataclass(frozen=True, slots=True, kw_only=True)
class SumPath:
    """The way from the root to where a key's leaf is, or would be.

    siblings: from the root down, at most 256. terminal: what lies at the end: nothing, or a key
    and its outcome; another key there shows that the wanted one has no leaf.
    """

    siblings: tuple[Node, ...]
    terminal: tuple[bytes, Outcome] | None

    def json(self) -> dict[str, JSON]:
        """As it stands in a statement."""
        whole: dict[str, JSON] = {
            "siblings": [
                {"hash": _text(hash_), **counts._asdict()} if hash_ != EMPTY.hash else None
                for hash_, counts in self.siblings
            ]
        }
        if self.terminal is not None:
            key, outcome = self.terminal
            whole["terminal"] = {"key": _text(key), **outcome._asdict()}
        return whole

    @classmethod
    def parse(cls, value: JSON) -> Self:
        """Read a path; raises Unreadable. Nothing is checked yet."""
        members = _object(value, {"siblings", "terminal"}, "A path")
        siblings = members.get("siblings")
        if not isinstance(siblings, list) or len(siblings) > DEPTH:
            raise Unreadable(f"A path has not a list of at most {DEPTH} siblings.")
        terminal = None
        if "terminal" in members:
            end = _object(members["terminal"], {"key", *Outcome._fields}, "The end of a path")
            terminal = (_hash(end.get("key")), read_outcome(end))
        return cls(siblings=tuple(map(_sibling, siblings)), terminal=terminal)


def check_path(root: bytes, key: bytes, path: SumPath) -> tuple[Outcome | None, Counts]:
    """The one outcome that `root` holds for `key`, or None, and the totals; raises Refuted.

    root: 32 bytes, that an anchored report names. Whatever a prover knows, it cannot have another
    outcome accepted for the same root and key, nor other totals: that would take two texts with
    one SHA-256.
    """
    if len(path.siblings) > DEPTH:
        raise Refuted(f"The path is longer than a key has bits, which are {DEPTH}.")
    here, outcome = EMPTY, None
    if path.terminal is not None:
        end, found = path.terminal
        if shared_bits(end, key) < len(path.siblings):
            raise Refuted("What lies at the end of the path lies elsewhere by its own key.")
        here = leaf(end, found)
        outcome = found if end == key else None
    _check_collapsed(here, path)
    walked = int.from_bytes(key, "big") >> DEPTH - len(path.siblings)
    for sibling in reversed(path.siblings):
        here = node(sibling, here) if walked & 1 else node(here, sibling)
        walked >>= 1
    if here.counts.attempts > MOST:
        raise Refuted("The counts on the path are larger than any log.")
    if here.hash != root:
        raise Refuted("The path does not lead to the root that the report names.")
    return outcome, here.counts


def _check_collapsed(end: Node, path: SumPath) -> None:
    """Return if the path ends where it has to: a subtree with one leaf is that leaf."""
    for hash_, counts in path.siblings:
        if (hash_ == EMPTY.hash) != (counts == EMPTY.counts) or counts.late > counts.error:
            raise Refuted("A sibling on the path counts what cannot be.")
    if path.siblings and end.counts.attempts + path.siblings[-1].counts.attempts < 2:
        raise Refuted("The path goes deeper than its tree: a subtree with one leaf is that leaf.")


def read_outcome(members: Mapping[str, JSON]) -> Outcome:
    """Read the members of an outcome; raises Unreadable."""
    state, late = members.get("state"), members.get("late")
    if not isinstance(state, str) or state not in STATES or not isinstance(late, bool):
        raise Unreadable("An outcome has no state of gen, deny or error, or does not say if late.")
    if late and state != "error":
        raise Unreadable("Only an attempt that the ledger itself has ended has a late outcome.")
    known: Any = state
    return Outcome(
        attempt_index=read_count(members.get("attempt_index")),
        state=known,
        outcome_index=read_count(members.get("outcome_index")),
        late=late,
    )


def read_count(value: JSON) -> int:
    """Read a count or a position: 0 to 2^53 - 1; raises Unreadable."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
        raise Unreadable("A count or position is no whole number of 0 to 2^53 - 1.")
    return value


def _sibling(value: JSON) -> Node:
    if value is None:
        return EMPTY
    members = _object(value, {"hash", *Counts._fields}, "A sibling")
    counts = Counts(*(read_count(members.get(name)) for name in Counts._fields))
    return Node(_hash(members.get("hash")), counts)


def _object(value: JSON, names: set[str], what: str) -> dict[str, JSON]:
    if not isinstance(value, dict) or not value.keys() <= names:
        raise Unreadable(f"{what} has other members than {', '.join(sorted(names))}.")
    return value


def _hash(value: JSON) -> bytes:
    if isinstance(value, str) and value.startswith("sha256:") and len(value) == len("sha256:") + 64:
        try:
            found = bytes.fromhex(value.removeprefix("sha256:"))
        except ValueError:
            found = b""
        if _text(found) == value:
            return found
    raise Unreadable("A hash is not spelled sha256: and 64 lower-case hex digits.")


def _text(digest: bytes) -> str:
    return "sha256:" + digest.hex()
