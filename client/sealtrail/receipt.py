# SPDX-License-Identifier: Apache-2.0
"""The ledger's answer to an event, believed only after every part of it was recomputed.

    entry       canonical bytes that contain exactly what was sent, and the ledger's own members
    leaf        SHA-256(0x00 ‖ entry)
    path        leads from that leaf at `position` to the root of the checkpoint, of `size` entries
    checkpoint  names the origin and is signed by a key that `trust` gives for that origin
    proof       the same three once more as one C2SP tlog-proof file
    disclosures what opens the entry's commitments; ours are compared with our own

What a receipt does not show: that the checkpoint is the one others see, or that it was time-
stamped. Both follow later, from an anchored checkpoint.

Source: C2SP tlog-proof and tlog-checkpoint, RFC 9162 §2.1.3, RFC 9901.
"""

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sealtrail.errors import ReceiptInvalid
from sealtrail.request import Sent
from sealtrail.verify import base64text, canonical, merkle
from sealtrail.verify.disclosure import PERSON, digest, open_disclosure, salt
from sealtrail.verify.entry import OUTCOME_LATE, check_entry, client_part
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.note import Checkpoint, Note, check_note
from sealtrail.verify.tlog_proof import TlogProof
from sealtrail.verify.trust import Trust

#: No true receipt is longer, in bytes: the disclosures of a large request come back in it.
RECEIPT_MAX: Final = 8 * 1024 * 1024

#: The outcomes that the ledger may record as OUTCOME_LATE instead.
OUTCOMES: Final = frozenset({"GEN", "GEN_DENY", "GEN_ERROR"})

