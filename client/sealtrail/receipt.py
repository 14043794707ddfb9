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
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from sealtrail.receipt_members import (
    digest_of,
    digests_of,
    disclosures,
    hex_text,
    invalid,
    number,
    text,
    texts,
)
from sealtrail.request import Sent
from sealtrail.verify import base64text, canonical, merkle
from sealtrail.verify.disclosure import PERSON, digest, open_disclosure, salt
from sealtrail.verify.entry import LEDGER_ASSIGNED, OUTCOME_LATE, check_entry, client_part
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.note import Checkpoint, Note, VerifierKey, check_note
from sealtrail.verify.tlog_proof import MAX_PATH, TlogProof
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


def _assigned(group: str) -> frozenset[str]:
    """The members of a group of an entry that only the ledger says."""
    pointers = (pointer.split("/")[1:] for pointer in LEDGER_ASSIGNED)
    return frozenset(path[1] for path in pointers if path[0] == group and len(path) == 2)


_ASSIGNED_ACTOR: Final = _assigned("actor")
_ASSIGNED_TIME: Final = _assigned("time")

#: Longer checkpoints, in bytes, are read each time. Ours have some 200.
_REMEMBERED_MAX: Final = 4 * 1024


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
        return {"rel": rel, "id": self.event_id, "leaf": hex_text(self.leaf)}

    def wire(self) -> dict[str, Any]:
        """The receipt as the ledger sends it: JSON members, no more and no less."""
        return {
            "event_id": self.event_id,
            "origin": self.origin,
            "position": self.position,
            "leaf": hex_text(self.leaf),
            "size": self.size,
            "recorded_at": self.recorded_at,
            "entry": base64text.encode(self.entry),
            "path": [hex_text(node) for node in self.path],
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
        raise invalid("event", "The receipt is for another event.")
    entry = _entry(receipt)
    if not _is_as_sent(entry, receipt, sent):
        _check_content(entry, receipt, sent)
    _check_disclosures(receipt, sent)
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
            raise invalid("shape", "The receipt is not a JSON object.")
        if repeat and "entry" not in members and members.get("body") in ("cold", "expired"):
            raise invalid(
                "body",
                "The event was recorded long ago and its bytes have left the ledger's database: "
                "its proof stands, and nothing here can compare it with what was sent.",
            )
        entry = base64text.decode(text(members, "entry"), "The entry in a receipt")
        return Receipt(
            event_id=text(members, "event_id"),
            type="",
            origin=text(members, "origin"),
            position=number(members, "position"),
            leaf=digest_of(text(members, "leaf")),
            size=number(members, "size"),
            recorded_at=text(members, "recorded_at"),
            entry=entry,
            path=digests_of(texts(members, "path")),
            checkpoint=text(members, "checkpoint"),
            proof=text(members, "proof"),
            disclosures=disclosures(members),
            repeat=repeat,
            signature_checked=signature_checked,
        )
    except VerifyError as problem:
        raise invalid("shape", f"The receipt can not be read: {problem}") from None


def _entry(receipt: Receipt) -> dict[str, Any]:
    try:
        entry = check_entry(receipt.entry)
    except VerifyError as problem:
        raise invalid("entry", f"The entry is not in its canonical form: {problem}") from None
    if merkle.leaf_hash(receipt.entry) != receipt.leaf:
        raise invalid("leaf", "The leaf is not the hash of the entry.")
    if entry["time"]["recorded"] != receipt.recorded_at:
        raise invalid("recorded_at", "The receipt and the entry name different times.")
    return entry


def _is_as_sent(entry: dict[str, Any], receipt: Receipt, sent: Sent) -> bool:
    """Whether the entry is what was sent and, beside it, just what a ledger adds to every event.

    True says all that `_check_content` says, in one comparison. False says nothing: that goes
    through the entry member by member then, and names what is wrong.
    """
    part, actor, time = sent.part, sent.part.get("actor"), sent.part.get("time")
    if not sent.names_person or entry["type"] == OUTCOME_LATE:
        return False
    if "tenant" in part or part["aggregate"].keys() != {"id"}:
        return False
    for ours, assigned in ((actor, _ASSIGNED_ACTOR), (time, _ASSIGNED_TIME)):
        # A group that was sent empty, or says what only the ledger may, is no ordinary one.
        if ours is not None and not (ours and type(ours) is dict and assigned.isdisjoint(ours)):
            return False
    kind, who = entry["aggregate"]["type"], entry["actor"]
    if kind != AGGREGATES.get(part["type"], kind) or (
        who["kind"] == "system" and "kind" not in (actor or ())
    ):
        return False
    added = {name: who[name] for name in _ASSIGNED_ACTOR if name in who}
    expected = {
        **part,
        "tenant": entry["tenant"],
        "aggregate": {**entry["aggregate"], **part["aggregate"]},
        "actor": {"kind": who["kind"], **(actor or {}), **added},
        "time": {
            **{name: entry["time"][name] for name in _ASSIGNED_TIME if name in entry["time"]},
            **(time or {}),
        },
    }
    # To Python, 1 and true are equal: where one of the two could be either, bytes are compared.
    told = receipt.entry + sent.content
    return expected == entry and (
        (b"true" not in told and b"false" not in told)
        or canonical.encode(expected) == receipt.entry
    )


def _check_content(entry: dict[str, Any], receipt: Receipt, sent: Sent) -> None:
    """The entry says what was sent, with every personal value as our own commitment."""
    late = entry["type"] == OUTCOME_LATE
    if late and sent.part["type"] not in OUTCOMES:
        raise invalid("content", "Only an outcome can be recorded as late.")
    added = _person_of_the_token(entry, receipt, sent)
    part = client_part(entry, without_sd=added)
    expected = dict(sent.part)
    _set_aside_what_the_ledger_knows(part, expected)
    # As bytes: to Python, 1 and true are equal.
    ours, theirs = ({name: canonical.encode(one[name]) for name in one} for one in (expected, part))
    if ours != theirs:
        names = sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name))
        raise invalid("content", f"The entry differs from what was sent in {', '.join(names)}.")


