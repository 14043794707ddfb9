# SPDX-License-Identifier: Apache-2.0
"""Receipts as others read them: a signed Merkle proof in CBOR.

    receipt     18([ << protected >>, {396: {-1: [ << inclusion >> ]}}, null, signature ])
                18([ << protected >>, {396: {-2: [ << consistency >> ]}}, root, signature ])
    protected   {1: -8, 4: kid, 15: {1: origin, 2: "checkpoint/<size>"}, 395: 1}
    inclusion   [size, position, [hash, ...]]            consistency  [old size, size, [hash, ...]]
    kid         "<name>+<key id>" of the verifier key, as in trust.json, in UTF-8
    signature   Ed25519 over << ["Signature1", << protected >>, h'', root] >>

-8 is EdDSA, 395: 1 the tree of RFC 9162 with SHA-256. The root of an inclusion is not in the
receipt: it follows from the entry. No note that a log key signs begins with the byte of an array
of four, so neither signature can be shown as the other.

A root does not say how large its tree is, and the proof stands in the part that is not signed: a
stranger could show the last of 5 entries as the second of 2. So the size is signed as the subject
(claim 2), and a receipt whose proof says another one is refused.

Source: RFC 9942 §5; RFC 9943 §6 (issuer and subject); RFC 9052 §4.4; RFC 9597.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from sealtrail.verify import cbor, ed25519, merkle
from sealtrail.verify.errors import Refuted, Unreadable
from sealtrail.verify.note import HASH_LENGTH, VerifierKey, parse_decimal
from sealtrail.verify.tlog_proof import MAX_PATH

#: The first byte of every receipt: the tag of COSE_Sign1.
MARK: Final = b"\xd2"
MEDIA_TYPE: Final = "application/scitt-receipt+cose"

_SIGN1: Final = 18
_ALGORITHM, _KID, _CLAIMS, _STRUCTURE, _PROOFS = 1, 4, 15, 395, 396
_ISSUER, _SUBJECT = 1, 2
_EDDSA: Final = -8
_RFC9162_SHA256: Final = 1
_INCLUSION, _CONSISTENCY = -1, -2
_SUBJECT_PREFIX: Final = "checkpoint/"


class NotReceipt(Unreadable):
    """The bytes are not a receipt as this format writes it."""


def protected_header(*, origin: str, size: int, kid: str) -> bytes:
    """What of a receipt is signed beside the root; the same for all receipts of a checkpoint."""
    return cbor.encode(
        {
            _ALGORITHM: _EDDSA,
            _KID: kid.encode(),
            _CLAIMS: {_ISSUER: origin, _SUBJECT: f"{_SUBJECT_PREFIX}{size}"},
            _STRUCTURE: _RFC9162_SHA256,
        }
    )


def to_be_signed(protected: bytes, root: bytes) -> bytes:
    """The bytes that the log's key signs for a root (RFC 9052 §4.4)."""
    return cbor.encode(["Signature1", protected, b"", root])


