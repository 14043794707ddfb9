# SPDX-License-Identifier: GPL-3.0-or-later
"""A mint for time stamps that no honest authority would issue, and for the honest ones beside them.

A `Recipe` describes one reply; each field that is not at its default is one lie.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from der_writer import (
    NULL,
    TRUE,
    algorithm,
    bits,
    general_time,
    integer,
    name,
    named_bits,
    octets,
    oid,
    seq,
    set_of,
    tlv,
    utc_time,
)

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
GEN_TIME = NOW - timedelta(days=30)
MESSAGE = b"ledger.example/acme\n7\nqqqq\n"
NONCE = 0xC0FFEE0123456789
POLICY = "1.3.6.1.4.1.32473.1"

TST_INFO = "1.2.840.113549.1.9.16.1.4"
SIGNED_DATA = "1.2.840.113549.1.7.2"
TIME_STAMPING = "1.3.6.1.5.5.7.3.8"
CODE_SIGNING = "1.3.6.1.5.5.7.3.3"
DIGEST_OIDS = {
    "md5": "1.2.840.113549.2.5",
    "sha1": "1.3.14.3.2.26",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}
RSA_OIDS = {"sha1": "1.2.840.113549.1.1.5", "sha256": "1.2.840.113549.1.1.11"}
RSA_OIDS |= {"sha384": "1.2.840.113549.1.1.12", "sha512": "1.2.840.113549.1.1.13"}
ECDSA_OIDS = {"sha1": "1.2.840.10045.4.1", "sha256": "1.2.840.10045.4.3.2"}
ECDSA_OIDS |= {"sha384": "1.2.840.10045.4.3.3", "sha512": "1.2.840.10045.4.3.4"}

# ---- keys


def pss(digest: str, salt: int, *, mask: str | None = None) -> bytes:
    inner = algorithm(DIGEST_OIDS[mask or digest], NULL)
    return algorithm(
        "1.2.840.113549.1.1.10",
        seq(
            tlv(0xA0, algorithm(DIGEST_OIDS[digest], NULL)),
            tlv(0xA1, algorithm("1.2.840.113549.1.1.8", inner)),
            tlv(0xA2, integer(salt)),
        ),
    )


@cache
def rsa_key(size: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, size)


@cache
def ec_key(curve: str = "p256", number: int = 0) -> ec.EllipticCurvePrivateKey:
    curves: dict[str, ec.EllipticCurve] = {
        "p256": ec.SECP256R1(),
        "p384": ec.SECP384R1(),
        "p521": ec.SECP521R1(),
        "brainpool": ec.BrainpoolP256R1(),
        "k256": ec.SECP256K1(),
    }
    del number
    return ec.generate_private_key(curves[curve])


@cache
def ed25519_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def public(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def hasher(digest: str) -> hashes.HashAlgorithm:
    return getattr(hashes, digest.upper())()


def sign(key: Any, data: bytes, digest: str, salt: int | None = None) -> tuple[bytes, bytes]:
    """The AlgorithmIdentifier and the signature."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return algorithm("1.3.101.112"), key.sign(data)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return algorithm(ECDSA_OIDS[digest]), key.sign(data, ec.ECDSA(hasher(digest)))
    if salt is not None:
        how = padding.PSS(padding.MGF1(hasher(digest)), salt)
        return pss(digest, salt), key.sign(data, how, hasher(digest))
    return (
        algorithm(RSA_OIDS[digest], NULL),
        key.sign(data, padding.PKCS1v15(), hasher(digest)),
    )


# ---- certificates


@dataclass(frozen=True, kw_only=True)
class Party:
    """A key, its name in DER, and the certificate that binds them."""

    key: Any
    name: bytes
    serial: int
    issuer: bytes
    key_id: bytes
    certificate: bytes


def extension(dotted: str, value: bytes, *, critical: bool) -> bytes:
    return seq(oid(dotted), *([TRUE] if critical else []), octets(value))


