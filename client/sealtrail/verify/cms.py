# SPDX-License-Identifier: Apache-2.0
"""Reads a time-stamp reply: the answer, the signed data inside it, the statement inside that.

    TimeStampResp ⊃ TimeStampToken (ContentInfo) ⊃ SignedData ⊃ TSTInfo
                                                     └ SignerInfo ⊃ signed attributes

Reading refuses what is not of this form; whether the statement is true is decided in `timestamp`.

Source: RFC 3161 §2.4.2; RFC 5652 §3, §5; RFC 5816; RFC 5035 §3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from sealtrail.verify import der
from sealtrail.verify.algorithms import Algorithm
from sealtrail.verify.timestamp_reasons import StampRefused
from sealtrail.verify.x509 import read_extensions

SIGNED_DATA: Final = "1.2.840.113549.1.7.2"
TST_INFO: Final = "1.2.840.113549.1.9.16.1.4"
CONTENT_TYPE: Final = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST: Final = "1.2.840.113549.1.9.4"
SIGNING_CERTIFICATE: Final = "1.2.840.113549.1.9.16.2.12"
SIGNING_CERTIFICATE_V2: Final = "1.2.840.113549.1.9.16.2.47"

#: Attributes that are read and may therefore stand only once, with one value.
_SINGLE: Final = {CONTENT_TYPE, MESSAGE_DIGEST, SIGNING_CERTIFICATE, SIGNING_CERTIFICATE_V2}
_STATUS: Final = {
    2: "It said: rejection.",
    3: "It said: waiting.",
    4: "It said: revocation warning.",
    5: "It said: revocation notification.",
}
#: Version of SignedData around a statement; later ones hold other kinds of certificates or of
#: revocation lists (RFC 5652 §5.1).
_VERSION: Final = 3
_VERSIONS_WITH_OTHERS: Final = {4, 5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Who signed and how.

    issuer and serial, or key_id: how the signer names its certificate.
    signed: exactly the bytes that were signed, the attributes under the tag of a SET.
    attributes: the value of each attribute of this module's constants that is there.
    """

    issuer: bytes | None
    serial: int | None
    key_id: bytes | None
    digest: Algorithm
    signed: bytes
    attributes: Mapping[str, der.Element]
    algorithm: Algorithm
    signature: bytes

    @classmethod
    def read(cls, element: der.Element) -> Self:
        fields = der.Fields(element.content)
        version = der.integer(fields.next())
        key_id = fields.optional(0x80)
        issuer, serial = None, None
        if key_id is None:
            named = der.Fields(fields.next(der.SEQUENCE).content)
            issuer, serial = named.next(der.SEQUENCE).raw, der.integer(named.next())
            named.end()
        if version != (1 if key_id is None else 3):
            raise der.NotDer("A signer's version does not fit the way it is named.")
        digest = Algorithm.read(fields.next())
        attributes = fields.optional(0xA0)
        algorithm, signature = Algorithm.read(fields.next()), der.octets(fields.next())
        fields.optional(0xA1)  # Unsigned attributes: anyone may add them, so they say nothing.
        fields.end()
        if attributes is None:
            raise StampRefused("signed-attributes-missing")
        return cls(
            issuer=issuer,
            serial=serial,
            key_id=None if key_id is None else key_id.content,
            digest=digest,
            signed=bytes([der.SET]) + attributes.raw[1:],
            attributes=_attributes(attributes),
            algorithm=algorithm,
            signature=signature,
        )


