# SPDX-License-Identifier: GPL-3.0-or-later
"""The forger of a CAP pack: may change any file of it, but has not the tenant's packet key.

What catches him is a checker that knows CAP's text and our public key, and nothing else of ours.
"""

import base64
import hashlib
import json

import cap_checker
import pytest
from cap_story import tell, these_days
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from house import attempt, gen, house_in

from anchoring.checkpoint import verifier_key
from evidence.cap_pack import build_cap_pack
from evidence.cap_sign import packet_verifiers
from sealtrail.verify.zip import write_zip

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

FORGER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture(scope="module")
def studio(pattern, tmp_path_factory):
    with house_in(pattern, tmp_path_factory.mktemp("forged")) as house:
        (house.directory / "trust.json").write_bytes(house.trust().print())
        tell(house)
        yield house


@pytest.fixture(scope="module")
def good(studio):
    trust = studio.directory / "trust.json"
    return build_cap_pack(studio.book, these_days(), trust_file=trust).data


def key_of(studio):
    return packet_verifiers(studio.keys, studio.origin)[-1].key


def signed(key, message):
    return "ed25519:" + base64.b64encode(key.sign(message)).decode()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def rebuilt(data, change, *, key=FORGER, counted=True, chained=True):
    """The pack with other events, and with everything over them made to fit again."""
    files = cap_checker.files_of(data)
    events = change(cap_checker.events_of(files))
    raw, previous = {}, None
    for one in events if chained else []:
        one["PrevHash"] = previous
        previous = one["EventHash"] = cap_checker.event_hash(one)
        one["Signature"] = signed(key, previous.encode())
    for one in events:
        raw[one["EventID"]] = signed(key, bytes.fromhex(one["EventHash"][7:]))
    manifest = json.loads(files["manifest.json"])
    if counted:
        found = manifest["CompletenessVerification"]
        kinds = [one["EventType"] for one in events]
        found |= {f"Total{kind}": kinds.count(kind) for kind in cap_checker.OUTCOMES}
        found |= {"TotalAttempts": kinds.count("GEN_ATTEMPT"), "InvariantValid": True}
        manifest["EventCount"] = len(events)
        manifest["ChainIntegrity"]["FinalHash"] = events[-1]["EventHash"]
    named = json.loads(files["signatures/verifier_keys.json"])
    if key is FORGER:
        named["Keys"][0]["PublicKey"] = FORGER.public_key().public_bytes_raw().hex()
    files["signatures/verifier_keys.json"] = json.dumps(named).encode()
    leaves = [one["EventHash"] for one in events]
    files["events/events_001.json"] = json.dumps(events).encode()
    files["signatures/event_signatures.json"] = json.dumps({"Signatures": raw}).encode()
    files["merkle/tree_001.json"] = json.dumps(
        {"Leaves": leaves, "MerkleRoot": root(leaves)}
    ).encode()
    listed = {name.rpartition("/")[2]: digest(content) for name, content in files.items()}
    manifest["Checksums"] = {name: listed[name] for name in manifest["Checksums"]}
    files["manifest.json"] = json.dumps(manifest).encode()
    seal = json.loads(files["signatures/pack_signature.json"])
    seal["ManifestHash"] = digest(files["manifest.json"])
    seal["Signature"] = signed(key, seal["ManifestHash"].encode())
    files["signatures/pack_signature.json"] = json.dumps(seal).encode()
    return write_zip({f"evidence_pack/{name}": content for name, content in files.items()})


def root(leaves):
    level = [bytes.fromhex(one[7:]) for one in leaves]
    while len(level) > 1:
        pairs = [level[at : at + 2] for at in range(0, len(level), 2)]
        level = [hashlib.sha256(b"".join(p)).digest() if len(p) == 2 else p[0] for p in pairs]
    return "sha256:" + level[0].hex()


def without(type_):
    """Leave out the first call that ended so, attempt and outcome."""

    def change(events):
        gone = next(one for one in events if one["EventType"] == type_)
        ids = {gone["EventID"], gone["AttemptID"]}
        return [one for one in events if one["EventID"] not in ids]

    return change


