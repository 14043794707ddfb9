# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator, and what was recorded of consents and registers."""

import pytest
from administrator import target_in
from registering import consent, model, revoked, said

from anchoring.fsck import Fsck
from evidence.attack.keyholder import _append
from ledger import clock

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def invented(target, type_, kind, id_, body, *, version=1):
    """An entry that no door of ours would let in."""
    aggregate = {"type": kind, "id": id_, "version": version}
    return target.invent({"type": type_, "aggregate": aggregate, "body": body})


def complaints(house):
    return {
        found.sentence.partition(" may not follow: ")[2] or found.sentence
        for found in Fsck(house.book).run().damage
    }


def test_records_a_call_under_a_consent_that_was_taken_back(house):
    """Who: an operator who needs a call to have had its consent.
    Tries: appends it with genuine keys behind the revocation, or behind the consent's last day.
    Caught by: fsck, which folds consents as well: nothing rests on one that is over.
    Not caught: by proofs and packets: the entry is in the log. A call that names no consent.
    """
    body = {
        "operation": "generate",
        "input_type": "text",
        "model": {"provider": "acme", "name": "painter", "version": "3"},
    }
    house.post(consent("consent/9"), revoked("consent/9"))
    house.post(consent("consent/8", expires_at="2026-01-01T00:00:00.000Z"), consent("consent/7"))
    with target_in(house) as target:
        for id_ in ("consent/9", "consent/8", "consent/7"):
            covered = body | {"consent_ids": [id_]}
            _append(
                target,
                invented(target, "GEN_ATTEMPT", "Generation", str(clock.new_id()), covered),
            )

    assert complaints(house) >= {"this consent was revoked", "this consent has expired"}
    assert len([one for one in Fsck(house.book).run().damage if "consent" in one.sentence]) == 2


def test_exchanges_the_manifest_of_a_version(house):
    """Who: an operator whose model changed without a new version.
    Tries: appends another registration of the version with genuine keys, and a deployment.
    Caught by: fsck: a version's digest never changes, and only what is registered is deployed.
    Not caught: a register that was wrong from the beginning.
    """
    (first,) = house.post(model("3"))
    other = {
        "model": {"provider": "acme", "name": "painter", "version": "3"},
        "manifest": {"digest": "sha256:" + "cd" * 32, "format": "other"},
    }
    id_ = first.row.stream.partition("/")[2]
    with target_in(house) as target:
        _append(target, invented(target, "MODEL_REGISTERED", "Model", id_, other, version=2))
        use = {"model": {"version": "9"}}
        _append(target, invented(target, "MODEL_DEPLOYED", "Model", id_, use, version=3))

    assert complaints(house) >= {
        "this version is in the register with another digest",
        "no such version is in the register",
    }


def test_lets_a_writer_forget_its_numbers(house):
    """Who: an operator who dropped events of a source and wants its sequence to look whole.
    Tries: appends a heartbeat whose last number is below one that was told before.
    Caught by: fsck: the numbers of a sequence never go back.
    Not caught: events that were never sent; the gap in the numbers tells of those.
    """
    house.post(
        said("WRITER_STARTED", "renderer-1", {}),
        said("WRITER_HEARTBEAT", "renderer-1", {"last_n": 9}),
    )
    with target_in(house) as target:
        beat = {"last_n": 4}
        _append(
            target, invented(target, "WRITER_HEARTBEAT", "Writer", "renderer-1", beat, version=3)
        )

    said_ = complaints(house)
    assert "the numbers of a sequence never go back; begin another sequence" in said_