def basic(*, ca: bool = True, below: int | None = None) -> bytes:
    limit = [] if below is None else [integer(below)]
    return extension("2.5.29.19", seq(*([TRUE] if ca else []), *limit), critical=True)


def usage(*numbers: int) -> bytes:
    return extension("2.5.29.15", named_bits(*numbers), critical=True)


def purpose(*dotted: str, critical: bool = True) -> bytes:
    return extension("2.5.29.37", seq(*map(oid, dotted)), critical=critical)


CA = (basic(), usage(5, 6))
TSA = (basic(ca=False), usage(0), purpose(TIME_STAMPING))


def party(
    common: str,
    *,
    key: Any,
    issuer: Party | None = None,
    extensions: Sequence[bytes] = TSA,
    begins: datetime = NOW - timedelta(days=365),
    ends: datetime = NOW + timedelta(days=3650),
    digest: str = "sha256",
    serial: int | None = None,
    spki: bytes | None = None,
    salt: int | None = None,
    subject: bytes | None = None,
) -> Party:
    """A certified party. issuer: None for a self-signed root."""
    subject = name(common) if subject is None else subject
    by = subject if issuer is None else issuer.name
    spki = public(key) if spki is None else spki
    key_id = hashlib.sha256(spki).digest()[:20]
    number = int.from_bytes(key_id[:8], "big") + 1 if serial is None else serial
    signing_key = key if issuer is None else issuer.key
    how, _ = sign(signing_key, b"", digest, salt)
    identified = extension("2.5.29.14", octets(key_id), critical=False)
    body = seq(
        tlv(0xA0, integer(2)),
        integer(number),
        how,
        by,
        seq(utc_time(begins), utc_time(ends)),
        subject,
        spki,
        tlv(0xA3, seq(*extensions, identified)),
    )
    _, signature = sign(signing_key, body, digest, salt)
    return Party(
        key=key,
        name=subject,
        serial=number,
        issuer=by,
        key_id=key_id,
        certificate=seq(body, how, bits(signature)),
    )


@cache
def root() -> Party:
    return party("Mint Root", key=ec_key(number=1), extensions=CA)


@cache
def authority() -> Party:
    """The honest signer, directly below the root."""
    return party("Mint Stamps", key=ec_key(number=2), issuer=root())


@cache
def stranger() -> Party:
    """A root that nobody pinned, under the pinned root's name."""
    return party("Mint Root", key=ec_key(number=3), extensions=CA)


