# SPDX-License-Identifier: GPL-3.0-or-later
"""A ledger, or somebody in between, that answers with a receipt which is not one.

Each lie is consistent in everything but the one thing it is about, so that exactly one check can
notice it; the name of that check is expected.
"""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from small_ledger import ORIGIN, TOKEN
from test_recorder import PROMPT, post

from sealtrail import ReceiptInvalid, Recorder
from sealtrail.verify import canonical, merkle
from sealtrail.verify.disclosure import PERSON, disclose
from sealtrail.verify.note import Checkpoint, Note
from sealtrail.verify.tlog_proof import TlogProof
from sealtrail.verify.trust import Trust

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def refused(recorder, check, kind="GEN_ATTEMPT", **changes):
    with pytest.raises(ReceiptInvalid) as invalid:
        post(recorder, kind, **changes)
    assert invalid.value.check == check, str(invalid.value)
    assert invalid.value.event_id is not None
    assert invalid.value.record_key is not None
    assert PROMPT not in str(invalid.value)
    return invalid.value


def spelled(members, entry):
    """Put `entry` into the receipt in place of the recorded one, its leaf included."""
    members["entry"] = base64.b64encode(entry).decode()
    members["leaf"] = "sha256:" + merkle.leaf_hash(entry).hex()


def proved(members, checkpoint):
    """Put `checkpoint` into the receipt and into its proof."""
    proof = TlogProof.parse(members["proof"].encode())
    members["checkpoint"] = checkpoint.decode()
    members["proof"] = (
        TlogProof(index=proof.index, path=proof.path, checkpoint=checkpoint).print().decode()
    )


LIES_IN_THE_ANSWER = [
    ("shape", "a member is missing", lambda m: m.pop("size")),
    ("shape", "a text is missing", lambda m: m.pop("proof")),
    ("shape", "a number is text", lambda m: m.update(position="0")),
    ("shape", "a number is true", lambda m: m.update(position=False)),
    ("shape", "a hash is short", lambda m: m.update(leaf="sha256:00")),
    ("shape", "a hash is in capitals", lambda m: m.update(leaf=m["leaf"].upper())),
    ("shape", "a path is no list", lambda m: m.update(path="")),
    ("shape", "disclosures are no object", lambda m: m.update(disclosures=[])),
    ("shape", "a lenient Base64", lambda m: m.update(entry=m["entry"] + "\n")),
    ("event", "another event", lambda m: m.update(event_id=m["event_id"][:-4] + "0000")),
    ("leaf", "another leaf", lambda m: m.update(leaf="sha256:" + "0" * 64)),
    ("recorded_at", "an earlier time", lambda m: m.update(recorded_at="2020-01-01T00:00:00.000Z")),
    ("proof", "a position that the proof does not name", lambda m: m.update(position=0)),
    ("proof", "a path that the proof does not name", lambda m: m.update(path=[])),
    ("proof", "no proof", lambda m: m.update(proof="")),
    ("proof", "data nobody signed in the proof", lambda m: m.update(proof=with_extra(m))),
    ("checkpoint", "another size", lambda m: m.update(size=m["size"] + 1)),
    ("checkpoint", "another origin", lambda m: m.update(origin="ledger.example/other")),
    ("disclosures", "a disclosure is kept back", lambda m: m["disclosures"].pop("prompt.user")),
    ("disclosures", "one too many", lambda m: m["disclosures"].update({"prompt.system": "x"})),
    ("disclosures", "another value", lambda m: m["disclosures"].update({PERSON: "WyJhIl0"})),
]


def with_extra(members):
    proof = TlogProof.parse(members["proof"].encode())
    return (
        TlogProof(index=proof.index, path=proof.path, checkpoint=proof.checkpoint, extra=b"hello")
        .print()
        .decode()
    )


@pytest.mark.parametrize(
    ("check", "lie"),
    [(check, lie) for check, _, lie in LIES_IN_THE_ANSWER],
    ids=[name for _, name, _ in LIES_IN_THE_ANSWER],
)
def test_a_lie_in_the_answer_is_noticed(recorder, ledger, check, lie):
    """The recorded entry is right, what is said about it is not."""
    post(recorder)
    post(recorder)
    ledger.change_receipt = lie

    refused(recorder, check)


