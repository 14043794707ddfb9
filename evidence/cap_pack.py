# SPDX-License-Identifier: GPL-3.0-or-later
"""The CAP evidence pack: some days of the log, in the form of the Content/Creative AI Profile v1.0.

    entries of the days ──► CAP events ──► chained, hashed, signed ──► manifest ──► signed ──► zip
                                               │
                 anchors, paths to them, statistics, completeness

    evidence_pack/manifest.json                          what is here, each file's digest
                  events/events_001.json …               arrays of at most 1,000 events
                  statistics/refusal_stats.json
                  anchors/anchor_001.json …              the log's anchors over these events
                  merkle/tree_001.json                   the tree over the events' hashes
                  merkle/proofs/ledger_proofs_001.json   each event's entry under its anchor
                  signatures/event_signatures.json       CAP's other way to sign (cap_sign.py)
                  signatures/verifier_keys.json          for convenience; pin the published one
                  signatures/pack_signature.json         over the manifest

The same question to the same log gives the same events, chain id and signatures; only the pack's id
and time are new. Values of persons are never in it: see evidence/cap_events.py.
Source: CAP v1.0 §7 to §15 and its JSON Schemas.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from anchoring.shelf import Book
from evidence.cap_anchors import anchor_files, covers_of, event_tree, proof_files
from evidence.cap_json import JSON, encode
from evidence.cap_range import CapRequest, Progress, Range, Said, range_of, say
from evidence.cap_sign import PacketKeyMissing, Signer, chained, event_hash, hash_text
from evidence.cap_statistics import completeness, refusal_stats
from ledger import clock
from ledger.errors import IntegrityViolation, TooLarge
from ledger.keys import KeyMissing
from sealtrail.verify import base64text, ed25519
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.note import VerifierKey
from sealtrail.verify.trust import Trust
from sealtrail.verify.zip import ArchiveRefused, write_zip

FOLDER: Final = "evidence_pack"
_BATCH: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltCapPack:
    """A pack that passed our own check."""

    pack_id: str  #: A UUID of version 7.
    data: bytes = field(repr=False)  #: The zip file.
    digest: bytes  #: SHA-256 of `data`.
    events: int
    complete: bool  #: Whether each attempt in it has its outcome.
    part: int
    parts: int


def build_cap_pack(
    book: Book,
    request: CapRequest,
    *,
    trust_file: Path,
    progress: Progress = lambda _done, _all: None,
) -> BuiltCapPack:
    """Build the pack of some days; about 2 ms for each entry of the range.

    Raises MalformedEvent, PacketKeyMissing if strangers could not check the signatures, BodyCold
    or BodyExpired, TooLarge, and IntegrityViolation if the ledger's own evidence does not hold.
    """
    request.check()
    signer = signer_of(book, trust_file)
    within = range_of(book, request)
    said = say(book, within, progress)
    chain_id = _chain_id(book.origin, within, said.events)
    events = list(chained(said.events, chain_id, signer))
    _check(events, signer.verifier)

    pack_id, made = str(clock.new_id()), clock.rfc3339(clock.now_ms())
    period = {
        "Start": clock.rfc3339(request.start_ms),
        "End": clock.rfc3339(request.end_ms - 1),
    }
    covers = covers_of(book, events)
    files = {
        **_event_files(events),
        **_under("anchors", anchor_files(covers, events)),
        **_under("merkle", {"tree_001.json": event_tree(events)}),
        **_under("merkle/proofs", proof_files(book, covers, events)),
        **_under("statistics", {"refusal_stats.json": refusal_stats(events, period, made)}),
        **_under("signatures", _signatures(events, signer)),
    }
    anchored = sum(covers[one["Sealtrail"]["Position"]] is not None for one in events)
    manifest = _manifest(
        book, files, events, said=said, within=within, chain_id=chain_id, anchored=anchored
    ) | {"PackID": pack_id, "GeneratedAt": made, "TimeRange": period}
    files["manifest.json"] = encode(manifest)
    files["signatures/pack_signature.json"] = encode(
        _pack_signature(files["manifest.json"], pack_id, signer)
    )
    data = _zip(files)
    return BuiltCapPack(
        pack_id=pack_id,
        data=data,
        digest=sha256(data).digest(),
        events=len(events),
        complete=manifest["CompletenessVerification"]["InvariantValid"],
        part=within.part,
        parts=within.parts,
    )


def signer_of(book: Book, trust_file: Path) -> Signer:
    """Return who signs for a Book's tenant; raises PacketKeyMissing unless the key is published."""
    origin = book.row.first_origin
    try:
        signer = Signer.of(book.keys, origin)
        published = Trust.parse(trust_file.read_bytes()).packet_keys
        if signer.verifier not in published.get(origin, ()):
            raise PacketKeyMissing
    except (KeyMissing, OSError, VerifyError) as error:
        raise PacketKeyMissing from error
    return signer