# ---- tokens


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One reply. The defaults make an honest one over MESSAGE, with NONCE and POLICY."""

    signer: Party
    message: bytes = MESSAGE
    # the reply
    status: int = 0
    failure: bytes = b""
    with_token: bool = True
    kind: str = SIGNED_DATA
    version: int = 3
    content_kind: str = TST_INFO
    signers: int = 1
    embedded: tuple[bytes, ...] | None = None
    # the statement
    tst_version: int = 1
    policy: str = POLICY
    imprint_digest: str = "sha256"
    imprint: bytes | None = None
    gen_time: datetime = GEN_TIME
    gen_time_text: str | None = None
    nonce: int | None = NONCE
    tst_extension: bytes = b""
    # the signature
    digest: str = "sha256"
    announced: str | None = None
    with_attributes: bool = True
    sort_attributes: bool = True
    attribute_kind: str | None = TST_INFO
    message_digest: bytes | None = None
    repeated: bool = False
    ess: str | None = "v2"
    ess_digest: str = "sha256"
    ess_certificate: bytes | None = None
    ess_issuer: Party | None = None
    by_key_id: bool = False
    salt: int | None = None
    signature_algorithm: bytes | None = None
    signature: bytes | None = None
    sign_other: bytes = b""

    def but(self, **lies: Any) -> "Recipe":
        return replace(self, **lies)


def honest(**lies: Any) -> Recipe:
    return Recipe(**{"signer": authority(), **lies})


def statement(recipe: Recipe) -> bytes:
    imprint = recipe.imprint
    if imprint is None:
        imprint = hashlib.new(recipe.imprint_digest, recipe.message).digest()
    moment = recipe.gen_time_text or f"{recipe.gen_time:%Y%m%d%H%M%SZ}"
    return seq(
        integer(recipe.tst_version),
        oid(recipe.policy),
        seq(algorithm(DIGEST_OIDS[recipe.imprint_digest], NULL), octets(imprint)),
        integer(42),
        general_time(moment),
        seq(integer(1)),
        *([] if recipe.nonce is None else [integer(recipe.nonce)]),
        *([tlv(0xA1, recipe.tst_extension)] if recipe.tst_extension else []),
    )


def attribute(dotted: str, *values: bytes) -> bytes:
    return seq(oid(dotted), set_of(*values))


def _named_certificate(recipe: Recipe) -> list[bytes]:
    certificate = recipe.ess_certificate or recipe.signer.certificate
    placed: list[bytes] = []
    if recipe.ess_issuer is not None:
        general = seq(tlv(0xA4, recipe.ess_issuer.issuer))
        placed = [seq(general, integer(recipe.ess_issuer.serial))]
    found = []
    if recipe.ess in {"v1", "both"}:
        value = octets(hashlib.sha1(certificate).digest())
        named = seq(seq(seq(value, *placed)))
        found.append(attribute("1.2.840.113549.1.9.16.2.12", named))
    if recipe.ess in {"v2", "both"}:
        default = recipe.ess_digest == "sha256"
        how = [] if default else [algorithm(DIGEST_OIDS[recipe.ess_digest], NULL)]
        value = octets(hashlib.new(recipe.ess_digest, certificate).digest())
        named = seq(seq(seq(*how, value, *placed)))
        found.append(attribute("1.2.840.113549.1.9.16.2.47", named))
    return found


def _attributes(recipe: Recipe, content: bytes) -> list[bytes]:
    digest = recipe.message_digest
    if digest is None:
        digest = hashlib.new(recipe.digest, content).digest()
    found = [attribute("1.2.840.113549.1.9.4", octets(digest)), *_named_certificate(recipe)]
    if recipe.attribute_kind is not None:
        found.append(attribute("1.2.840.113549.1.9.3", oid(recipe.attribute_kind)))
    if recipe.repeated:
        found.append(attribute("1.2.840.113549.1.9.4", octets(digest), octets(bytes(32))))
    return sorted(found, reverse=not recipe.sort_attributes)


def _signer_info(recipe: Recipe, content: bytes) -> bytes:
    signer = recipe.signer
    attributes = b"".join(_attributes(recipe, content))
    signed = tlv(0x31, attributes) if recipe.with_attributes else content
    how, signature = sign(signer.key, recipe.sign_other or signed, recipe.digest, recipe.salt)
    if recipe.by_key_id:
        who = tlv(0x80, signer.key_id)
    else:
        who = seq(signer.issuer, integer(signer.serial))
    return seq(
        integer(3 if recipe.by_key_id else 1),
        who,
        algorithm(DIGEST_OIDS[recipe.digest], NULL),
        *([tlv(0xA0, attributes)] if recipe.with_attributes else []),
        recipe.signature_algorithm or how,
        octets(signature if recipe.signature is None else recipe.signature),
    )


def token(recipe: Recipe) -> bytes:
    """A TimeStampToken."""
    content = statement(recipe)
    embedded = (recipe.signer.certificate,) if recipe.embedded is None else recipe.embedded
    info = _signer_info(recipe, content)
    announced = DIGEST_OIDS[recipe.announced or recipe.digest]
    data = seq(
        integer(recipe.version),
        tlv(0x31, algorithm(announced, NULL)),
        seq(oid(recipe.content_kind), tlv(0xA0, octets(content))),
        *([tlv(0xA0, *embedded)] if embedded else []),
        tlv(0x31, *([info] * recipe.signers)),
    )
    return seq(oid(recipe.kind), tlv(0xA0, data))


def reply(recipe: Recipe) -> bytes:
    """A TimeStampResp."""
    status = seq(integer(recipe.status), recipe.failure)
    return seq(status, token(recipe) if recipe.with_token else b"")