def late(entry):
    claimed = {name: entry[name] for name in ("type", "schema", "body")}
    entry.update({"type": "OUTCOME_LATE", "body": {"claimed": claimed}})


LIES_IN_THE_ENTRY = [
    ("content", "another body", lambda e: e["body"]["params"].update(seed="2")),
    ("content", "a body with more in it", lambda e: e["body"].update(consent="given")),
    ("content", "true for 1", lambda e: e["body"]["params"].update(n=True)),
    ("content", "another type", lambda e: e.update(type="MODERATION")),
    ("content", "another schema", lambda e: e.update(schema=2)),
    ("content", "another aggregate", lambda e: e["aggregate"].update(id="other")),
    ("content", "another kind of thing", lambda e: e["aggregate"].update(type="Note")),
    ("content", "no link to the input", lambda e: e.pop("links")),
    ("content", "another number in the sequence", lambda e: e["source"].update(n=1)),
    ("content", "another trace", lambda e: e["trace"].update(depth=1)),
    ("content", "another time of start", lambda e: e["time"].pop("processing_started")),
    ("content", "a classification", lambda e: e.update(classification="SECRET")),
    ("content", "the ledger as actor", lambda e: e["actor"].update(kind="system")),
    ("content", "a role nobody claimed", lambda e: e["actor"].update(role="AUDITOR")),
    ("content", "a commitment less", lambda e: e["_sd"].pop()),
    ("content", "a commitment more", lambda e: e.update(_sd=sorted([*e["_sd"], "A" * 43]))),
    ("content", "an attempt recorded as late", late),
    ("entry", "a null", lambda e: e["trace"].update(depth=None)),
    ("entry", "an unknown member", lambda e: e.update(weather="fine")),
]


@pytest.mark.parametrize(
    ("check", "lie"),
    [(check, lie) for check, _, lie in LIES_IN_THE_ENTRY],
    ids=[name for _, name, _ in LIES_IN_THE_ENTRY],
)
def test_a_lie_in_the_entry_is_noticed(recorder, ledger, check, lie):
    """Hash, path and signature are all right; the ledger wrote down something else."""
    ledger.change_entry = lie

    refused(recorder, check)


def test_an_entry_in_another_spelling_is_noticed(recorder, ledger):
    """The same JSON with a space: another leaf, so two proofs for one event."""

    def respell(members):
        spelled(members, json.dumps(json.loads(base64.b64decode(members["entry"]))).encode())

    ledger.change_receipt = respell

    refused(recorder, "entry")


def test_an_entry_that_is_in_no_tree_is_noticed(recorder, ledger):
    """A leaf of its own with the path of another entry."""

    def elsewhere(members):
        entry = canonical.decode(base64.b64decode(members["entry"]))
        entry["aggregate"]["version"] += 1
        spelled(members, canonical.encode(entry))

    ledger.change_receipt = elsewhere

    refused(recorder, "inclusion")


def test_a_checkpoint_signed_by_somebody_else_is_noticed(recorder, ledger):
    """All else is perfect: a whole ledger with keys of its own."""
    post(recorder)
    ledger.key = Ed25519PrivateKey.generate()

    refused(recorder, "signature")


def test_a_checkpoint_without_a_valid_signature_is_noticed(recorder, ledger):
    """The trusted key's line with one bit of the signature turned."""

    def turn(members):
        note = Note.parse(members["checkpoint"].encode())
        line = note.signatures[0]
        bad = bytes([line.signature[0] ^ 1]) + line.signature[1:]
        forged = Note(
            text=note.text,
            signatures=(type(line)(name=line.name, key_id=line.key_id, signature=bad),),
        )
        proved(members, forged.print())

    ledger.change_receipt = turn

    refused(recorder, "signature")


def test_a_checkpoint_with_a_line_we_do_not_know_is_noticed(recorder, ledger):
    """Our logs sign three lines; a fourth could mean anything to somebody else."""

    def extend(members):
        text = members["checkpoint"].partition("\n\n")[0] + "\nnot audited\n"
        proved(members, ledger.sign(text))

    ledger.change_receipt = extend

    refused(recorder, "checkpoint")