def _chain_id(origin: str, within: Range, events: Sequence[JSON]) -> str:
    """Return an id for just this chain: another one if a single event is another.

    A UUID of version 8 (RFC 9562): 122 bits of a hash over origin, range and the entries' leaves.
    """
    leaves = [one["Sealtrail"]["Leaf"] for one in events]
    digest = sha256(encode([origin, within.begin, within.end, leaves])).digest()
    value = int.from_bytes(digest[:16], "big")
    value = value & ~(0xF << 76) | 8 << 76
    return str(UUID(int=value & ~(0x3 << 62) | 0x2 << 62))


def _event_files(events: Sequence[JSON]) -> dict[str, bytes]:
    batches = [events[at : at + _BATCH] for at in range(0, len(events), _BATCH)] or [[]]
    return {
        f"events/events_{at:03d}.json": encode(list(batch)) for at, batch in enumerate(batches, 1)
    }


def _under(folder: str, files: Mapping[str, Any]) -> dict[str, bytes]:
    return {f"{folder}/{name}": encode(content) for name, content in files.items()}


def _signatures(events: Sequence[JSON], signer: Signer) -> dict[str, JSON]:
    key = signer.verifier
    return {
        "event_signatures.json": {
            "Message": "the 32 bytes of EventHash (CAP v1.0, 8.3)",
            "Signatures": {one["EventID"]: signer.over_hash(one["EventHash"]) for one in events},
        },
        "verifier_keys.json": {
            "Keys": [
                {
                    "KeyID": key.label(),
                    "Algorithm": "ED25519",
                    "PublicKey": key.key.hex(),
                    "VerifierKey": key.vkey(),
                }
            ]
        },
    }


def _manifest(
    book: Book,
    files: Mapping[str, bytes],
    events: Sequence[JSON],
    *,
    said: Said,
    within: Range,
    chain_id: str,
    anchored: int,
) -> JSON:
    totals = completeness(events)
    return {
        "PackVersion": "1.0",
        "ChainID": chain_id,
        "GeneratedBy": f"urn:cap:org:{book.row.tenant}",
        # Silver asks for a time stamp over everything, and for the invariant.
        "ConformanceLevel": (
            "Silver" if anchored == len(events) and totals["InvariantValid"] else "Bronze"
        ),
        "EventCount": len(events),
        "Checksums": {name.rpartition("/")[2]: hash_text(data) for name, data in files.items()},
        "CompletenessVerification": totals,
        "ChainIntegrity": {
            "FirstHash": events[0]["EventHash"] if events else None,
            "FinalHash": events[-1]["EventHash"] if events else None,
        },
        "Sealtrail": {
            "Origin": book.origin,
            "FromPosition": within.begin,
            "ToPosition": within.end,
            "Size": within.size,
            "Part": within.part,
            "Parts": within.parts,
            "Anchored": anchored,
            "LateOutcomes": said.late,
        },
    }


def _pack_signature(manifest: bytes, pack_id: str, signer: Signer) -> JSON:
    digest = hash_text(manifest)
    return {
        "PackID": pack_id,
        "ManifestHash": digest,
        "SignAlgo": "ED25519",
        "SignerKeyID": signer.verifier.label(),
        "Signature": signer.over_text(digest),
    }


def _check(events: Sequence[JSON], key: VerifierKey) -> None:
    """Hold chain and signatures against the public key before anything leaves."""
    previous = None
    for one in events:
        if one["PrevHash"] != previous or event_hash(one) != one["EventHash"]:
            raise IntegrityViolation("the chain of the pack does not hold")
        previous = one["EventHash"]
        signature = base64text.decode(one["Signature"].removeprefix("ed25519:"), "A signature")
        try:
            ed25519.verify(
                public_key=key.key, message=previous.encode("ascii"), signature=signature
            )
        except VerifyError as error:
            raise IntegrityViolation("the packet key signs what it does not verify") from error


def _zip(files: Mapping[str, bytes]) -> bytes:
    try:
        return write_zip({f"{FOLDER}/{name}": data for name, data in files.items()})
    except ArchiveRefused as error:
        raise TooLarge("the pack would be larger than 256 MiB; ask for fewer days") from error
