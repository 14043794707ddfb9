# SPDX-License-Identifier: Apache-2.0
"""Signed notes and checkpoints: what a log says about itself, and who signed it.

A note is text that ends in a newline, an empty line, and one line per signature. A checkpoint is
a note whose text is: origin, size, root.

    ledger.example/acme                                  origin
    1042                                                 size: how many entries
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=         root: 32 bytes

    — ledger.example/acme Az3grlgtzPICa5OS...            key id (4 bytes) ‖ signature

    key id = SHA-256(name ‖ 0x0A ‖ algorithm ‖ public key)[:4]

Every parser here prints what it read and compares; what does not come out equal is refused.
Source: C2SP signed-note and tlog-checkpoint.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from sealtrail.verify import base64text, ed25519
from sealtrail.verify.errors import Incomplete, Refuted, Unreadable

ED25519: Final = 0x01
MAX_NOTE: Final = 1024 * 1024
MAX_SIGNATURES: Final = 100
KEY_ID_LENGTH: Final = 4
HASH_LENGTH: Final = 32

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_VKEY: Final = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})")
_CONTROL: Final = re.compile(r"[\x00-\x1f]")
_DASH: Final = "\u2014"


class NoteRefused(Refuted):
    """The note is not signed as it would have to be."""


def key_id(name: str, algorithm: int, key: bytes) -> bytes:
    """The four bytes that name a key in a signature line; a label, not a fingerprint."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([algorithm]) + key).digest()[:KEY_ID_LENGTH]


def parse_decimal(text: str, what: str) -> int:
    """The number that `text` spells: ASCII digits, no sign, no leading zero, below 10^19."""
    if not _DECIMAL.fullmatch(text):
        raise Unreadable(f"{what} is not a plain decimal number.")
    return int(text)