def test_a_log_that_is_not_trusted_is_noticed(ledger, url):
    """The key is the right one, but not for this origin."""
    trust = Trust(origins={"ledger.example/other": (ledger.vkey,)}, tsa_roots=())

    with Recorder(url, TOKEN, trust=trust) as recorder:
        refused(recorder, "origin")


def test_another_checkpoint_in_the_proof_is_noticed(recorder, ledger):
    """The receipt shows one checkpoint and its proof another, both signed and valid."""
    post(recorder)
    smaller = Checkpoint(origin=ORIGIN, size=1, root=merkle.leaf_hash(ledger.entries[0])).print()

    ledger.change_receipt = lambda members: members.update(
        checkpoint=ledger.sign(smaller).decode(), size=1
    )

    refused(recorder, "proof")


PERSONS = [
    ("nobody", lambda m: m["disclosures"].pop(PERSON)),
    ("an unreadable person", lambda m: m["disclosures"].update({PERSON: "WyJhIl0"})),
]


@pytest.mark.parametrize("lie", [lie for _, lie in PERSONS], ids=[name for name, _ in PERSONS])
def test_the_person_of_a_token_has_to_be_disclosed(recorder, ledger, lie):
    """There is a person behind every event, and its recorder learns who was written down."""
    ledger.person_of_token = "emp-9"
    ledger.change_receipt = lie

    refused(recorder, "person", on_behalf_of=None)


def test_the_person_of_a_token_is_committed_with_the_events_own_key(recorder, ledger):
    """A salt from elsewhere could not be derived again on a repeat, or is known to somebody."""
    ledger.person_of_token = "emp-9"
    ledger.key_for_person = b"x" * 32

    refused(recorder, "person", on_behalf_of=None)


def test_the_person_shown_is_the_person_committed(recorder, ledger):
    """Disclosing another name than the entry is committed to."""
    ledger.person_of_token = "emp-9"
    key = b"k" * 32
    ledger.change_receipt = lambda m: m["disclosures"].update(
        {PERSON: disclose(key, PERSON, "emp-10")}
    )

    refused(recorder, "person", on_behalf_of=None, record_key=key)


def test_a_late_outcome_with_another_claim_is_noticed(recorder, ledger):
    """OUTCOME_LATE must hold what was sent."""
    ledger.late = True
    ledger.change_entry = lambda entry: entry["body"]["claimed"]["body"].update(result="partial")

    refused(recorder, "content", "GEN", body={"result": "success"})


def test_a_late_outcome_without_a_claim_is_noticed(recorder, ledger):
    """An OUTCOME_LATE of another shape proves nothing about what was sent."""
    ledger.late = True
    ledger.change_entry = lambda entry: entry.update(body={})

    refused(recorder, "entry", "GEN", body={"result": "success"})


@pytest.mark.parametrize("answer", [[], "recorded", 0], ids=repr)
def test_an_answer_that_is_no_receipt_is_noticed(recorder, ledger, answer):
    """JSON, but not an object."""
    ledger.instead = answer

    refused(recorder, "shape")


@pytest.mark.parametrize("status", ["200", "202", "204"])
def test_a_status_that_is_no_answer_to_an_event_is_noticed(recorder, ledger, status):
    """202 is a promise, and a 200 that does not say it is a repeat is not from a ledger."""
    ledger.mishaps = [status]

    refused(recorder, "status")


def test_an_answer_without_end_is_noticed(recorder, ledger):
    """Memory is not filled by whoever answers."""
    ledger.change_receipt = lambda members: members.update(padding="x" * 9_000_000)

    refused(recorder, "size")


def test_a_member_from_a_later_version_changes_nothing(recorder, ledger):
    """What is not known is not relied on; old clients go on working."""
    ledger.change_receipt = lambda members: members.update(weather="fine")

    assert post(recorder).wire().keys() == {
        "event_id",
        "origin",
        "position",
        "leaf",
        "size",
        "recorded_at",
        "entry",
        "path",
        "checkpoint",
        "proof",
        "disclosures",
    }
