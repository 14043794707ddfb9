# SPDX-License-Identifier: GPL-3.0-or-later
"""A stranger's checker of CAP evidence packs, written from CAP's text and nothing of ours.

It imports the standard library, `cryptography` and `jsonschema`, and takes the signer's public key
from outside the pack. `check` returns what is wrong, in sentences; an empty list is a good pack.
"""

import base64
import hashlib
import io
import json
import zipfile
from decimal import Decimal

import jsonschema
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

OUTCOMES = ("GEN", "GEN_DENY", "GEN_ERROR", "GEN_WARN", "GEN_ESCALATE", "GEN_QUARANTINE")
SCHEMAS = {
    "INGEST": "cap/ingest",
    "TRAIN": "cap/train",
    "GEN": "cap/gen",
    "EXPORT": "cap/export",
    "GEN_ATTEMPT": "srp/gen-attempt",
    "GEN_DENY": "srp/gen-deny",
    "GEN_WARN": "srp/gen-warn",
    "GEN_ESCALATE": "srp/gen-escalate",
    "GEN_QUARANTINE": "srp/gen-quarantine",
}


def canonical(value):
    """RFC 8785."""
    if isinstance(value, dict):
        order = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(one)}:{canonical(value[one])}" for one in order) + "}"
    if isinstance(value, list):
        return f"[{','.join(canonical(one) for one in value)}]"
    if isinstance(value, float):
        exact = Decimal(repr(value)) if value else Decimal(0)
        if not value or 1e-6 <= abs(value) < 1e21:
            text = f"{exact:f}"
            return text.removesuffix(".0")
        mantissa, exponent = f"{exact.normalize():e}".split("e")
        return f"{mantissa}e{exponent[0]}{exponent[1:].lstrip('0')}"
    return json.dumps(value, ensure_ascii=False)


def event_hash(event):
    bare = {name: value for name, value in event.items() if name not in ("EventHash", "Signature")}
    return "sha256:" + hashlib.sha256(canonical(bare).encode()).hexdigest()


def verifies(public_key, signature, message):
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(
            base64.b64decode(signature.removeprefix("ed25519:")), message
        )
    except InvalidSignature:
        return False
    return True


def chain_faults(events, public_key):
    """CAP v1.0 §8.4: each hash, each link, each signature."""
    previous = None
    for at, event in enumerate(events):
        if event.get("PrevHash") != previous:
            yield f"event {at} does not follow the one before it"
        if event_hash(event) != event["EventHash"]:
            yield f"event {at} is not what its hash says"
        if not verifies(public_key, event["Signature"], event["EventHash"].encode()):
            yield f"event {at} has no signature of this key"
        previous = event["EventHash"]
    if len({event["ChainID"] for event in events}) > 1:
        yield "the events are of several chains"


def completeness(events):
    """What the README of the completeness vectors asks, in its words."""
    attempts, outcomes = {}, {}
    for event in events:
        if event["EventType"] == "GEN_ATTEMPT":
            if event["EventID"] in attempts:
                return {"valid": False, "error": "Duplicate GEN_ATTEMPT"}
            attempts[event["EventID"]] = event
        elif event["EventType"] in OUTCOMES:
            if event.get("AttemptID") in outcomes:
                return {"valid": False, "error": "Multiple outcomes"}
            outcomes[event["AttemptID"]] = event
    if missing := sorted(attempts.keys() - outcomes.keys()):
        error = "Missing outcomes for attempts"
        return {"valid": False, "error": error, "missingOutcomes": missing}
    if orphans := sorted(outcomes.keys() - attempts.keys()):
        return {"valid": False, "error": "Outcomes without attempts", "orphanOutcomes": orphans}
    kinds = [event["EventType"] for event in outcomes.values()]
    return {
        "valid": True,
        "attemptCount": len(attempts),
        "outcomeBreakdown": {kind: kinds.count(kind) for kind in OUTCOMES},
    }


