# SPDX-License-Identifier: GPL-3.0-or-later
"""The packet's forger with a COSE receipt: may change any byte of it, and print it rightly again.

He has genuine receipts of a real ledger, and everything but the log's key.
"""

import dataclasses

import cbor2
import pytest
from house import attempt, house_in
from receipt_maker import Operator

from anchoring.checkpoint import verifier_key
from anchoring.cose_receipt import consistency_receipt, inclusion_receipt
from sealtrail.verify.cose_receipt import (
    CoseReceipt,
    check_consistency_receipt,
    check_inclusion_receipt,
)
from sealtrail.verify.cose_receipt_file import check_receipt_file
from sealtrail.verify.errors import Refuted, Unreadable
from sealtrail.verify.merkle import leaf_hash
from sealtrail.verify.note import Checkpoint, Note, check_note
from sealtrail.verify.trust import Bound, Trust

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

ENTRIES = 9


@pytest.fixture(scope="module")
def ledger(pattern, tmp_path_factory):
    with house_in(pattern, tmp_path_factory.mktemp("receipts")) as house:
        house.post(*[attempt() for _ in range(ENTRIES)])
        yield house


def entry_at(ledger, position):
    return ledger.book.reader.at(position).entry.data


def genuine(ledger, position):
    return CoseReceipt.parse(inclusion_receipt(ledger.book, position))


def check(ledger, data, position, keys=None):
    return check_inclusion_receipt(
        data,
        leaf=leaf_hash(entry_at(ledger, position)),
        origin=ledger.origin,
        keys=keys or [verifier_key(ledger.keys, ledger.origin)],
    )


def test_shows_an_entry_with_anothers_receipt(ledger):
    """Who: a party to a trial.
    Tries: the receipt of one entry beside the bytes of another.
    Caught by: the signature: another root follows from another entry.
    Not caught: nothing of this.
    """
    data = inclusion_receipt(ledger.book, 3)

    check(ledger, data, 3)
    with pytest.raises(Refuted):
        check(ledger, data, 4)


def test_moves_an_entry_to_another_position(ledger):
    """Who: a party who wants an entry to be older than it is.
    Tries: the last entry of nine as the second of two: the path has one hash for both, and RFC 9942
    leaves size and position in the part that nobody signs.
    Caught by: the size, which is signed as the receipt's subject.
    Not caught: readers who take the RFC alone; the root is still right for them.
    """
    last = ENTRIES - 1
    receipt = genuine(ledger, last)
    moved = dataclasses.replace(receipt, position=1, size=2)
    protected, _, payload, signature = cbor2.loads(receipt.print()).value
    proof = {396: {-1: [cbor2.dumps([2, 1, list(receipt.path)])]}}
    spliced = cbor2.dumps(cbor2.CBORTag(18, [protected, proof, payload, signature]))

    assert (receipt.size, len(receipt.path)) == (ENTRIES, 1)
    with pytest.raises(Refuted):
        check(ledger, moved.print(), last)
    with pytest.raises(Unreadable, match="another size"):
        check(ledger, spliced, last)


@pytest.mark.parametrize(
    "label",
    [{395: 2}, {395: True}, {1: -7}, {15: {1: "ledger.test/other", 2: "checkpoint/9"}}, {4: b"x"},
     {2: [395]}, {"crit": 1}],
    ids=["structure", "structure-true", "algorithm", "issuer", "key", "critical", "more"],
)  # fmt: skip
def test_writes_another_label_on_a_receipt(ledger, label):
    """Who: whoever passes a receipt on.
    Tries: another tree, algorithm, log or key in the header, or one member more.
    Caught by: the signature over the header, and before it the one form that a header has.
    Not caught: nothing of this.
    """
    protected, unprotected, payload, signature = cbor2.loads(genuine(ledger, 3).print()).value
    header = cbor2.dumps({**cbor2.loads(protected), **label}, canonical=True)
    data = cbor2.dumps(cbor2.CBORTag(18, [header, unprotected, payload, signature]))

    with pytest.raises((Refuted, Unreadable)):
        check(ledger, data, 3)