def _check_name(name: str) -> None:
    if not name or "+" in name or _CONTROL.search(name) or any(c.isspace() for c in name):
        raise Unreadable("A key name is empty or holds a space, a plus or a control character.")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """A public key under a name, written `name+keyid+base64(algorithm ‖ key)`."""

    name: str
    key_id: bytes
    algorithm: int
    key: bytes

    def __post_init__(self) -> None:
        """No object of this class has an impossible name, a foreign id or an unfit key."""
        _check_name(self.name)
        if self.key_id != key_id(self.name, self.algorithm, self.key):
            raise Unreadable("The id in a verifier key is not the id of its name and key.")
        if self.algorithm == ED25519:
            ed25519.check_public_key(self.key)

    @classmethod
    def ed25519(cls, name: str, public_key: bytes) -> Self:
        """Raises ed25519.KeyRefused for a key that could not bind a signature to one text."""
        return cls(
            name=name,
            key_id=key_id(name, ED25519, public_key),
            algorithm=ED25519,
            key=public_key,
        )

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """Read one verifier key. Raises Unreadable, or ed25519.KeyRefused for an unfit key."""
        match = _VKEY.fullmatch(vkey)
        if match is None:
            raise Unreadable("A verifier key is not of the form name+id+key.")
        data = base64text.decode(match[3], "The key in a verifier key")
        key = cls(name=match[1], key_id=bytes.fromhex(match[2]), algorithm=data[0], key=data[1:])
        if key.vkey() != vkey:
            raise Unreadable("A verifier key is not written in its one spelling.")
        return key

    def vkey(self) -> str:
        key = base64text.encode(bytes([self.algorithm]) + self.key)
        return f"{self.name}+{self.key_id.hex()}+{key}"

    def label(self) -> str:
        """`name+keyid`: how reports name a key."""
        return f"{self.name}+{self.key_id.hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureLine:
    """One signature: who says it signed, with which key, and the signature's bytes."""

    name: str
    key_id: bytes
    signature: bytes

    def __post_init__(self) -> None:
        """No object of this class prints as anything but one signature line."""
        _check_name(self.name)
        if len(self.key_id) != KEY_ID_LENGTH or not self.signature:
            raise Unreadable("A signature line has no signature after its key id.")

    @classmethod
    def parse(cls, line: str) -> Self:
        fields = line.split(" ")
        if len(fields) != 3 or fields[0] != _DASH:
            raise Unreadable("A signature line is not: dash, key name, signature.")
        data = base64text.decode(fields[2], "A signature")
        return cls(name=fields[1], key_id=data[:KEY_ID_LENGTH], signature=data[KEY_ID_LENGTH:])

    def print(self) -> str:
        """The line, with its newline."""
        return f"{_DASH} {self.name} {base64text.encode(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Text and the signatures under it. What is signed is `text`, its last newline included."""

    text: str
    signatures: tuple[SignatureLine, ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a note of at most 1 MiB and 100 signatures. Raises Unreadable."""
        if len(data) > MAX_NOTE:
            raise Unreadable(f"A note has more than {MAX_NOTE} bytes.")
        try:
            whole = data.decode("utf-8")
        except UnicodeDecodeError:
            raise Unreadable("A note is not UTF-8.") from None
        if _CONTROL.search(whole.replace("\n", "")):
            raise Unreadable("A note holds a control character.")
        text, separator, below = whole.rpartition("\n\n")
        lines = below.split("\n")
        if not separator or lines.pop() != "" or not lines:
            raise Unreadable("A note has no signature lines after an empty line.")
        if len(lines) > MAX_SIGNATURES:
            raise Unreadable(f"A note has more than {MAX_SIGNATURES} signatures.")
        note = cls(text=text + "\n", signatures=tuple(SignatureLine.parse(line) for line in lines))
        if note.print() != data:
            raise Unreadable("A note is not written in its one spelling.")
        return note

    def print(self) -> bytes:
        """The exact bytes of the note."""
        return (self.text + "\n" + "".join(line.print() for line in self.signatures)).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The state of one log: its origin, its size and the root over all its entries.

    extensions: further lines that other logs may write; nothing here gives them a meaning.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a checkpoint's note. Raises Unreadable."""
        lines = text.split("\n")
        if lines.pop() != "" or len(lines) < 3 or "" in lines or _CONTROL.search("".join(lines)):
            raise Unreadable("A checkpoint is not: origin, size, root, one line each.")
        root = base64text.decode(lines[2], "The root in a checkpoint")
        if len(root) != HASH_LENGTH:
            raise Unreadable(f"The root in a checkpoint has not {HASH_LENGTH} bytes.")
        checkpoint = cls(
            origin=lines[0],
            size=parse_decimal(lines[1], "The size in a checkpoint"),
            root=root,
            extensions=tuple(lines[3:]),
        )
        if checkpoint.print() != text:
            raise Unreadable("A checkpoint is not written in its one spelling.")
        return checkpoint

    def print(self) -> str:
        """The text to sign."""
        head = (self.origin, str(self.size), base64text.encode(self.root))
        return "".join(line + "\n" for line in head + self.extensions)


def check_note(
    note: Note, keys: Sequence[VerifierKey], *, backend: ed25519.Backend = "auto"
) -> list[VerifierKey]:
    """The keys among `keys` that signed `note`, each once, in the order of the lines.

    Lines of other keys are ignored, whoever they name. Raises NoteRefused if a line of one of
    `keys` does not verify or no line does; Incomplete if a line could only be checked with an
    algorithm that is not known here.
    """
    known = {(key.name, key.key_id): key for key in keys}
    verified: list[VerifierKey] = []
    unknown_algorithm = False
    for line in note.signatures:
        key = known.get((line.name, line.key_id))
        if key is None:
            continue
        if key.algorithm != ED25519:
            unknown_algorithm = True
            continue
        try:
            ed25519.verify(
                public_key=key.key,
                message=note.text.encode(),
                signature=line.signature,
                backend=backend,
            )
        except Refuted as refusal:
            raise NoteRefused(f"The signature of {key.label()} is wrong: {refusal}") from None
        if key not in verified:
            verified.append(key)
    if verified:
        return verified
    if unknown_algorithm:
        raise Incomplete("The note is signed only with an algorithm that is not known here.")
    raise NoteRefused("The note is not signed by any of the keys that could vouch for it.")


def open_checkpoint(
    data: bytes,
    *,
    origin: str | None,
    keys: Sequence[VerifierKey],
    backend: ed25519.Backend = "auto",
) -> tuple[Note, Checkpoint]:
    """Read a checkpoint's note and check that one of `keys` signed it.

    origin: the log it must speak for; None takes any. Raises Unreadable, NoteRefused, Incomplete.
    """
    note = Note.parse(data)
    checkpoint = Checkpoint.parse(note.text)
    if origin is not None and checkpoint.origin != origin:
        raise NoteRefused("The checkpoint speaks for another log than the one expected.")
    check_note(note, keys, backend=backend)
    return note, checkpoint
