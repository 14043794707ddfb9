# SPDX-License-Identifier: Apache-2.0
"""What an old proof is worth today: its entry is still in the log, or a restore orphaned it.

A ledger that lost entries in a restore goes on under another origin, `<origin>/i2`, and inherits
what survived. An old proof stays true about the old log. Whether the log of today holds the same
leaf at the same position is asked of the ledger and checked here; both checkpoints are shown.

One origin that has signed an entry and no longer holds it has signed two histories: that is
refuted, whatever the ledger calls it. Source: C2SP tlog-proof; docs/formats.md §5.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from sealtrail.errors import ReceiptInvalid
from sealtrail.verify import merkle
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.note import Checkpoint, Note, open_checkpoint
from sealtrail.verify.tlog_proof import TlogProof, check_tlog_proof
from sealtrail.verify.trust import Trust

Verdict: TypeAlias = Literal["in the log", "orphaned by restore"]

_NUMBERED: Final = re.compile(r"(.+)/i([2-9]|[1-9][0-9]{1,8})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An old proof, held against the log of today."""

    verdict: Verdict
    position: int
    signed: bytes  #: The checkpoint in the old proof, a signed note.
    present: bytes  #: The newest checkpoint of the log that the ledger showed.
    proof: bytes | None  #: A new proof of the same entry, if it is in the log.

    def json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "position": self.position,
            "signed": self.signed.decode(),
            "present": self.present.decode(),
            "proof": None if self.proof is None else self.proof.decode(),
        }

    def text(self) -> str:
        """Three lines for people."""
        return (
            f"position {self.position}: {self.verdict}\n"
            f"  proof    {_line(self.signed)}\n"
            f"  log now  {_line(self.present)}\n"
        )


@dataclass(frozen=True, slots=True)
class OldProof:
    """A proof that was given before, checked: the log at `origin` has signed this entry."""

    proof: TlogProof
    leaf: bytes
    origin: str
    trust: Trust

    @classmethod
    def check(cls, proof: bytes, *, entry: bytes, trust: Trust) -> "OldProof":
        """Read a proof and the exact bytes of its entry. Raises Unreadable, or ReceiptInvalid."""
        read = TlogProof.parse(proof)
        signed = Checkpoint.parse(Note.parse(read.checkpoint).text)
        origin = signed.origin
        leaf = merkle.leaf_hash(entry)
        try:
            keys = trust.keys_for(origin, signed.size)
            check_tlog_proof(proof, leaf=leaf, origin=origin, keys=keys)
        except VerifyError as problem:
            raise ReceiptInvalid(f"The old proof does not hold: {problem}", check="old") from None
        return cls(read, leaf, origin, trust)

    def against(self, answer: Mapping[str, Any]) -> Standing:
        """Judge by what the ledger holds at the position now (`GET /v1/proofs/{position}`)."""
        try:
            new = TlogProof.parse(_text(answer, "proof").encode())
            there = bytes.fromhex(_text(answer, "leaf").removeprefix("sha256:"))
            present = self._signed(new.checkpoint)
            merkle.check_inclusion(
                leaf=there,
                index=new.index,
                size=present.size,
                path=new.path,
                root=present.root,
            )
        except (VerifyError, ValueError) as problem:
            raise ReceiptInvalid(f"The new proof does not hold: {problem}", check="new") from None
        if new.index != self.proof.index:
            raise ReceiptInvalid("The new proof is for another position.", check="new")
        if there == self.leaf:
            return self._standing("in the log", new.checkpoint, new.print())
        return self._gone(present, new.checkpoint)

    def beyond(self, note: bytes) -> Standing:
        """Judge by the newest checkpoint, under which the position does not exist."""
        try:
            present = self._signed(note)
        except VerifyError as problem:
            raise ReceiptInvalid(f"The checkpoint does not hold: {problem}", check="new") from None
        if present.size > self.proof.index:
            raise ReceiptInvalid("The ledger hides an entry that it has signed.", check="hidden")
        return self._gone(present, note)

    def _signed(self, note: bytes) -> Checkpoint:
        """What a note of the present log says; its origin must be ours or inherit from it."""
        told = Checkpoint.parse(Note.parse(note).text)
        origin = told.origin
        if not inherits(origin, self.origin):
            raise ReceiptInvalid("The answer is about another log.", check="origin")
        keys = self.trust.keys_for(origin, told.size)
        if not keys:
            raise ReceiptInvalid("The log goes on under an untrusted origin.", check="origin")
        _, checkpoint = open_checkpoint(note, origin=origin, keys=keys)
        return checkpoint

    def _gone(self, present: Checkpoint, note: bytes) -> Standing:
        if present.origin == self.origin:
            raise ReceiptInvalid(
                "The log has signed this entry and no longer holds it: two histories.",
                check="history",
            )
        return self._standing("orphaned by restore", note, None)

    def _standing(self, verdict: Verdict, note: bytes, proof: bytes | None) -> Standing:
        return Standing(
            verdict=verdict,
            position=self.proof.index,
            signed=self.proof.checkpoint,
            present=note,
            proof=proof,
        )


def inherits(origin: str, old: str) -> bool:
    """Whether the log at `origin` is that at `old`, or a later incarnation of it."""
    found, before = _NUMBERED.fullmatch(origin), _NUMBERED.fullmatch(old)
    if origin == old:
        return True
    if found is None:
        return False
    if found[1] == old:
        return True
    return before is not None and before[1] == found[1] and int(before[2]) < int(found[2])


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if isinstance(value, str):
        return value
    raise ValueError(f"the answer's member {name} is missing or not text")


def _line(note: bytes) -> str:
    checkpoint = Checkpoint.parse(Note.parse(note).text)
    return f"{checkpoint.origin}  size {checkpoint.size}  root sha256:{checkpoint.root.hex()}"
