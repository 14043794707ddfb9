# SPDX-License-Identifier: GPL-3.0-or-later
"""Honest stamps of every accepted form, and lies with the reason for which each is refused."""

import hashlib
from datetime import timedelta

import pytest
from der_writer import NULL, algorithm, bits, integer, oid, seq, tlv
from minting import (
    CA,
    CODE_SIGNING,
    MESSAGE,
    NONCE,
    NOW,
    POLICY,
    TIME_STAMPING,
    authority,
    basic,
    ec_key,
    ed25519_key,
    extension,
    honest,
    party,
    pss,
    public,
    purpose,
    root,
    rsa_key,
    stranger,
    usage,
)

from sealtrail.verify.timestamp import REASONS, StampRefused, check_stamp

BACKENDS = ["cryptography", "openssl"]


def check(data, **facts):
    known = {"message": MESSAGE, "roots": [root().certificate], "nonce": NONCE, "policy": POLICY}
    return check_stamp(data, **{**known, "now": NOW, **facts})


def reason(data, **facts):
    with pytest.raises(StampRefused) as caught:
        check(data, **facts)
    assert str(caught.value).startswith(REASONS[caught.value.reason])
    return caught.value.reason


def signer(**facts):
    return party("Odd Stamps", **{"key": ec_key(number=4), "issuer": root(), **facts})


def rsa_signer():
    return signer(key=rsa_key())


def pss_bound(salt):
    """An RSA key that is bound to RSA-PSS with SHA-256 by its own parameters."""
    key = public(rsa_key())
    inner = key[key.index(b"\x03\x82") :]
    return seq(pss("sha256", salt), inner)


HONEST = {
    "ECDSA P-256": honest,
    "ECDSA P-384 with SHA-384": lambda: honest(signer=signer(key=ec_key("p384")), digest="sha384"),
    "ECDSA P-521 with SHA-512": lambda: honest(signer=signer(key=ec_key("p521")), digest="sha512"),
    "ECDSA brainpoolP256r1": lambda: honest(signer=signer(key=ec_key("brainpool"))),
    "Ed25519": lambda: honest(signer=signer(key=ed25519_key()), digest="sha512"),
    "RSA": lambda: honest(signer=rsa_signer()),
    "RSA, all with SHA-512": lambda: honest(
        signer=rsa_signer(), digest="sha512", imprint_digest="sha512", ess_digest="sha512"
    ),
    "RSA named without a digest": lambda: honest(
        signer=rsa_signer(), signature_algorithm=algorithm("1.2.840.113549.1.1.1", NULL)
    ),
    "RSA-PSS": lambda: honest(signer=rsa_signer(), salt=32),
    "RSA-PSS without salt": lambda: honest(signer=rsa_signer(), salt=0),
    "a key bound to RSA-PSS": lambda: honest(
        signer=signer(key=rsa_key(), spki=pss_bound(32)), salt=32
    ),
    "a certificate signed with RSA-PSS": lambda: honest(
        signer=party("Odd Stamps", key=ec_key(number=4), issuer=rsa_root(), salt=32)
    ),
    "granted with modifications": lambda: honest(status=1),
    "certificate named by SHA-1": lambda: honest(ess="v1"),
    "certificate named twice": lambda: honest(ess="both"),
    "certificate named with issuer": lambda: honest(ess_issuer=authority()),
    "signer named by its key": lambda: honest(by_key_id=True),
    "a fraction of a second": lambda: honest(gen_time_text="20260502120000.123Z"),
    "further certificates": lambda: honest(
        embedded=(stranger().certificate, authority().certificate, seq(b"\x05\x00"), tlv(0xA1))
    ),
    "an attribute certificate beside it": lambda: honest(
        version=4, embedded=(authority().certificate, tlv(0xA2, integer(1)))
    ),
    "no nonce asked for": lambda: honest(nonce=None),
    "an extension that is not critical": lambda: honest(
        tst_extension=extension("1.2.3", b"", critical=False)
    ),
}


def rsa_root():
    return party("Mint RSA Root", key=rsa_key(), extensions=CA)