class Schemas:
    """CAP's own schemas, read where they lie."""

    def __init__(self, directory):
        paths = sorted(directory.rglob("*.schema.json"))
        self._all = {
            path.relative_to(directory).as_posix().removesuffix(".schema.json"): json.loads(
                path.read_text("utf-8")
            )
            for path in paths
        }
        core = Resource.from_contents(self._all["cap/core-event"], DRAFT202012)
        # The two kinds of schemas name the common one relative to different folders.
        base = "https://veritaschain.org/schemas/cap"
        names = ("v0.2/core-event.json", "srp/v0.2/core-event.json", "srp/core-event.json")
        self._registry = Registry().with_resources([(f"{base}/{one}", core) for one in names])

    def faults(self, event):
        type_ = event["EventType"]
        name = SCHEMAS.get(type_, "cap/core-event")
        if type_ == "GEN_ERROR":  # New in v1.0; the schemas that were published are older.
            event = {**event, "EventType": "GEN"}
        validator = jsonschema.Draft202012Validator(
            self._all[name],
            registry=self._registry,
            format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
        )
        for error in validator.iter_errors(event):
            yield f"{type_}: {error.json_path}: {error.message}"


def files_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def events_of(files):
    names = sorted(name for name in files if name.startswith("events/"))
    return [event for name in names for event in json.loads(files[name])]


def check(data, public_key, schemas=None):
    """Return every fault of a pack, as sentences."""
    files = files_of(data)
    manifest = json.loads(files["manifest.json"])
    events = events_of(files)
    faults = list(_seal_faults(files, manifest, public_key))
    faults += chain_faults(events, public_key)
    raw = json.loads(files["signatures/event_signatures.json"])["Signatures"]
    for event in events:
        message = bytes.fromhex(event["EventHash"].removeprefix("sha256:"))
        if not verifies(public_key, raw[event["EventID"]], message):
            faults.append("a signature over the bytes of a hash does not verify")
    faults += _count_faults(manifest, events)
    faults += _tree_faults(json.loads(files["merkle/tree_001.json"]), events)
    for event in events if schemas is not None else []:
        faults += schemas.faults(event)
    return faults


def _seal_faults(files, manifest, public_key):
    listed = manifest["Checksums"]
    here = {name.rpartition("/")[2]: data for name, data in files.items()}
    for name in here.keys() - listed.keys() - {"manifest.json", "pack_signature.json"}:
        yield f"{name} is in the pack and not in the manifest"
    for name, digest in listed.items():
        if name not in here:
            yield f"{name} is missing"
        elif "sha256:" + hashlib.sha256(here[name]).hexdigest() != digest:
            yield f"{name} is not what the manifest says"
    seal = json.loads(files["signatures/pack_signature.json"])
    digest = "sha256:" + hashlib.sha256(files["manifest.json"]).hexdigest()
    if seal["ManifestHash"] != digest or seal["PackID"] != manifest["PackID"]:
        yield "the pack's signature is over another manifest"
    if not verifies(public_key, seal["Signature"], seal["ManifestHash"].encode()):
        yield "the manifest has no signature of this key"


def _count_faults(manifest, events):
    said = manifest["CompletenessVerification"]
    found = completeness(events)
    kinds = [event["EventType"] for event in events]
    if said["InvariantValid"] != found["valid"]:
        yield "the manifest says something else about completeness than the events"
    if said["TotalAttempts"] != kinds.count("GEN_ATTEMPT"):
        yield "the manifest counts other attempts"
    for kind in OUTCOMES:
        if said[f"Total{kind}"] != kinds.count(kind):
            yield f"the manifest counts other {kind}"
    if manifest["EventCount"] != len(events):
        yield "the manifest counts other events"
    if manifest["ChainIntegrity"]["FinalHash"] != (events[-1]["EventHash"] if events else None):
        yield "the manifest ends the chain elsewhere"


def _tree_faults(tree, events):
    if tree["Leaves"] != [event["EventHash"] for event in events]:
        yield "the tree is over other events"
    level = [bytes.fromhex(leaf[7:]) for leaf in tree["Leaves"]]
    while len(level) > 1:
        odd = [level.pop()] if len(level) % 2 else []
        pairs = zip(level[::2], level[1::2], strict=True)
        level = [hashlib.sha256(a + b).digest() for a, b in pairs] + odd
    if level and tree["MerkleRoot"] != f"sha256:{level[0].hex()}":
        yield "the tree has another root"