#: Which kind of thing an event is about. An entry filed elsewhere would escape its lifecycle: an
#: attempt that is not filed as a Generation is missing from the count of open attempts.
AGGREGATES: Final[Mapping[str, str]] = {
    "INGEST": "Asset",
    "ASSET_WITHDRAWN": "Asset",
    "TRAIN_STARTED": "TrainingRun",
    "TRAIN": "TrainingRun",
    "TRAIN_FAILED": "TrainingRun",
    "GEN_ATTEMPT": "Generation",
    "GEN": "Generation",
    "GEN_DENY": "Generation",
    "GEN_ERROR": "Generation",
    "MODERATION": "Generation",
    "EXPORT": "Export",
    "ASSET_RIGHTS_CHANGED": "Asset",
    "ASSET_CLASSIFIED": "Asset",
    "GEN_ESCALATED": "Generation",
    "HUMAN_REVIEW": "Generation",
    "HUMAN_OVERRIDE": "Generation",
    "OUTPUT_RELEASED": "Generation",
    "OUTPUT_DESTROYED": "Generation",
    "REPLAY_RUN": "Generation",
    "EXPORT_REVOKED": "Export",
    "TAKEDOWN": "Export",
    "MODEL_REGISTERED": "Model",
    "MODEL_DEPLOYED": "Model",
    "MODEL_PINNED": "Model",
    "MODEL_RETIRED": "Model",
    "POLICY_PUBLISHED": "Policy",
    "POLICY_RETIRED": "Policy",
    "PROMPT_TEMPLATE_PUBLISHED": "PromptTemplate",
    "PROMPT_TEMPLATE_RETIRED": "PromptTemplate",
    "CONSENT_TEXT_PUBLISHED": "ConsentText",
    "CONSENT_TEXT_RETIRED": "ConsentText",
    "TRANSPARENCY_TEMPLATE_PUBLISHED": "TransparencyTemplate",
    "TRANSPARENCY_TEMPLATE_RETIRED": "TransparencyTemplate",
    "CONSENT_GRANTED": "Consent",
    "CONSENT_REVOKED": "Consent",
    "CONSENT_EXPIRED": "Consent",
    "WRITER_STARTED": "Writer",
    "WRITER_HEARTBEAT": "Writer",
    "WRITER_STOPPED": "Writer",
    "CONFIG_CHANGED": "Writer",
    "RED_TEAM_RUN": "RedTeamSuite",
    "FORENSIC_DRY_RUN": "RedTeamSuite",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Proof that one event stands in one log, checked when it was made.

    position counts entries from 0; size is the number of entries under `checkpoint`. entry are
    the exact bytes that are hashed. disclosures are personal: they open the commitments. repeat
    says that the ledger had the event already. signature_checked is False if no trusted keys
    were given: then anybody could have made this receipt.
    """

    event_id: str
    type: str
    origin: str
    position: int
    leaf: bytes
    size: int
    recorded_at: str
    entry: bytes = field(repr=False)
    path: tuple[bytes, ...] = field(repr=False)
    checkpoint: str = field(repr=False)
    proof: str = field(repr=False)
    disclosures: Mapping[str, str] = field(repr=False)
    repeat: bool = False
    signature_checked: bool = False

    def link(self, rel: str) -> dict[str, str]:
        """This event as a link from another: `rel`, id and leaf, so its content is bound too."""
        return {"rel": rel, "id": self.event_id, "leaf": _hex(self.leaf)}

    def wire(self) -> dict[str, Any]:
        """The receipt as the ledger sends it: JSON members, no more and no less."""
        return {
            "event_id": self.event_id,
            "origin": self.origin,
            "position": self.position,
            "leaf": _hex(self.leaf),
            "size": self.size,
            "recorded_at": self.recorded_at,
            "entry": base64text.encode(self.entry),
            "path": [_hex(node) for node in self.path],
            "checkpoint": self.checkpoint,
            "proof": self.proof,
            "disclosures": dict(self.disclosures),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the receipt to `path` as JSON; after this returns it survives a power cut.

        Only the owner may read the file (mode 0600): the disclosures in it are personal.
        """
        target = Path(path)
        text = json.dumps(self.wire(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"
        # mkstemp makes the file with mode 0600; it takes the name only when it is whole.
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".receipt-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def check_receipt(body: bytes, sent: Sent, *, trust: Trust | None, repeat: bool) -> Receipt:
    """The receipt that `body` is, if it proves that `sent` was recorded; raises ReceiptInvalid.

    trust: the keys that may sign for each origin, from elsewhere than the ledger's answer; None
    leaves the signature unchecked, and the receipt says so. An entry of type OUTCOME_LATE in
    answer to an outcome passes: look at the receipt's `type`.
    """
    receipt = _read(body, repeat=repeat, signature_checked=trust is not None)
    if receipt.event_id != sent.event_id:
        raise _invalid("event", "The receipt is for another event.")
    entry = _entry(receipt)
    _check_content(entry, receipt, sent)
    _check_place(receipt, trust)
    return dataclasses.replace(receipt, type=entry["type"])


def _read(body: bytes, *, repeat: bool, signature_checked: bool) -> Receipt:
    """The members with their types.

    Further members are ignored: nothing relies on them, and a ledger that adds one must not
    stop every client that is older.
    """
    try:
        members = canonical.parse(body)
        if not isinstance(members, dict):
            raise _invalid("shape", "The receipt is not a JSON object.")
        if repeat and "entry" not in members and members.get("body") in ("cold", "expired"):
            raise _invalid(
                "body",
                "The event was recorded long ago and its bytes have left the ledger's database: "
                "its proof stands, and nothing here can compare it with what was sent.",
            )
        entry = base64text.decode(_text(members, "entry"), "The entry in a receipt")
        return Receipt(
            event_id=_text(members, "event_id"),
            type="",
            origin=_text(members, "origin"),
            position=_number(members, "position"),
            leaf=_hash(_text(members, "leaf")),
            size=_number(members, "size"),
            recorded_at=_text(members, "recorded_at"),
            entry=entry,
            path=tuple(_hash(node) for node in _list(members, "path")),
            checkpoint=_text(members, "checkpoint"),
            proof=_text(members, "proof"),
            disclosures=_disclosures(members),
            repeat=repeat,
            signature_checked=signature_checked,
        )
    except VerifyError as problem:
        raise _invalid("shape", f"The receipt can not be read: {problem}") from None


def _entry(receipt: Receipt) -> dict[str, Any]:
    try:
        entry = check_entry(receipt.entry)
    except VerifyError as problem:
        raise _invalid("entry", f"The entry is not in its canonical form: {problem}") from None
    if merkle.leaf_hash(receipt.entry) != receipt.leaf:
        raise _invalid("leaf", "The leaf is not the hash of the entry.")
    if entry["time"]["recorded"] != receipt.recorded_at:
        raise _invalid("recorded_at", "The receipt and the entry name different times.")
    return entry


def _check_content(entry: dict[str, Any], receipt: Receipt, sent: Sent) -> None:
    """The entry says what was sent, with every personal value as our own commitment."""
    late = entry["type"] == OUTCOME_LATE
    if late and sent.part["type"] not in OUTCOMES:
        raise _invalid("content", "Only an outcome can be recorded as late.")
    added = _person_of_the_token(entry, receipt, sent)
    part = client_part(entry, without_sd=added)
    expected = dict(sent.part)
    _set_aside_what_the_ledger_knows(part, expected)
    # As bytes: to Python, 1 and true are equal.
    ours, theirs = ({name: canonical.encode(one[name]) for name in one} for one in (expected, part))
    if ours != theirs:
        names = sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name))
        raise _invalid("content", f"The entry differs from what was sent in {', '.join(names)}.")
    for name, disclosure in sent.disclosures.items():
        if receipt.disclosures.get(name) != disclosure:
            raise _invalid("disclosures", "A disclosure is not the one that was sent.")
    if receipt.disclosures.keys() - sent.disclosures.keys() - {PERSON}:
        raise _invalid("disclosures", "The receipt discloses what was not sent.")


def _set_aside_what_the_ledger_knows(part: dict[str, Any], expected: dict[str, Any]) -> None:
    """Take out of `part` the kind of thing the event is filed under, and the caller's kind.

    Neither has to be in a request; each must be one that fits.
    """
    kind = part["aggregate"].pop("type")
    if kind != AGGREGATES.get(expected["type"], kind):
        raise _invalid("content", "The entry is filed under another kind of thing.")
    if "kind" not in expected.get("actor", {}):
        if part["actor"].pop("kind") == "system":
            raise _invalid("content", "The entry says that the ledger itself was the actor.")
        if not part["actor"]:
            part.pop("actor")


def _person_of_the_token(entry: dict[str, Any], receipt: Receipt, sent: Sent) -> set[str]:
    """The digest of the person the ledger added, if we named none; there is always one."""
    if sent.names_person:
        return set()
    text = receipt.disclosures.get(PERSON)
    if text is None:
        raise _invalid("person", "The entry is committed to no person.")
    try:
        its_salt, name, _ = open_disclosure(text)
    except VerifyError:
        raise _invalid("person", "The person's disclosure can not be read.") from None
    if (its_salt, name) != (salt(sent.record_key, PERSON), PERSON):
        raise _invalid("person", "The person is not committed with a salt of this event's key.")
    added = set(entry.get("_sd", ())) - set(sent.part.get("_sd", ()))
    if added != {digest(text)}:
        raise _invalid("person", "The entry is not committed to the person that is disclosed.")
    return added


def _check_place(receipt: Receipt, trust: Trust | None) -> None:
    """The proof leads to the checkpoint, which is of this origin and signed by a trusted key."""
    try:
        proof = TlogProof.parse(receipt.proof.encode())
        note = Note.parse(receipt.checkpoint.encode())
        checkpoint = Checkpoint.parse(note.text)
    except VerifyError as problem:
        raise _invalid("proof", f"The proof can not be read: {problem}") from None
    if proof != TlogProof(
        index=receipt.position, path=receipt.path, checkpoint=receipt.checkpoint.encode()
    ):
        raise _invalid("proof", "The proof says something else than the receipt around it.")
    if (checkpoint.origin, checkpoint.size) != (receipt.origin, receipt.size):
        raise _invalid("checkpoint", "The checkpoint is of another log or size.")
    if checkpoint.extensions:
        raise _invalid("checkpoint", "The checkpoint holds lines that this log never writes.")
    try:
        merkle.check_inclusion(
            leaf=receipt.leaf,
            index=receipt.position,
            size=receipt.size,
            path=receipt.path,
            root=checkpoint.root,
        )
    except VerifyError as problem:
        raise _invalid("inclusion", str(problem)) from None
    if trust is None:
        return
    keys = trust.keys_for(receipt.origin, receipt.size)
    if not keys:
        raise _invalid("origin", "The receipt is of a log that is not trusted.")
    try:
        check_note(note, keys)
    except VerifyError as problem:
        raise _invalid("signature", str(problem)) from None


def _text(members: dict[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise _invalid("shape", f"The receipt's member {name} is missing or not text.")
    return value


def _number(members: dict[str, Any], name: str) -> int:
    value = members.get(name)
    if type(value) is not int or value < 0:
        raise _invalid("shape", f"The receipt's member {name} is not a whole number.")
    return value


def _list(members: dict[str, Any], name: str) -> list[str]:
    value = members.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _invalid("shape", f"The receipt's member {name} is not a list of texts.")
    return value


def _disclosures(members: dict[str, Any]) -> dict[str, str]:
    value = members.get("disclosures")
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise _invalid("shape", "The receipt's member disclosures is not an object of texts.")
    return value


def _hash(text: str) -> bytes:
    digest = bytes.fromhex(text[7:]) if _is_hash(text) else b""
    if not digest:
        raise _invalid("shape", "A hash in the receipt is not sha256: and 64 digits.")
    return digest


def _is_hash(text: str) -> bool:
    digits = text.removeprefix("sha256:")
    return len(text) == 71 and len(digits) == 64 and set(digits) <= set("0123456789abcdef")


def _hex(digest: bytes) -> str:
    return f"sha256:{digest.hex()}"


def _invalid(check: str, message: str) -> ReceiptInvalid:
    return ReceiptInvalid(message, check=check)