LIES = {
    # the reply
    "rejection": ("status", lambda: honest(status=2)),
    "waiting": ("status", lambda: honest(status=3)),
    "an unknown status": ("status", lambda: honest(status=77)),
    "a negative status": ("status", lambda: honest(status=-1)),
    "granted, and nothing": ("no-token", lambda: honest(with_token=False)),
    "enveloped data": ("content-type", lambda: honest(kind="1.2.840.113549.1.7.3")),
    "plain data": ("content-type", lambda: honest(content_kind="1.2.840.113549.1.7.1")),
    "version 1 of signed data": ("signed-data-version", lambda: honest(version=1)),
    "nobody signed": ("signer-count", lambda: honest(signers=0)),
    "two signed": ("signer-count", lambda: honest(signers=2)),
    "a version for other kinds of certificates": (
        "signed-data-version",
        lambda: honest(version=4),
    ),
    # the statement
    "version 2": ("tst-version", lambda: honest(tst_version=2)),
    "critical extension": (
        "tst-extension",
        lambda: honest(tst_extension=extension("1.2.3", b"", critical=True)),
    ),
    "SHA-1 imprint": ("imprint-algorithm", lambda: honest(imprint_digest="sha1")),
    "short imprint": ("imprint-length", lambda: honest(imprint=bytes(20))),
    "long imprint": (
        "imprint-length",
        lambda: honest(imprint=hashlib.sha256(MESSAGE).digest() + b"\0"),
    ),
    "other message": ("imprint-value", lambda: honest(message=b"another checkpoint")),
    "wrong nonce": ("nonce", lambda: honest(nonce=NONCE + 1)),
    "missing nonce": ("nonce", lambda: honest(nonce=None)),
    "negated nonce": ("nonce", lambda: honest(nonce=NONCE - 2**64)),
    "other policy": ("policy", lambda: honest(policy=POLICY + ".1")),
    "ten years ahead": ("gen-time-future", lambda: honest(gen_time=NOW + timedelta(days=3650))),
    "no time at all": ("not-der", lambda: honest(gen_time_text="yesterday")),
    # the signature
    "no attributes": ("signed-attributes-missing", lambda: honest(with_attributes=False)),
    "unsorted attributes": ("signed-attributes-order", lambda: honest(sort_attributes=False)),
    "two digests": ("signed-attribute-repeated", lambda: honest(repeated=True)),
    "attribute names plain data": (
        "attribute-content-type",
        lambda: honest(attribute_kind="1.2.840.113549.1.7.1"),
    ),
    "no content type": ("attribute-content-type", lambda: honest(attribute_kind=None)),
    "other digest": ("attribute-message-digest", lambda: honest(message_digest=bytes(32))),
    "SHA-1 digest": ("digest-algorithm", lambda: honest(signer=rsa_signer(), digest="sha1")),
    "digest not announced": ("algorithm-mismatch", lambda: honest(announced="sha512")),
    "another digest in the signature": (
        "algorithm-mismatch",
        lambda: honest(signature_algorithm=algorithm("1.2.840.10045.4.3.4")),
    ),
    "a kind of signature for another key": (
        "algorithm-mismatch",
        lambda: honest(signature_algorithm=algorithm("1.2.840.113549.1.1.11", NULL)),
    ),
    "RSA-PSS with SHA-1 by default": (
        "digest-algorithm",
        lambda: honest(
            signer=rsa_signer(), signature_algorithm=algorithm("1.2.840.113549.1.1.10", seq())
        ),
    ),
    "RSA-PSS with two digests": (
        "algorithm-mismatch",
        lambda: honest(signer=rsa_signer(), signature_algorithm=pss("sha256", 32, mask="sha512")),
    ),
    "RSA-PSS with another salt": (
        "signature",
        lambda: honest(signer=rsa_signer(), salt=32, signature_algorithm=pss("sha256", 20)),
    ),
    "RSA-PSS with an impossible salt": (
        "signature",
        lambda: honest(signer=rsa_signer(), salt=32, signature_algorithm=pss("sha256", 300)),
    ),
    "a key bound to a longer salt": (
        "algorithm-mismatch",
        lambda: honest(signer=signer(key=rsa_key(), spki=pss_bound(64)), salt=32),
    ),
    "an algorithm nobody knows": (
        "signature-algorithm",
        lambda: honest(signature_algorithm=algorithm("1.2.3.4")),
    ),
    "parameters where none belong": (
        "signature-algorithm",
        lambda: honest(signature_algorithm=algorithm("1.2.840.10045.4.3.2", integer(1))),
    ),
    "an RSA signature over other bytes": (
        "signature",
        lambda: honest(signer=rsa_signer(), sign_other=b"other"),
    ),
    "an RSA-PSS signature over other bytes": (
        "signature",
        lambda: honest(signer=rsa_signer(), sign_other=b"other", salt=32),
    ),
    "an ECDSA signature over other bytes": ("signature", lambda: honest(sign_other=b"other")),
    "an Ed25519 signature over other bytes": (
        "signature",
        lambda: honest(signer=signer(key=ed25519_key()), digest="sha512", sign_other=b"other"),
    ),
    "an ECDSA signature of zeros": (
        "signature",
        lambda: honest(signature=seq(integer(0), integer(0))),
    ),
    "an ECDSA signature beyond the order": (
        "signature",
        lambda: honest(signature=seq(integer(2**256 - 1), integer(1))),
    ),
    "an ECDSA signature that is none": ("signature", lambda: honest(signature=bytes(64))),
    "an RSA signature that is too short": (
        "signature",
        lambda: honest(signer=rsa_signer(), signature=bytes(255)),
    ),
    # the signer's certificate
    "no certificate named": ("signing-certificate-missing", lambda: honest(ess=None)),
    "another certificate named": (
        "signing-certificate-mismatch",
        lambda: honest(ess_certificate=root().certificate),
    ),
    "another certificate named by SHA-1": (
        "signing-certificate-mismatch",
        lambda: honest(ess="v1", ess_certificate=root().certificate),
    ),
    "another issuer named": (
        "signing-certificate-mismatch",
        lambda: honest(ess_issuer=stranger()),
    ),
    "certificate named by MD5": ("digest-algorithm", lambda: honest(ess_digest="md5")),
    "only other certificates": (
        "signer-certificate",
        lambda: honest(embedded=(root().certificate,)),
    ),
    "no purpose": (
        "eku-missing",
        lambda: honest(signer=signer(extensions=(basic(ca=False), usage(0)))),
    ),
    "another purpose": (
        "eku-missing",
        lambda: honest(signer=signer(extensions=(usage(0), purpose(CODE_SIGNING)))),
    ),
    "a purpose that is not critical": (
        "eku-not-critical",
        lambda: honest(
            signer=signer(extensions=(usage(0), purpose(TIME_STAMPING, critical=False)))
        ),
    ),
    "two purposes": (
        "eku-not-sole",
        lambda: honest(signer=signer(extensions=(usage(0), purpose(TIME_STAMPING, CODE_SIGNING)))),
    ),
    "a key for encryption, too": (
        "signer-key-usage",
        lambda: honest(signer=signer(extensions=(usage(0, 2), purpose(TIME_STAMPING)))),
    ),
    "a key that signs certificates": (
        "signer-key-usage",
        lambda: honest(signer=signer(extensions=(usage(5), purpose(TIME_STAMPING)))),
    ),
    "1024 bits": ("weak-key", lambda: honest(signer=signer(key=rsa_key(1024)))),
    "a curve that is not accepted": (
        "public-key",
        lambda: honest(signer=signer(key=ec_key("k256"))),
    ),
    "a point off its curve": ("public-key", lambda: honest(signer=signer(spki=off_curve()))),
    "a compressed point": ("public-key", lambda: honest(signer=signer(spki=compressed()))),
    "a key that cannot be": ("public-key", lambda: honest(signer=signer(spki=even_modulus()))),
}


def off_curve():
    return public(ec_key())[:-1] + bytes([public(ec_key())[-1] ^ 1])


def compressed():
    curve = algorithm("1.2.840.10045.2.1", oid("1.2.840.10045.3.1.7"))
    return seq(curve, bits(b"\x02" + public(ec_key())[-64:-32]))


def even_modulus():
    kind = algorithm("1.2.840.113549.1.1.1", NULL)
    return seq(kind, bits(seq(integer(2**2048 - 2), integer(65537))))
