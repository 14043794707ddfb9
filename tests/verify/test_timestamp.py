# SPDX-License-Identifier: GPL-3.0-or-later
"""Time stamps: every honest form is believed and every lie refused under its own reason.

Each case runs twice, with `cryptography` and with the program `openssl`: the verdict is the same.
"""

from datetime import timedelta

import pytest
from der_writer import NULL, integer, name, octets, oid, seq, tlv
from hypothesis import given
from hypothesis import strategies as st
from minting import (
    GEN_TIME,
    MESSAGE,
    NOW,
    POLICY,
    authority,
    honest,
    reply,
    root,
    stranger,
    token,
)
from stamp_cases import BACKENDS, HONEST, LIES, check, reason, rsa_root, signer

from sealtrail.verify.errors import Incomplete, Unreadable
from sealtrail.verify.timestamp import FUTURE_MAX, SKEW, StampRefused, check_stamp, check_token


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("recipe", HONEST.values(), ids=HONEST)
def test_an_honest_stamp_is_believed(recipe, backend):
    """Whatever the accepted algorithm and the form that an authority prefers."""
    recipe = recipe()
    roots = [root().certificate, rsa_root().certificate]

    stamp = check(reply(recipe), roots=roots, nonce=recipe.nonce, backend=backend)

    assert stamp.gen_time.replace(microsecond=0) == GEN_TIME
    assert stamp.authority in {"CN=Mint Stamps", "CN=Odd Stamps"}
    assert (stamp.serial, stamp.policy) == ("0x2A", POLICY)
    assert stamp.digest_algorithm == recipe.imprint_digest
    assert stamp.chain[0] == recipe.signer.certificate
    assert stamp.chain[-1] in roots
    assert not stamp.expired
    assert "revoked was not checked" in stamp.remarks[-1]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("expected", "recipe"), LIES.values(), ids=LIES)
def test_a_lie_is_refused_for_its_own_reason(expected, recipe, backend):
    assert reason(reply(recipe()), backend=backend) == expected


@pytest.mark.parametrize("recipe", [recipe for _, recipe in LIES.values()], ids=LIES)
def test_a_lie_is_never_less_than_refused_for_want_of_a_root(recipe):
    """A reader without roots sees Refuted or Incomplete, never a stamp."""
    with pytest.raises((StampRefused, Incomplete)):
        check(reply(recipe()), roots=[])


def test_a_stamp_without_a_root_to_check_against_is_incomplete():
    with pytest.raises(Incomplete, match="No root"):
        check(reply(honest()), roots=[])


def test_a_root_that_is_no_certificate_is_the_readers_own_problem():
    """The trust file is unreadable then; the stamp is neither believed nor refuted."""
    with pytest.raises(Unreadable):
        check(reply(honest()), roots=[b"not a certificate"])


def test_a_stamp_without_its_certificate_needs_it_from_elsewhere():
    """Incomplete without it, believed with it; a certificate from elsewhere is never trusted."""
    bare = reply(honest(embedded=()))

    with pytest.raises(Incomplete, match="certificate"):
        check(bare)

    assert check(bare, extra_certificates=[b"junk", authority().certificate]).chain
    assert (
        reason(bare, extra_certificates=[authority().certificate], roots=[stranger().certificate])
        == "certificate-signature"
    )


def test_what_was_not_asked_is_not_compared():
    stamp = check(reply(honest()), nonce=None, policy=None)

    assert stamp.policy == POLICY


def test_a_stamp_may_lag_behind_what_it_stamps_by_the_skew_only():
    data = reply(honest())

    assert check(data, not_before=GEN_TIME + SKEW)
    assert reason(data, not_before=GEN_TIME + SKEW + timedelta(seconds=1)) == "gen-time-early"


def test_a_stamp_may_run_ahead_of_the_reader_by_five_minutes_only():
    data = reply(honest())

    assert check(data, now=GEN_TIME - FUTURE_MAX)
    assert reason(data, now=GEN_TIME - FUTURE_MAX - timedelta(seconds=1)) == "gen-time-future"