def _attributes(element: der.Element) -> dict[str, der.Element]:
    written = der.children(element)
    if not der.in_order(written):
        raise StampRefused("signed-attributes-order")
    found: dict[str, der.Element] = {}
    for attribute in written:
        if attribute.tag != der.SEQUENCE:
            raise der.NotDer("A signed attribute is not a sequence.")
        fields = der.Fields(attribute.content)
        oid, values = der.oid(fields.next()), der.children(fields.next(der.SET))
        fields.end()
        if oid in _SINGLE:
            if oid in found or len(values) != 1:
                raise StampRefused("signed-attribute-repeated")
            found[oid] = values[0]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedData:
    """Content with one signature. certificates: those that came along, in DER; none is trusted."""

    content: bytes
    certificates: tuple[bytes, ...]
    signer: Signer

    @classmethod
    def parse(cls, token: bytes) -> Self:
        """Read a TimeStampToken. Raises der.NotDer or StampRefused."""
        info = der.Fields(der.parse(token, der.SEQUENCE).content)
        kind, wrapped = der.oid(info.next()), info.next(0xA0)
        info.end()
        if kind != SIGNED_DATA:
            raise StampRefused("content-type")
        fields = der.Fields(der.parse(wrapped.content, der.SEQUENCE).content)
        version = der.integer(fields.next())
        announced = [Algorithm.read(one) for one in der.children(fields.next(der.SET))]
        inner = der.Fields(fields.next(der.SEQUENCE).content)
        content_type, content = der.oid(inner.next()), inner.optional(0xA0)
        inner.end()
        if content_type != TST_INFO or content is None:
            raise StampRefused("content-type")
        certificates = fields.optional(0xA0)
        lists = fields.optional(0xA1)  # Of revocation: not checked, and the verdict says so.
        signers = der.children(fields.next(der.SET))
        fields.end()
        embedded = () if certificates is None else der.children(certificates)
        plain = lists is None and all(one.tag == der.SEQUENCE for one in embedded)
        if version != _VERSION and (plain or version not in _VERSIONS_WITH_OTHERS):
            raise StampRefused("signed-data-version")
        if len(signers) != 1:
            raise StampRefused("signer-count", f"It has {len(signers)} signers.")
        if signers[0].tag != der.SEQUENCE:
            raise der.NotDer("A signer is not a sequence.")
        signer = Signer.read(signers[0])
        digests = [one for one in announced if one.oid == signer.digest.oid]
        if not digests:
            raise StampRefused("algorithm-mismatch", "The signer's digest is not announced.")
        for digest in digests:
            digest.check_plain("digest-algorithm")
        return cls(
            content=der.octets(der.parse(content.content)),
            certificates=tuple(one.raw for one in embedded if one.tag == der.SEQUENCE),
            signer=signer,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What the authority states (TSTInfo): this digest existed at this time."""

    policy: str
    imprint_algorithm: Algorithm
    imprint: bytes
    serial: int
    gen_time: datetime
    nonce: int | None

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a TSTInfo. Raises der.NotDer or StampRefused.

        The name in its field `tsa` is a claim; who signed follows from the certificate alone
        (RFC 3161 §2.4.2), so it is not read.
        """
        fields = der.Fields(der.parse(data, der.SEQUENCE).content)
        if der.integer(fields.next()) != 1:
            raise StampRefused("tst-version")
        policy = der.oid(fields.next())
        imprint = der.Fields(fields.next(der.SEQUENCE).content)
        algorithm, value = Algorithm.read(imprint.next()), der.octets(imprint.next())
        imprint.end()
        serial = der.integer(fields.next())
        gen_time = der.time(fields.next(der.GENERALIZED_TIME))
        fields.optional(der.SEQUENCE)  # Accuracy: a claim that no check here relies on.
        ordering = fields.optional(der.BOOLEAN)
        if ordering is not None:
            der.boolean(ordering)
        nonce = fields.optional(der.INTEGER)
        fields.optional(0xA0)  # The claimed name, see above.
        extensions = fields.optional(0xA1)
        fields.end()
        if extensions is not None:
            listed = read_extensions(der.encode(der.SEQUENCE, extensions.content))
            if any(critical for critical, _ in listed.values()):
                raise StampRefused("tst-extension")
        return cls(
            policy=policy,
            imprint_algorithm=algorithm,
            imprint=value,
            serial=serial,
            gen_time=gen_time,
            nonce=None if nonce is None else der.integer(nonce),
        )


def token_of(reply: bytes) -> bytes:
    """The token inside a granted TimeStampResp, byte for byte.

    Raises der.NotDer, or StampRefused if the authority did not grant it.
    """
    fields = der.Fields(der.parse(reply, der.SEQUENCE).content)
    answer = der.Fields(fields.next(der.SEQUENCE).content)
    status = der.integer(answer.next())
    answer.optional(der.SEQUENCE)  # Free text of the authority: never shown.
    answer.optional(der.BIT_STRING)
    answer.end()
    if status not in {0, 1}:
        raise StampRefused("status", _STATUS.get(status, ""))
    token = fields.optional(der.SEQUENCE)
    fields.end()
    if token is None:
        raise StampRefused("no-token")
    return token.raw


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateName:
    """How a signature names the certificate it was made for (ESSCertID, ESSCertIDv2)."""

    digest: Algorithm | None
    value: bytes
    issuer: bytes | None
    serial: int | None


def signing_certificate(element: der.Element) -> CertificateName:
    """The first name in a SigningCertificate or SigningCertificateV2: the signer's own.

    digest: None where the format does not name one (SHA-1 in the first version, SHA-256 in the
    second). Further names in the list are those of issuers and limit nothing here: the chain ends
    at a pinned root or is refused.
    """
    if element.tag != der.SEQUENCE:
        raise der.NotDer("A signing certificate is not named by a sequence.")
    fields = der.Fields(element.content)
    names = der.children(fields.next(der.SEQUENCE))
    fields.optional(der.SEQUENCE)  # Policies
    fields.end()
    if not names:
        raise StampRefused("signing-certificate-missing")
    inner = der.Fields(names[0].content)
    digest = inner.optional(der.SEQUENCE)
    value = der.octets(inner.next())
    issuer_serial = inner.optional(der.SEQUENCE)
    inner.end()
    issuer, serial = None, None
    if issuer_serial is not None:
        pair = der.Fields(issuer_serial.content)
        general, serial = der.children(pair.next(der.SEQUENCE)), der.integer(pair.next())
        pair.end()
        if len(general) != 1 or general[0].tag != 0xA4:
            raise der.NotDer("An issuer is not named by exactly one directory name.")
        issuer = general[0].content
    return CertificateName(
        digest=None if digest is None else Algorithm.read(digest),
        value=value,
        issuer=issuer,
        serial=serial,
    )
