# SPDX-License-Identifier: Apache-2.0
"""How a log says that it changes its key: one statement, signed by the old key and by the new.

    sealtrail.key-rotation.v1
    ledger.example/acme                          origin
    ledger.example/acme+0a1b2c3d+AQ...           the old verifier key
    ledger.example/acme+4d05bbc5+AQ...           the new one
    1042                                         size: larger logs count only with the new key
    2026-02-01T00:00:00.000Z                     until then the old key signs beside the new one

It can be taken for no checkpoint: there the second line is a number and the third a hash.

The statement is in the log, as the body of KEY_ROTATED. It shows that whoever held the old key
named the new one. It makes nobody believe the new key: a thief of the old key can write such a
statement, too, about a key of his own. New keys are believed from a trust file, like the first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from sealtrail.verify import base64text, ed25519
from sealtrail.verify.errors import Refuted, Unreadable
from sealtrail.verify.note import VerifierKey

_FIRST_LINE: Final = "sealtrail.key-rotation.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """One change of a log's key."""

    origin: str
    old: VerifierKey
    new: VerifierKey
    size: int  #: Checkpoints of larger logs count only if the new key signed them.
    overlap_until: str  #: RFC 3339, UTC.

    def statement(self) -> bytes:
        """The exact bytes that both keys sign."""
        lines = (
            _FIRST_LINE,
            self.origin,
            self.old.vkey(),
            self.new.vkey(),
            str(self.size),
            self.overlap_until,
        )
        return "".join(line + "\n" for line in lines).encode()

    @classmethod
    def check(cls, body: Mapping[str, object]) -> Self:
        """Read the body of KEY_ROTATED and check both signatures.

        Raises Unreadable, ed25519.KeyRefused, or Refuted if one of the two did not sign this.
        """
        size = body.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise Unreadable("A key rotation has no size.")
        origin = _text(body, "origin")
        found = cls(
            origin=origin,
            old=VerifierKey.parse(_text(body, "old_key")),
            new=VerifierKey.parse(_text(body, "new_key")),
            size=size,
            overlap_until=_text(body, "overlap_until"),
        )
        if {found.old.name, found.new.name} != {origin} or found.old == found.new:
            raise Refuted("A key rotation names a key of another log, or one key twice.")
        for key, member in ((found.old, "old_signature"), (found.new, "new_signature")):
            signature = base64text.decode(_text(body, member), "A signature")
            ed25519.verify(public_key=key.key, message=found.statement(), signature=signature)
        return found


def _text(body: Mapping[str, object], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or "\n" in value:
        raise Unreadable(f"A key rotation has no {name}.")
    return value
