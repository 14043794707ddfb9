# SPDX-License-Identifier: GPL-3.0-or-later
"""The time-stamping authority lies, or somebody on the way to it does.

Over real HTTP: the liar sees the query and answers what he likes. Nothing here reaches a ledger;
that a refused stamp is recorded as ANCHOR_FAILED and asked for again is tested with the night.
"""

from datetime import timedelta

import pytest
import stamp_server
from minting import (
    CA,
    CODE_SIGNING,
    MESSAGE,
    NOW,
    TSA,
    authority,
    ec_key,
    honest,
    party,
    purpose,
    reply,
    root,
    rsa_key,
    stranger,
    usage,
)

from anchoring.timestamp import TsaRefused, obtain, request
from ledger import clock
from sealtrail.verify.timestamp import check_stamp

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

HOUR = timedelta(hours=1)


def stamp(mint, *, not_before=None):
    now = clock.now()
    return obtain(mint, MESSAGE, now=now, not_before=not_before or now, timeout_s=5)


def caught(lie):
    """The reason for which an answer is refused. lie: turns the honest recipe into bytes."""
    with stamp_server.authority(lie) as mint, pytest.raises(TsaRefused) as refusal:
        stamp(mint)
    return refusal.value.reason


def test_it_stamps_other_bytes():
    """Who: the authority, or a proxy.
    Tries: a genuine stamp over a checkpoint it prefers.
    Caught by: the imprint is computed from our bytes and compared.
    Not caught: nothing remains; the bytes that were stamped are the ones that are kept.
    """
    assert caught(lambda recipe: reply(recipe.but(imprint=None, message=b"x"))) == "imprint-value"


def test_it_stamps_a_digest_that_can_be_collided():
    """Who: the authority.
    Tries: SHA-1, so that a second document fits the stamp later.
    Caught by: the list of accepted digests.
    Not caught: a break of SHA-256 itself; evidence records are renewed under a stronger digest
    before that (RFC 4998).
    """
    assert (
        caught(lambda recipe: reply(recipe.but(imprint_digest="sha1", imprint=bytes(20))))
        == "imprint-algorithm"
    )


def test_it_stamps_under_another_digest_than_we_asked_for():
    """Who: the authority.
    Tries: SHA-512 instead of SHA-256, a good digest that nobody asked for.
    Caught by: what comes back is compared with what was asked.
    Not caught: a verifier years later accepts any digest on the list, since a token alone does not
    say what was asked.
    """
    lie = {"imprint": None, "imprint_digest": "sha512", "message": MESSAGE}

    assert caught(lambda recipe: reply(recipe.but(**lie))) == "imprint-algorithm"


@pytest.mark.parametrize("nonce", [None, 7], ids=["missing", "another"])
def test_somebody_replays_an_old_stamp(nonce):
    """Who: somebody between us and the authority.
    Tries: yesterday's genuine stamp again.
    Caught by: 64 random bits in each query must come back.
    Not caught: a verifier without the query cannot compare them; the packet therefore carries the
    query.
    """
    assert caught(lambda recipe: reply(recipe.but(nonce=nonce))) == "nonce"


def test_it_stamps_under_a_policy_we_did_not_agree_to():
    """Who: the authority.
    Tries: a policy under which it promises less.
    Caught by: the policy of the query, if the operator pinned one.
    Not caught: an operator who pins none accepts any; the Stamp names the policy.
    """
    assert caught(lambda recipe: reply(recipe.but(policy="1.2.3.4"))) == "policy"


@pytest.mark.parametrize("ahead", [HOUR, timedelta(days=3650)], ids=["an hour", "ten years"])
def test_it_dates_forward(ahead):
    """Who: the authority.
    Tries: a time that has not come, to seem fresh for years.
    Caught by: no stamp may be more than five minutes ahead of our clock.
    Not caught: five minutes.
    """
    assert (
        caught(lambda recipe: reply(recipe.but(gen_time=recipe.gen_time + ahead)))
        == "gen-time-future"
    )


def test_it_dates_back_beyond_what_it_stamps():
    """Who: the authority.
    Tries: a stamp older than the newest entry under the checkpoint.
    Caught by: not_before, the newest recorded time; and a fresh stamp must be of these minutes.
    Not caught: see the next test.
    """
    assert (
        caught(lambda recipe: reply(recipe.but(gen_time=recipe.gen_time - HOUR)))
        == "gen-time-early"
    )


def test_it_dates_back_within_the_window_and_is_not_caught():
    """Who: the authority, with the operator.
    Tries: to set the stamp back by half a minute.
    Caught by: NOT CAUGHT by us. What helps: a second authority, witnesses, and receipts in other
    hands, all of which would have to lie alike.
    Not caught: whoever holds the authority's key can state any time between the newest entry (less
    a minute for clocks) and now.
    """
    with stamp_server.authority(
        lambda recipe: reply(recipe.but(gen_time=recipe.gen_time - timedelta(seconds=30)))
    ) as mint:
        token = stamp(mint)

    assert token.stamp.gen_time < clock.now() - timedelta(seconds=29)


