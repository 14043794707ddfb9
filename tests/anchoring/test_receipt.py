# SPDX-License-Identifier: GPL-3.0-or-later
"""Receipts: verifiable when they leave, equivalent when asked for again, never built on sand."""

import base64

import pytest
from administrator import administrator
from house import attempt, gen

from anchoring.checkpoint import verifier_key
from anchoring.receipt import digest_text, printed_receipt, prove, receipt_of, stored_receipt
from ledger.errors import Conflict, EntryDamaged, IntegrityViolation, Unavailable
from ledger.printing import json_bytes
from sealtrail.verify.disclosure import check_disclosure
from sealtrail.verify.entry import check_entry
from sealtrail.verify.merkle import leaf_hash
from sealtrail.verify.note import Checkpoint, Note
from sealtrail.verify.tlog_proof import check_tlog_proof

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def test_a_receipt_holds_all_that_a_stranger_needs(house):
    """Entry, leaf, path, checkpoint and proof fit each other; disclosures open commitments."""
    prepared = house.prepare(attempt())
    (outcome,) = house.book.record([prepared]).result(timeout=30)

    receipt = receipt_of(house.book, outcome, prepared.disclosures).json()

    entry = base64.b64decode(receipt["entry"], validate=True)
    assert set(receipt) == {
        *("event_id", "origin", "position", "leaf", "size", "recorded_at", "entry"),
        *("path", "checkpoint", "proof", "disclosures"),
    }
    assert receipt["leaf"] == digest_text(leaf_hash(entry))
    assert check_entry(entry)["time"]["recorded"] == receipt["recorded_at"]
    checkpoint, index = check_tlog_proof(
        receipt["proof"].encode(),
        leaf=leaf_hash(entry),
        origin=house.origin,
        keys=[verifier_key(house.keys, house.origin)],
    )
    assert (checkpoint.size, index) == (receipt["size"], receipt["position"]) == (1, 0)
    assert Checkpoint.parse(Note.parse(receipt["checkpoint"].encode()).text) == checkpoint
    opened = dict(
        check_disclosure(one, check_entry(entry)["_sd"]) for one in receipt["disclosures"].values()
    )
    assert opened == {"actor.subject_id": "employee-7", "prompt.user": "a lighthouse at dusk"}


def test_the_printed_receipt_is_the_receipt(house):
    """The answer of the hot path is put together from pieces, and is the same document."""
    batch = [
        house.prepare(attempt(sealed={"prompt.user": text}))
        for text in ("a lighthouse", '"\\\u0001', "Zoë 🖼", "")
    ]
    for outcome, prepared in zip(house.book.record(batch).result(timeout=30), batch, strict=True):
        receipt = receipt_of(house.book, outcome, prepared.disclosures)

        printed = printed_receipt(house.book, outcome, prepared.disclosures)

        assert printed == json_bytes(receipt.json())


def test_a_repeated_request_gets_an_equivalent_receipt(house):
    """Same position, leaf, entry and disclosures; a fresh path to a checkpoint that covers it."""
    prepared = house.prepare(attempt())
    (first,) = house.book.record([prepared]).result(timeout=30)
    house.post(*[attempt() for _ in range(5)])
    other = house.second_process().book(house.tenant)

    (again,) = other.record([prepared]).result(timeout=30)

    one = receipt_of(house.book, first, prepared.disclosures)
    two = receipt_of(other, again, prepared.disclosures)
    assert (one.repeat, two.repeat) == (False, True)
    assert (one.entry, one.proof.leaf, one.proof.position) == (
        two.entry,
        two.proof.leaf,
        two.proof.position,
    )
    assert one.recorded_at == two.recorded_at
    assert one.disclosures == two.disclosures
    assert (one.proof.size, two.proof.size) == (1, 6)


def test_an_old_checkpoint_proves_what_it_covers_and_nothing_else(house):
    """For packets: a given note, and an entry that came later than it."""
    house.post(attempt(), attempt())
    note, _ = house.book.notary.latest()
    house.post(attempt())
    first, late = house.book.reader.at(0), house.book.reader.at(2)

    assert prove(house.book, 0, first.leaf, at=note).size == 2
    with pytest.raises(Conflict):
        prove(house.book, 2, late.leaf, at=note)
    assert prove(house.book, 2, late.leaf).size == 3


def test_an_entry_that_nobody_has_signed_yet_is_asked_for_again(house):
    """It is committed, its checkpoint is not: 503 and not 409, for it will be there."""
    house.post(attempt())
    away = house.directory / "away"
    (house.directory / "checkpoints").rename(away)
    with pytest.raises(Unavailable):
        house.post(attempt())
    away.rename(house.directory / "checkpoints")
    stored = house.book.reader.at(1)

    with pytest.raises(Unavailable):
        prove(house.book, 1, stored.leaf)
    house.book.settle()

    assert prove(house.book, 1, stored.leaf).size == 2


def test_a_path_through_a_changed_tree_never_leaves(house):
    """A leaf column was changed: the ledger says so itself, and no client is told "refuted"."""
    start = attempt()
    house.post(start, gen(start["aggregate_id"]), attempt())
    stored = house.book.reader.at(0)
    with administrator(house) as admin:
        admin.do("UPDATE {b}.entry SET leaf = sha256('x') WHERE position = 1")

    with pytest.raises(IntegrityViolation):
        stored_receipt(house.book, stored, {})
    with pytest.raises(EntryDamaged):
        house.book.reader.at(1)