def _check_disclosures(receipt: Receipt, sent: Sent) -> None:
    """What opens our commitments is what we made, and nothing else is opened but the person."""
    for name, disclosure in sent.disclosures.items():
        if receipt.disclosures.get(name) != disclosure:
            raise invalid("disclosures", "A disclosure is not the one that was sent.")
    if receipt.disclosures.keys() - sent.disclosures.keys() - {PERSON}:
        raise invalid("disclosures", "The receipt discloses what was not sent.")


def _set_aside_what_the_ledger_knows(part: dict[str, Any], expected: dict[str, Any]) -> None:
    """Take out of `part` the kind of thing the event is filed under, and the caller's kind.

    Neither has to be in a request; each must be one that fits.
    """
    kind = part["aggregate"].pop("type")
    if kind != AGGREGATES.get(expected["type"], kind):
        raise invalid("content", "The entry is filed under another kind of thing.")
    if "kind" not in expected.get("actor", {}):
        if part["actor"].pop("kind") == "system":
            raise invalid("content", "The entry says that the ledger itself was the actor.")
        if not part["actor"]:
            part.pop("actor")


def _person_of_the_token(entry: dict[str, Any], receipt: Receipt, sent: Sent) -> set[str]:
    """The digest of the person the ledger added, if we named none; there is always one."""
    if sent.names_person:
        return set()
    text = receipt.disclosures.get(PERSON)
    if text is None:
        raise invalid("person", "The entry is committed to no person.")
    try:
        its_salt, name, _ = open_disclosure(text)
    except VerifyError:
        raise invalid("person", "The person's disclosure can not be read.") from None
    if (its_salt, name) != (salt(sent.record_key, PERSON), PERSON):
        raise invalid("person", "The person is not committed with a salt of this event's key.")
    added = set(entry.get("_sd", ())) - set(sent.part.get("_sd", ()))
    if added != {digest(text)}:
        raise invalid("person", "The entry is not committed to the person that is disclosed.")
    return added


def _check_place(receipt: Receipt, trust: Trust | None) -> None:
    """The proof leads to the checkpoint, which is of this origin and signed by a trusted key."""
    said = receipt.checkpoint.encode()
    remembered = len(said) <= _REMEMBERED_MAX
    expected = TlogProof(index=receipt.position, path=receipt.path, checkpoint=said)
    try:
        given = receipt.proof.encode()
        # A proof that is printed as ours says the same; any other is read, to say what is wrong.
        same = len(receipt.path) <= MAX_PATH and given == expected.print()
        proof = expected if same else TlogProof.parse(given)
        note, checkpoint = (_opened if remembered else _opened.__wrapped__)(said)
    except VerifyError as problem:
        raise invalid("proof", f"The proof can not be read: {problem}") from None
    if proof != expected:
        raise invalid("proof", "The proof says something else than the receipt around it.")
    if (checkpoint.origin, checkpoint.size) != (receipt.origin, receipt.size):
        raise invalid("checkpoint", "The checkpoint is of another log or size.")
    if checkpoint.extensions:
        raise invalid("checkpoint", "The checkpoint holds lines that this log never writes.")
    try:
        merkle.check_inclusion(
            leaf=receipt.leaf,
            index=receipt.position,
            size=receipt.size,
            path=receipt.path,
            root=checkpoint.root,
        )
    except VerifyError as problem:
        raise invalid("inclusion", str(problem)) from None
    if trust is None:
        return
    keys = trust.keys_for(receipt.origin, receipt.size)
    if not keys:
        raise invalid("origin", "The receipt is of a log that is not trusted.")
    try:
        (_check_signed if remembered else _check_signed.__wrapped__)(note, keys)
    except VerifyError as problem:
        raise invalid("signature", str(problem)) from None


# All events of one commit come back under one checkpoint. What its exact bytes say, and that these
# keys have signed them, is the same each time; a signature that does not hold is never remembered.


@lru_cache(maxsize=64)
def _opened(said: bytes) -> tuple[Note, Checkpoint]:
    note = Note.parse(said)
    return note, Checkpoint.parse(note.text)


@lru_cache(maxsize=64)
def _check_signed(note: Note, keys: tuple[VerifierKey, ...]) -> None:
    check_note(note, keys)
