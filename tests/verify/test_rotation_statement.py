# SPDX-License-Identifier: GPL-3.0-or-later
"""The statement about a new key, and the trust file that bounds an old one."""

import json
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealtrail.verify import base64text
from sealtrail.verify.errors import Refuted, Unreadable, VerifyError
from sealtrail.verify.note import Checkpoint, VerifierKey
from sealtrail.verify.rotation import Rotation
from sealtrail.verify.trust import Bound, Trust

ORIGIN = "ledger.example/acme"
OLD, NEW, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3))


def vkey(private, origin=ORIGIN):
    return VerifierKey.ed25519(origin, private.public_key().public_bytes_raw())


def body(old=OLD, new=NEW, **changes):
    statement = Rotation(
        origin=ORIGIN,
        old=vkey(old),
        new=vkey(new),
        size=7,
        overlap_until="2026-02-01T00:00:00.000Z",
    )
    signed = {
        "origin": ORIGIN,
        "old_key": statement.old.vkey(),
        "new_key": statement.new.vkey(),
        "size": 7,
        "overlap_until": statement.overlap_until,
        "old_signature": base64text.encode(old.sign(statement.statement())),
        "new_signature": base64text.encode(new.sign(statement.statement())),
    }
    return {**signed, **changes}


def test_a_statement_signed_by_both_keys_is_read():
    """What comes out is what was signed, byte for byte."""
    found = Rotation.check(body())

    assert (found.old, found.new, found.size) == (vkey(OLD), vkey(NEW), 7)


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 8}, {"size": -1}, {"size": True}, {"size": "7"},
        {"overlap_until": "2027-02-01T00:00:00.000Z"}, {"overlap_until": "a\nb"},
        {"origin": "ledger.example/other"},
        {"new_key": vkey(OTHER).vkey()}, {"old_key": vkey(OTHER).vkey()},
        {"old_key": vkey(OLD, "ledger.example/other").vkey()},
        {"old_signature": body()["new_signature"]}, {"new_signature": ""},
        {"new_signature": None}, {"old_key": "x"},
    ],
)  # fmt: skip
def test_a_changed_statement_is_refused(changes):
    """Every member is under both signatures, and nothing but strings and a size is read."""
    with pytest.raises(VerifyError):
        Rotation.check(body(**changes))


def test_a_key_does_not_replace_itself():
    """Nor does one statement cover two logs."""
    with pytest.raises(Refuted):
        Rotation.check(body(new=OLD))


def test_a_statement_can_not_be_taken_for_a_checkpoint():
    """The log key signs both; neither parses as the other."""
    statement = Rotation(
        origin="7", old=vkey(OLD, "7"), new=vkey(NEW, "7"), size=7, overlap_until="7"
    )

    with pytest.raises(Unreadable):
        Checkpoint.parse(statement.statement().decode())


BOUND = {"size": 7, "time": "2026-02-01T00:00:00.000Z"}


def bounded():
    return Trust(
        origins={ORIGIN: (vkey(OLD), vkey(NEW))},
        tsa_roots=(),
        until={vkey(OLD).vkey(): Bound.parse(BOUND)},
    )


def test_a_replaced_key_speaks_only_for_logs_up_to_its_size():
    """The others speak for any size; an unknown origin has no keys."""
    trust = bounded()

    assert Trust.parse(trust.print()) == trust
    assert trust.keys_for(ORIGIN, 7) == (vkey(OLD), vkey(NEW))
    assert trust.keys_for(ORIGIN, 8) == (vkey(NEW),)
    assert trust.keys_for("ledger.example/other", 1) == ()


def test_what_a_replaced_key_signed_alone_has_to_be_stamped_in_time():
    """Beside a key that is in use there is no such hurry."""
    trust = bounded()

    assert trust.signed_until([vkey(OLD)]) == datetime(2026, 2, 1, tzinfo=UTC)
    assert trust.signed_until([vkey(OLD), vkey(NEW)]) is None
    assert trust.signed_until([vkey(NEW)]) is None


@pytest.mark.parametrize(
    "until",
    [
        {vkey(OLD).vkey(): BOUND, vkey(NEW).vkey(): BOUND},  # Nobody could sign any more.
        {vkey(OTHER).vkey(): BOUND}, {vkey(OLD).vkey(): 7}, [], None,
        {vkey(OLD).vkey(): {**BOUND, "size": -1}}, {vkey(OLD).vkey(): {**BOUND, "size": "7"}},
        {vkey(OLD).vkey(): {**BOUND, "size": True}}, {vkey(OLD).vkey(): {"size": 7}},
        {vkey(OLD).vkey(): {**BOUND, "time": "2026-02-01"}},
        {vkey(OLD).vkey(): {**BOUND, "time": "2026-02-01T00:00:00.000"}},
        {vkey(OLD).vkey(): {**BOUND, "time": "2026-02-01T00:00:00.000+01:00"}},
        {vkey(OLD).vkey(): {**BOUND, "time": "soon"}}, {vkey(OLD).vkey(): {**BOUND, "more": 1}},
    ],
)  # fmt: skip
def test_a_trust_file_that_bounds_keys_in_another_way_is_unreadable(until):
    """A reader who believes to have pinned something must not be mistaken."""
    trust = Trust(origins={ORIGIN: (vkey(OLD), vkey(NEW))}, tsa_roots=())
    whole = json.loads(trust.print())
    whole["logs"][0]["until"] = until

    with pytest.raises(VerifyError):
        Trust.parse(json.dumps(whole).encode())
