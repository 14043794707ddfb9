# SPDX-License-Identifier: Apache-2.0
"""Checks that an independent authority saw exactly these bytes at a stated time.

    believed:  granted reply -> one signature over one statement -> our bytes, our nonce
               -> a certificate for time stamps only -> a chain to a root pinned by the reader,
               all of it valid at the stamped time

A verdict is one of three: a Stamp; StampRefused with the reason, for programs in `.reason`;
Incomplete if a root, a certificate or a tool is missing. Reasons: `timestamp_reasons`.

KNOWN GAP: revocation is not checked, and every Stamp says so. An authority that dates back within
the window between `not_before` and `now` cannot be found out from its token alone.

Source: RFC 3161 §2.2 and §2.4.2, RFC 5816, RFC 5652 §5.4 and §5.6, RFC 5035 §3 and §4.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sealtrail.verify import cms, der, x509
from sealtrail.verify.algorithms import DIGEST_SIZE, digest_of, public_key, scheme_of
from sealtrail.verify.certificate_path import check_certificate, find_path
from sealtrail.verify.errors import Incomplete
from sealtrail.verify.timestamp_backend import Backend, check_signature
from sealtrail.verify.timestamp_reasons import REASONS, StampRefused
from sealtrail.verify.x509 import Certificate, certificates_from_pem, print_name

__all__ = [
    "FUTURE_MAX",
    "REASONS",
    "REPLY_MAX",
    "SKEW",
    "Stamp",
    "StampRefused",
    "certificates_from_pem",
    "check_stamp",
    "check_token",
    "print_name",
]

#: How far an authority's clock may be behind the ledger's, and ahead of the reader's.
SKEW: Final = timedelta(minutes=1)
FUTURE_MAX: Final = timedelta(minutes=5)

REPLY_MAX: Final = 256 * 1024

_CERTIFICATES_MAX: Final = 64
_NOT_REVOKED: Final = "Whether a certificate of the authority was revoked was not checked."


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """A time stamp that is believed.

    gen_time: when the authority says it saw the bytes, in UTC.
    authority: the subject of its certificate, escaped for display. serial: as OpenSSL prints it.
    remarks: sentences that belong beside the verdict.
    expired: a certificate of the chain was valid at gen_time and is not any more, so a key stolen
    since could have dated back; a packet that rests on this stamp alone is incomplete.
    chain: certificates from the signer's to the pinned root, in DER.
    """

    gen_time: datetime
    authority: str
    serial: str
    policy: str
    digest_algorithm: str
    remarks: tuple[str, ...]
    expired: bool
    chain: tuple[bytes, ...]


def check_stamp(
    reply: bytes,
    *,
    message: bytes,
    roots: Sequence[bytes],
    extra_certificates: Sequence[bytes] = (),
    nonce: int | None = None,
    policy: str | None = None,
    now: datetime | None = None,
    not_before: datetime | None = None,
    backend: Backend = "auto",
) -> Stamp:
    """The Stamp that an authority's raw reply (TimeStampResp) is for `message`; else raise.

    roots: pinned certificates in DER; only they are trusted, whatever else comes along.
    extra_certificates: in DER, for a token that does not hold its own; never trusted.
    nonce, policy: what was asked for, if known. not_before: nothing in `message` is older.
    now: the reader's clock; this machine's if not given.

    About 1 ms with `cryptography`, 10 ms per signature with `openssl`. Raises StampRefused,
    Incomplete, or Unreadable if a root is not a certificate.
    """
    if len(reply) > REPLY_MAX:
        raise StampRefused("too-large")
    try:
        token = cms.token_of(reply)
    except der.NotDer as fault:
        raise _malformed(fault) from None
    return check_token(
        token,
        message=message,
        roots=roots,
        extra_certificates=extra_certificates,
        nonce=nonce,
        policy=policy,
        now=now,
        not_before=not_before,
        backend=backend,
    )


def check_token(
    token: bytes,
    *,
    message: bytes,
    roots: Sequence[bytes],
    extra_certificates: Sequence[bytes] = (),
    nonce: int | None = None,
    policy: str | None = None,
    now: datetime | None = None,
    not_before: datetime | None = None,
    backend: Backend = "auto",
) -> Stamp:
    """The same for a bare TimeStampToken, as evidence records keep it (RFC 4998)."""
    pinned = [Certificate.parse(root) for root in roots]
    now = datetime.now(UTC) if now is None else now
    if len(token) > REPLY_MAX:
        raise StampRefused("too-large")
    try:
        data = cms.SignedData.parse(token)
        statement = cms.Statement.parse(data.content)
        _check_statement(statement, message, nonce=nonce, policy=policy)
        _check_time(statement.gen_time, now=now, not_before=not_before)
        _check_signed_attributes(data)
        others = _readable(data.certificates) + _readable(extra_certificates)
        signer, sha1 = _signer_of(data, others)
        _check_for_time_stamps(signer)
        check_certificate(signer, statement.gen_time)
        scheme = scheme_of(data.signer.algorithm, digest=digest_of(data.signer.digest))
        key = public_key(signer.key)
        # Only now: what is false is refuted even for a reader without roots.
        if not pinned:
            raise Incomplete("No root of a time-stamping authority was given to check against.")
        chain = find_path(
            signer, others=others, roots=pinned, at=statement.gen_time, backend=backend
        )
        check_signature(
            scheme=scheme,
            key=key,
            message=data.signer.signed,
            signature=data.signer.signature,
            reason="signature",
            backend=backend,
        )
    except der.NotDer as fault:
        raise _malformed(fault) from None
    expired = _expired(chain, now)
    return Stamp(
        gen_time=statement.gen_time,
        authority=signer.name(),
        serial=_print_serial(statement.serial),
        policy=statement.policy,
        digest_algorithm=digest_of(statement.imprint_algorithm),
        remarks=(*([_NAMED_BY_SHA1] if sha1 else []), *expired, _NOT_REVOKED),
        expired=bool(expired),
        chain=tuple(one.raw for one in chain),
    )


_NAMED_BY_SHA1: Final = (
    "The signature names its certificate by SHA-1, as RFC 3161 did before RFC 5816; the chain to "
    "the pinned root does not rest on that."
)


def _malformed(fault: der.NotDer) -> StampRefused:
    trailing = isinstance(fault, der.TrailingBytes)
    return StampRefused("trailing-bytes" if trailing else "not-der", "" if trailing else str(fault))


def _check_statement(
    statement: cms.Statement, message: bytes, *, nonce: int | None, policy: str | None
) -> None:
    """Return if the authority states what was asked about these bytes; else raise."""
    algorithm = digest_of(statement.imprint_algorithm, "imprint-algorithm")
    if len(statement.imprint) != DIGEST_SIZE[algorithm]:
        raise StampRefused("imprint-length")
    if statement.imprint != hashlib.new(algorithm, message).digest():
        raise StampRefused("imprint-value")
    if nonce is not None and statement.nonce != nonce:
        raise StampRefused("nonce")
    if policy is not None and statement.policy != policy:
        raise StampRefused("policy")


def _check_time(gen_time: datetime, *, now: datetime, not_before: datetime | None) -> None:
    if gen_time > now + FUTURE_MAX:
        raise StampRefused("gen-time-future")
    if not_before is not None and gen_time < not_before - SKEW:
        raise StampRefused("gen-time-early")


def _check_signed_attributes(data: cms.SignedData) -> None:
    """Return if what was signed names the statement as its content, by kind and by digest."""
    attributes = data.signer.attributes
    content_type = attributes.get(cms.CONTENT_TYPE)
    if content_type is None or der.oid(content_type) != cms.TST_INFO:
        raise StampRefused("attribute-content-type")
    signed_digest = attributes.get(cms.MESSAGE_DIGEST)
    digest = hashlib.new(digest_of(data.signer.digest), data.content).digest()
    if signed_digest is None or der.octets(signed_digest) != digest:
        raise StampRefused("attribute-message-digest")


def _readable(certificates: Sequence[bytes]) -> list[Certificate]:
    """Those that are certificates. Nobody relies on the others: they cannot be in a chain."""
    found = []
    for data in certificates[:_CERTIFICATES_MAX]:
        try:
            found.append(Certificate.parse(data))
        except der.NotDer:
            continue
    return found


def _signer_of(data: cms.SignedData, candidates: Sequence[Certificate]) -> tuple[Certificate, bool]:
    """The certificate that the signer names twice: in clear, and by digest in what it signed.

    Also whether only SHA-1 names it. Further certificates are ignored, whatever they claim.
    """
    first = data.signer.attributes.get(cms.SIGNING_CERTIFICATE)
    second = data.signer.attributes.get(cms.SIGNING_CERTIFICATE_V2)
    if first is None and second is None:
        raise StampRefused("signing-certificate-missing")
    by_sha1 = None if first is None else cms.signing_certificate(first)
    by_other = None if second is None else cms.signing_certificate(second)
    if by_sha1 is not None and by_sha1.digest is not None:
        raise der.NotDer("A SigningCertificate names a digest algorithm.")
    named = [one for one in candidates if _is_named_in_clear(one, data.signer)]
    if not named:
        if not data.certificates:
            raise Incomplete(
                "The time stamp does not hold its authority's certificate, and no other place did."
            )
        raise StampRefused("signer-certificate")
    for certificate in named:
        if (by_sha1 is None or _is_named(certificate, by_sha1, "sha1")) and (
            by_other is None
            or _is_named(
                certificate,
                by_other,
                "sha256" if by_other.digest is None else digest_of(by_other.digest),
            )
        ):
            return certificate, by_other is None
    raise StampRefused("signing-certificate-mismatch")


def _is_named_in_clear(certificate: Certificate, signer: cms.Signer) -> bool:
    if signer.key_id is None:
        return (certificate.issuer, certificate.serial) == (signer.issuer, signer.serial)
    try:
        return certificate.subject_key_id() == signer.key_id
    except der.NotDer:
        return False


def _is_named(certificate: Certificate, name: cms.CertificateName, algorithm: str) -> bool:
    digest = hashlib.new(algorithm, certificate.raw, usedforsecurity=algorithm != "sha1").digest()
    return digest == name.value and (
        name.issuer is None
        or (name.issuer, name.serial) == (certificate.issuer, certificate.serial)
    )


def _check_for_time_stamps(signer: Certificate) -> None:
    """Return if this certificate is for time stamps and nothing else (RFC 3161 §2.3)."""
    purposes = signer.extended_key_usage()
    if purposes is None or x509.TIME_STAMPING not in purposes:
        raise StampRefused("eku-missing")
    if not signer.extensions[x509.EXTENDED_KEY_USAGE][0]:
        raise StampRefused("eku-not-critical")
    if purposes != (x509.TIME_STAMPING,):
        raise StampRefused("eku-not-sole")
    usage = signer.key_usage()
    if usage is not None and not (
        usage and usage <= {x509.DIGITAL_SIGNATURE, x509.NON_REPUDIATION}
    ):
        raise StampRefused("signer-key-usage")


def _expired(chain: Sequence[Certificate], now: datetime) -> list[str]:
    return [
        f"The certificate of {one.name()} was valid at the stamped time and expired on "
        f"{one.not_after:%Y-%m-%d}."
        for one in chain
        if now > one.not_after
    ]


def _print_serial(serial: int) -> str:
    digits = f"{abs(serial):X}"
    return f"{'-' if serial < 0 else ''}0x{digits.zfill(len(digits) + len(digits) % 2)}"