def test_it_says_granted_with_modifications():
    """Who: the authority.
    Tries: nothing; it granted the query with changes, as RFC 3161 allows.
    Caught by: nothing to catch. Whatever it changed is compared anyway: digest, nonce, policy.
    Not caught: nothing remains; what it changed otherwise is not what we asked it for.
    """
    with stamp_server.authority(lambda recipe: reply(recipe.but(status=1))) as mint:
        assert stamp(mint).stamp.authority == "CN=Mint Stamps"


def test_it_rejects_and_sends_a_token_all_the_same():
    """Who: the authority.
    Tries: to have a token counted that it never granted.
    Caught by: the status, before the token is looked at.
    Not caught: somebody who cuts the token out and wraps it as granted has a token that the
    authority did sign; its checks are the same.
    """
    assert caught(lambda recipe: reply(recipe.but(status=2))) == "status"


def foreign(recipe):
    signer = party("Mint Stamps", key=ec_key(number=2), issuer=stranger())
    return reply(recipe.but(signer=signer, embedded=(signer.certificate, stranger().certificate)))


def test_another_authority_answers_under_its_name():
    """Who: somebody on the way.
    Tries: own root and own signer, with all names right.
    Caught by: the chain must end at a pinned root, by signature and not by name; certificates in
    the token are never trusted.
    Not caught: an operator who pinned the wrong root.
    """
    assert caught(foreign) == "certificate-signature"


def test_another_customer_of_the_same_root_answers():
    """Who: somebody with a certificate from the same root, for signing code.
    Tries: to stamp.
    Caught by: the certificate must be for time stamps, critically and alone.
    Not caught: a second time-stamping unit of the same root is as good as the first; the Stamp
    names it.
    """
    signer = party(
        "Coder", key=ec_key(number=9), issuer=root(), extensions=(usage(0), purpose(CODE_SIGNING))
    )

    assert caught(lambda recipe: reply(recipe.but(signer=signer))) == "eku-missing"


def test_it_exchanges_its_certificate_for_another_of_the_same_key():
    """Who: the authority.
    Tries: a new certificate for the old key, same issuer and number.
    Caught by: the signature covers a digest of the certificate it was made for (ESSCertIDv2).
    Not caught: nothing remains.
    """
    old = authority()
    new = party("Other Unit", key=old.key, issuer=root(), serial=old.serial)
    lie = {"signer": new, "ess_certificate": old.certificate}

    assert caught(lambda recipe: reply(recipe.but(**lie))) == "signing-certificate-mismatch"


def test_somebody_stuffs_the_token_with_certificates():
    """Who: somebody on the way.
    Tries: namesakes of signer and root, so that the wrong one is used.
    Caught by: the signer is the certificate that the signature names twice; others are ignored.
    Not caught: that the token is longer than it was, which is harmless.
    """
    double = party("Mint Stamps", key=ec_key(number=9), issuer=stranger())
    crowd = (double.certificate, stranger().certificate, authority().certificate)

    with stamp_server.authority(lambda recipe: reply(recipe.but(embedded=crowd))) as mint:
        assert stamp(mint).stamp.chain == (authority().certificate, root().certificate)


def test_it_signs_with_a_certificate_that_has_expired():
    """Who: a thief of an old key.
    Tries: to stamp today.
    Caught by: every certificate of the chain must be valid at the stamped time, and that time must
    be now.
    Not caught: an old token that he dates back, checked without knowing when it was obtained; it is
    marked `expired`, and a packet that rests on it alone is incomplete.
    """
    signer = party(
        "Old Stamps",
        key=ec_key(number=9),
        issuer=root(),
        begins=NOW - timedelta(days=700),
        ends=NOW - timedelta(days=300),
    )

    assert caught(lambda recipe: reply(recipe.but(signer=signer))) == "certificate-expired"
    old = reply(honest(signer=signer, gen_time=NOW - timedelta(days=310)))
    assert check_stamp(old, message=MESSAGE, roots=[root().certificate]).expired


def test_it_uses_a_key_or_a_digest_that_can_be_broken():
    """Who: the authority, or its issuer.
    Tries: RSA with 1024 bits; SHA-1 in a certificate.
    Caught by: the lists of accepted keys and digests, for each signature below the pinned root.
    Not caught: how the pinned root signed itself; it is trusted because it was pinned.
    """
    short = party("Short", key=rsa_key(1024), issuer=root())
    weak = party("Weak CA", key=ec_key(number=9), issuer=root(), extensions=CA, digest="sha1")
    below = party("Weak Stamps", key=ec_key(number=10), issuer=weak, extensions=TSA)
    embedded = (below.certificate, weak.certificate)

    assert caught(lambda recipe: reply(recipe.but(signer=short))) == "weak-key"
    assert (
        caught(lambda recipe: reply(recipe.but(signer=below, embedded=embedded)))
        == "digest-algorithm"
    )


def test_it_appends_bytes_that_nobody_signed():
    """Who: somebody on the way.
    Tries: a second document after the token, for a lenient reader.
    Caught by: strict DER, nothing may follow.
    Not caught: nothing remains.
    """
    assert caught(lambda recipe: reply(recipe) + b"and one more thing") == "trailing-bytes"


def test_it_sends_the_query_back():
    """Who: a broken or mocking server.
    Tries: any bytes at all.
    Caught by: what is not a time stamp in strict DER is refused, without another accident.
    Not caught: why it does so; the night says `tsa-refused` and asks again.
    """
    assert caught(lambda recipe: request(recipe.message).der) == "not-der"