def test_removes_a_call_and_builds_the_chain_again(studio, good):
    """Who: a platform's employee who hands a pack on.
    Tries: leaves one generation out, attempt and outcome, makes chain, tree, counts and checksums
    anew, and signs with a key of his own.
    Caught by: the public key in trust.json: no event and no manifest has its signature.
    Not caught: one who is given the packet key; against him stand the leaves and the log's root.
    """
    forged = rebuilt(good, without("GEN"))

    faults = cap_checker.check(forged, key_of(studio))

    assert cap_checker.check(forged, FORGER.public_key().public_bytes_raw()) == []
    assert "the manifest has no signature of this key" in faults
    assert sum("no signature of this key" in one for one in faults) > 10


def test_removes_an_event_and_keeps_our_signatures(studio, good):
    """Who: the same, without a key of his own.
    Tries: leaves an event out, and leaves hashes and signatures of the others as they are.
    Caught by: the next event, which names the hash of the one that is gone; the manifest's seal.
    Not caught: nothing of this.
    """
    forged = rebuilt(good, without("GEN_DENY"), chained=False)

    faults = cap_checker.check(forged, key_of(studio))

    assert any("does not follow" in one for one in faults)
    assert "the manifest has no signature of this key" in faults


def test_signs_with_the_key_that_is_in_the_pack(studio, good):
    """Who: one who counts on readers that take the key out of the pack.
    Tries: puts his own key where the pack names its signer.
    Caught by: the key that the reader has from outside; the one in the pack is for convenience.
    Not caught: a reader who takes the key from the pack all the same.
    """
    forged = rebuilt(good, lambda events: events)
    files = cap_checker.files_of(forged)
    named = json.loads(files["signatures/verifier_keys.json"])["Keys"][0]["PublicKey"]

    faults = cap_checker.check(forged, key_of(studio))

    assert cap_checker.check(forged, bytes.fromhex(named)) == []
    assert "the manifest has no signature of this key" in faults


def test_lets_the_logs_key_sign_a_pack(studio):
    """Who: an operator who holds the log's key, but not the packet key.
    Tries: to sell a signature of the log for one of a pack, or the other way about.
    Caught by: two keys of two names: the one is no key of the log, and says nothing for it.
    Not caught: an operator who holds both.
    """
    log = verifier_key(studio.keys, studio.origin)
    (packet,) = packet_verifiers(studio.keys, studio.origin)

    assert log.key != packet.key
    assert log.name != packet.name
    assert packet not in studio.trust().origins[studio.origin]


@pytest.mark.parametrize("member", ["InvariantValid", "TotalGEN_DENY", "MissingOutcomes"])
def test_falsifies_the_completeness(studio, good, member):
    """Who: a platform that had more refusals, or fewer, than it likes.
    Tries: other counts in the manifest, or `true` where an attempt is open.
    Caught by: the events themselves, which anybody can count; the signature over the manifest.
    Not caught: nothing of this.
    """
    files = cap_checker.files_of(good)
    manifest = json.loads(files["manifest.json"])
    said = manifest["CompletenessVerification"]
    said[member] = {"InvariantValid": False, "TotalGEN_DENY": 9, "MissingOutcomes": ["x"]}[member]
    files["manifest.json"] = json.dumps(manifest).encode()
    forged = write_zip({f"evidence_pack/{name}": data for name, data in files.items()})

    faults = cap_checker.check(forged, key_of(studio))

    assert "the pack's signature is over another manifest" in faults


def test_says_complete_of_an_open_attempt_with_the_right_key(studio):
    """Who: an operator with the packet key.
    Tries: a pack that is signed rightly, and says that nothing is missing.
    Caught by: whoever counts the events; one whose call was left out asks the log for its proof.
    Not caught: an attempt that the operator never recorded; against that stands the gateway.
    """
    one = attempt()
    studio.post(one)
    trust = studio.directory / "trust.json"
    pack = build_cap_pack(studio.book, these_days(), trust_file=trust)
    studio.post(gen(one["aggregate_id"]))

    class Operator:
        def sign(self, message):
            return studio.keys.sign(f"packet/{studio.origin}", message)

    lie = rebuilt(pack.data, lambda events: events, key=Operator())

    assert cap_checker.check(pack.data, key_of(studio)) == []
    assert not pack.complete
    assert cap_checker.check(lie, key_of(studio)) == [
        "the manifest says something else about completeness than the events"
    ]