@dataclass(frozen=True, slots=True, kw_only=True)
class CoseReceipt:
    """What a receipt says: exactly one of `position` and `old_size` is there."""

    origin: str
    size: int  #: Of the log whose root is signed.
    kid: str
    path: tuple[bytes, ...]
    signature: bytes
    position: int | None = None  #: Inclusion: where the entry stands.
    old_size: int | None = None  #: Consistency: of the log with which this one begins.
    root: bytes | None = None  #: Consistency: the root; of an inclusion it follows from the entry.

    @property
    def protected(self) -> bytes:
        return protected_header(origin=self.origin, size=self.size, kid=self.kid)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a receipt of at most 64 KiB, in its one spelling. Raises Unreadable."""
        whole = cbor.decode(data)
        if not isinstance(whole, cbor.Tag) or whole.number != _SIGN1:
            raise NotReceipt("This is no COSE_Sign1.")
        match whole.value:
            case [bytes() as header, {396: {**proofs}, **other}, payload, bytes() as signature]:
                pass
            case _:
                raise NotReceipt("A receipt is not: protected, proofs, payload, signature.")
        if other or len(proofs) != 1:
            raise NotReceipt("A receipt holds more than one kind of proof, or further members.")
        origin, size, kid = _header(header)
        ((kind, proof),) = proofs.items()
        first, second, path = _proof(proof)
        if kind == _INCLUSION and payload is None:
            shape: dict[str, Any] = {"position": second, "size": first}
        elif kind == _CONSISTENCY and isinstance(payload, bytes) and len(payload) == HASH_LENGTH:
            shape = {"old_size": first, "size": second, "root": payload}
        else:
            raise NotReceipt("A receipt proves neither inclusion nor consistency.")
        receipt = cls(origin=origin, kid=kid, path=path, signature=signature, **shape)
        if receipt.size != size:
            raise NotReceipt("A receipt's proof is of another size than the one that is signed.")
        if receipt.print() != data:
            raise NotReceipt("A receipt is not written in its one spelling.")
        return receipt

    def print(self) -> bytes:
        """The exact bytes of the receipt."""
        path = list(self.path)
        if self.position is not None:
            proof = {_INCLUSION: [cbor.encode([self.size, self.position, path])]}
        else:
            proof = {_CONSISTENCY: [cbor.encode([self.old_size, self.size, path])]}
        sign1 = [self.protected, {_PROOFS: proof}, self.root, self.signature]
        return cbor.encode(cbor.Tag(_SIGN1, sign1))

    def check(
        self, *, root: bytes, keys: Sequence[VerifierKey], backend: ed25519.Backend = "auto"
    ) -> VerifierKey:
        """The key among `keys` that signed this receipt over `root`; raises Refuted."""
        for key in keys:
            if (key.name, key.label()) == (self.origin, self.kid):
                ed25519.verify(
                    public_key=key.key,
                    message=to_be_signed(self.protected, root),
                    signature=self.signature,
                    backend=backend,
                )
                return key
        raise Refuted("The receipt names none of the keys that could vouch for its log.")


def check_inclusion_receipt(
    data: bytes,
    *,
    leaf: bytes,
    origin: str | None,
    keys: Sequence[VerifierKey],
    backend: ed25519.Backend = "auto",
) -> CoseReceipt:
    """The receipt in `data`, which shows that a log holds `leaf`; raises if it does not.

    leaf: 32 bytes, the hash of the exact entry. Raises Unreadable or Refuted.
    """
    receipt = _of_log(data, origin)
    receipt.check(root=root_over(receipt, leaf), keys=keys, backend=backend)
    return receipt


def check_consistency_receipt(
    data: bytes,
    *,
    old_root: bytes,
    origin: str | None,
    keys: Sequence[VerifierKey],
    backend: ed25519.Backend = "auto",
) -> CoseReceipt:
    """The receipt in `data`, which shows that a log begins with the one under `old_root`.

    old_root: of the log of `old_size` entries, from an earlier checkpoint or receipt. Raises
    Unreadable or Refuted.
    """
    receipt = _of_log(data, origin)
    if receipt.old_size is None or receipt.root is None:
        raise Refuted("This receipt proves no consistency.")
    receipt.check(root=receipt.root, keys=keys, backend=backend)
    merkle.check_consistency(
        old_size=receipt.old_size,
        old_root=old_root,
        new_size=receipt.size,
        new_root=receipt.root,
        path=receipt.path,
    )
    return receipt


def root_over(receipt: CoseReceipt, leaf: bytes) -> bytes:
    """The root to which a receipt of inclusion leads from `leaf`. Raises Refuted."""
    if receipt.position is None:
        raise Refuted("This receipt proves no inclusion.")
    return merkle.root_of_inclusion(
        leaf=leaf, index=receipt.position, size=receipt.size, path=receipt.path
    )


def _of_log(data: bytes, origin: str | None) -> CoseReceipt:
    receipt = CoseReceipt.parse(data)
    if origin is not None and receipt.origin != origin:
        raise Refuted("The receipt speaks for another log than the one expected.")
    return receipt


def _header(data: bytes) -> tuple[str, int, str]:
    """Origin, size and key of a protected header."""
    match cbor.decode(data):
        case {
            1: -8,
            4: bytes() as kid,
            15: {1: str() as origin, 2: str() as subject, **claims},
            395: 1,
            **other,
        } if not other and not claims and subject.startswith(_SUBJECT_PREFIX):
            size = parse_decimal(subject.removeprefix(_SUBJECT_PREFIX), "The size in a receipt")
            return origin, size, _text(kid)
    raise NotReceipt("A receipt's header is not: EdDSA, kid, issuer and subject, RFC9162_SHA256.")


def _proof(proofs: object) -> tuple[int, int, tuple[bytes, ...]]:
    """The two numbers and the path of the one proof in an array."""
    if not isinstance(proofs, list) or len(proofs) != 1 or not isinstance(proofs[0], bytes):
        raise NotReceipt("A receipt does not hold exactly one proof.")
    match cbor.decode(proofs[0]):
        case [int() as first, int() as second, [*path]] if (
            type(first) is int and type(second) is int and 1 <= len(path) <= MAX_PATH
        ):
            if all(isinstance(one, bytes) and len(one) == HASH_LENGTH for one in path):
                return first, second, tuple(path)
    raise NotReceipt(f"A proof is not: two numbers, and 1 to {MAX_PATH} hashes.")


def _text(kid: bytes) -> str:
    try:
        return kid.decode("utf-8")
    except UnicodeDecodeError:
        raise NotReceipt("The name of the key in a receipt is not UTF-8.") from None