@pytest.mark.parametrize("what", ["second-proof", "second-kind", "payload", "more", "no-tag"])
def test_hides_something_in_what_nobody_signs(ledger, what):
    """Who: somebody whose reader looks at another place than ours.
    Tries: a second proof, a payload, or further members beside the genuine ones.
    Caught by: the one form of a receipt: what was read is printed again and compared.
    Not caught: nothing of this.
    """
    value = [*cbor2.loads(genuine(ledger, 3).print()).value]
    proofs = {kind: list(one) for kind, one in value[1][396].items()}
    if what == "second-proof":
        proofs[-1] *= 2
    elif what == "second-kind":
        proofs[-2] = proofs[-1]
    value[1] = {396: proofs} | ({394: [b""]} if what == "more" else {})
    value[2] = bytes(32) if what == "payload" else None
    data = cbor2.dumps(value if what == "no-tag" else cbor2.CBORTag(18, value))

    with pytest.raises(Unreadable):
        check(ledger, data, 3)


def test_moves_a_checkpoints_signature_into_a_receipt(ledger):
    """Who: somebody who knows that one key signs both.
    Tries: the signature under a checkpoint as that of a receipt for the same root, and the reverse.
    Caught by: what is signed: a note is text, and no text begins as what a receipt signs.
    Not caught: nothing of this.
    """
    receipt = genuine(ledger, 3)
    note = Note.parse(ledger.book.notary.latest()[0])
    key = verifier_key(ledger.keys, ledger.origin)
    assert Checkpoint.parse(note.text).size == receipt.size

    forged = dataclasses.replace(receipt, signature=note.signatures[0].signature)
    line = dataclasses.replace(note.signatures[0], signature=receipt.signature)

    with pytest.raises(Refuted):
        check(ledger, forged.print(), 3)
    with pytest.raises(Refuted):
        check_note(dataclasses.replace(note, signatures=(line,)), [key])


def test_says_that_a_log_grew_out_of_another(ledger):
    """Who: an operator's friend with a receipt of the log's growth.
    Tries: the receipt beside the root of a log that never was.
    Caught by: the path, which leads from the log's own earlier root alone.
    Not caught: two histories that an operator signs from the beginning; witnesses see these.
    """
    data = consistency_receipt(ledger.book, 5)
    keys = [verifier_key(ledger.keys, ledger.origin)]
    root = ledger.book.tree.root(5)

    check_consistency_receipt(data, old_root=root, origin=ledger.origin, keys=keys)
    with pytest.raises(Refuted):
        check_consistency_receipt(data, old_root=bytes(32), origin=ledger.origin, keys=keys)


def test_signs_with_a_key_that_was_replaced(ledger):
    """Who: a thief of a log key that is no longer used.
    Tries: a receipt for a log larger than the one up to which that key speaks.
    Caught by: the trust file's bound, against the size that is signed; a smaller size would have to
    be shown by a time stamp from before the key's end.
    Not caught: a receipt within the bound, alone: it stays `incomplete` for want of a stamp.
    """
    data = entry_at(ledger, 3)
    leaves = [leaf_hash(entry_at(ledger, position)) for position in range(ENTRIES)]
    thief = Operator(leaves, origin=ledger.origin)
    new = verifier_key(ledger.keys, ledger.origin)
    bound = Bound.parse({"size": 5, "time": "2026-01-01T00:00:00.000Z"})
    trust = Trust(
        origins={ledger.origin: (thief.key, new)}, tsa_roots=(), until={thief.key.vkey(): bound}
    )

    late = check_receipt_file(thief.included(3).print(), entry=data, trust=trust)
    early = check_receipt_file(thief.included(3, 5).print(), entry=data, trust=trust)

    assert (late.verdict, early.verdict) == ("refuted", "incomplete")


def test_brings_the_key_along(ledger):
    """Who: a forger with a log of his own.
    Tries: a receipt that names the ledger, signed by a key of his.
    Caught by: the trust file from elsewhere: the key is none of the log's.
    Not caught: readers who trust what came with the receipt.
    """
    forger = Operator([leaf_hash(b"what never happened"), bytes(32)], origin=ledger.origin)
    trust = ledger.trust()

    report = check_receipt_file(
        forger.included(0).print(), entry=b"what never happened", trust=trust
    )

    assert report.verdict == "refuted"