def test_without_a_clock_given_the_readers_own_is_taken():
    known = {"message": MESSAGE, "roots": [root().certificate]}

    assert check_stamp(reply(honest(gen_time=NOW - timedelta(days=300))), **known)


def test_bytes_after_the_end_are_refused_wherever_they_stand():
    data = reply(honest())
    whole = token(honest())

    assert reason(data + b"\0") == "trailing-bytes"
    assert reason(seq(seq(integer(0)), whole, NULL)) == "trailing-bytes"
    assert reason(seq(seq(integer(0)), seq(oid("1.2.840.113549.1.7.2"), tlv(0xA0, seq()), NULL)))
    assert reason(seq(seq(integer(0), NULL), whole)) == "trailing-bytes"


@pytest.mark.parametrize("data", [b"", b"<html>busy</html>", bytes(64), b"\x30\x80\0\0"])
def test_what_is_no_time_stamp_is_refused(data):
    """A gateway's error page or zeros: refused, without any other accident."""
    assert reason(data) == "not-der"


def test_a_reply_of_a_quarter_megabyte_is_not_read():
    assert reason(bytes(256 * 1024 + 1)) == "too-large"


def test_a_bare_token_is_checked_the_same_way():
    """As evidence records keep it."""
    facts = {"message": MESSAGE, "roots": [root().certificate], "now": NOW}

    assert check_token(token(honest()), **facts).gen_time == GEN_TIME
    with pytest.raises(StampRefused, match="other bytes"):
        check_token(token(honest(message=b"other")), **facts)
    with pytest.raises(StampRefused, match="larger"):
        check_token(bytes(256 * 1024 + 1), **facts)


HONEST_REPLY = reply(honest())


@pytest.mark.parametrize("change", [0x01, 0x07, 0x80])
def test_no_changed_byte_goes_unseen(change):
    """Any byte of a reply: refused. Only "granted" may become "with modifications"."""
    status = HONEST_REPLY.index(integer(0)) + 2
    for place in range(len(HONEST_REPLY)):
        data = bytearray(HONEST_REPLY)
        data[place] ^= change
        if place == status and data[place] == 1:
            continue

        with pytest.raises((StampRefused, Incomplete)):
            check(bytes(data), backend="cryptography")


@given(st.integers(0, len(HONEST_REPLY) - 1))
def test_a_reply_that_is_cut_short_is_refused(length):
    assert reason(HONEST_REPLY[:length]) == "not-der"


def test_a_message_never_shows_what_was_stamped():
    """Errors go to logs: they hold names of authorities and algorithms, no stamped text."""
    with pytest.raises(StampRefused) as caught:
        check(reply(honest(message=b"a secret")), message=b"another secret")

    assert "secret" not in str(caught.value)


def test_a_name_cannot_play_with_the_readers_screen():
    """Control characters, a turn of writing direction and a fake second field are escaped."""
    subject = name("Good\n\x1b[31m\u202e, O=Bank ")
    recipe = honest(signer=signer(subject=subject))

    shown = check(reply(recipe)).authority

    assert shown == r"CN=Good\0A\1B[31m\E2\80\AE\, O\=Bank\ "


def test_a_name_in_an_unknown_alphabet_is_shown_in_hexadecimal():
    shown = check(reply(honest(signer=signer(subject=name("\u00e9", tag=0x13))))).authority

    assert shown == "CN=#1302c3a9"


def test_a_name_without_structure_is_not_an_accident():
    subject = seq(octets(b"no name"))

    assert check(reply(honest(signer=signer(subject=subject)))).authority == "(unreadable name)"


def test_every_digest_that_is_refused_is_named():
    """A reader learns that it was SHA-1 or MD5, not a row of numbers."""
    with pytest.raises(StampRefused, match="SHA-1"):
        check(reply(honest(imprint_digest="sha1")))
