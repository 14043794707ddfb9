# SPDX-License-Identifier: Apache-2.0
"""One file that proves, offline, that an entry stands in a log at a certain position.

    c2sp.org/tlog-proof@v1
    extra YWdl...                                        optional, signed by nobody
    index 73894                                          the entry's position
    gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=         the path: sibling hashes, leaf upward
    ...
                                                         an empty line
    example.com/fancylog                                 the checkpoint's note, to the end
    ...

Source: C2SP tlog-proof; RFC 6962 §2.1.1 for the path.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from sealtrail.verify import base64text, ed25519, merkle
from sealtrail.verify.errors import Unreadable
from sealtrail.verify.note import (
    HASH_LENGTH,
    MAX_NOTE,
    Checkpoint,
    Note,
    VerifierKey,
    open_checkpoint,
    parse_decimal,
)

#: A tree of fewer than 10^19 entries is at most this high.
MAX_PATH: Final = 64
_MAX_FILE: Final = 2 * MAX_NOTE
FIRST_LINE: Final = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlogProof:
    """What the file says. `checkpoint` is the whole note; `extra` is authenticated by nothing."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a proof of at most 2 MiB; its checkpoint is well-formed too. Raises Unreadable."""
        if len(data) > _MAX_FILE:
            raise Unreadable(f"A proof has more than {_MAX_FILE} bytes.")
        head, separator, checkpoint = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise Unreadable("A proof's head is not ASCII.") from None
        if not separator or lines.pop(0) != FIRST_LINE:
            raise Unreadable("This is not a C2SP tlog-proof of version 1.")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = base64text.decode(lines.pop(0)[len("extra ") :], "A proof's extra data")
        if not lines or not lines[0].startswith("index "):
            raise Unreadable("A proof does not say which index it is for.")
        index = parse_decimal(lines.pop(0)[len("index ") :], "A proof's index")
        if len(lines) > MAX_PATH:
            raise Unreadable(f"A proof's path has more than {MAX_PATH} hashes.")
        proof = cls(
            index=index,
            path=tuple(parse_hash(line) for line in lines),
            checkpoint=checkpoint,
            extra=extra,
        )
        Checkpoint.parse(Note.parse(checkpoint).text)
        if proof.print() != data:
            raise Unreadable("A proof is not written in its one spelling.")
        return proof

    def print(self) -> bytes:
        """The exact bytes of the file."""
        lines = [FIRST_LINE]
        if self.extra:
            lines.append("extra " + base64text.encode(self.extra))
        lines.append(f"index {self.index}")
        lines.extend(base64text.encode(node) for node in self.path)
        return ("\n".join(lines) + "\n\n").encode() + self.checkpoint


def parse_hash(line: str) -> bytes:
    """The 32 bytes that one line of a path spells. Raises Unreadable."""
    node = base64text.decode(line, "A hash")
    if len(node) != HASH_LENGTH:
        raise Unreadable(f"A hash has not {HASH_LENGTH} bytes.")
    return node


def check_tlog_proof(
    data: bytes,
    *,
    leaf: bytes,
    origin: str | None,
    keys: Sequence[VerifierKey],
    backend: ed25519.Backend = "auto",
) -> tuple[Checkpoint, int]:
    """The checkpoint and the index under which `data` proves `leaf`; raises if it does not.

    leaf: 32 bytes, the hash of the exact entry. Raises Unreadable, Refuted (a signature or the
    path fails) or Incomplete (the only signature is of an unknown algorithm).
    """
    proof = TlogProof.parse(data)
    _, checkpoint = open_checkpoint(proof.checkpoint, origin=origin, keys=keys, backend=backend)
    merkle.check_inclusion(
        leaf=leaf,
        index=proof.index,
        size=checkpoint.size,
        path=proof.path,
        root=checkpoint.root,
    )
    return checkpoint, proof.index
