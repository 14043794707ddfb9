# SPDX-License-Identifier: Apache-2.0
"""Finds the way from a signer's certificate to a root that the reader has pinned.

    signer ── signed by ── issuer ── signed by ── ... ── pinned root

Only pinned certificates are trusted; those that came with a token or a packet are stepping
stones. Every certificate on the way, the pinned one included, must be valid at the stamped time,
and every issuer allowed to issue. A pinned certificate ends the search even if it is not
self-signed. No key is used before a cheaper check could refuse it.

Names are compared byte for byte. Not processed, and therefore refused where they are critical:
constraints of names and of policies.

Source: RFC 5280 §6.1.
"""

from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sealtrail.verify import der, x509
from sealtrail.verify.algorithms import public_key, scheme_of
from sealtrail.verify.errors import Incomplete
from sealtrail.verify.timestamp_backend import Backend, check_signature
from sealtrail.verify.timestamp_reasons import StampRefused
from sealtrail.verify.x509 import Certificate

#: Longest way from signer to root, both counted.
LENGTH_MAX: Final = 8

#: Signatures tried for one way: a token stuffed with namesakes must not keep a reader busy.
_TRIES_MAX: Final = 64

#: Critical extensions that are understood here, or that ask nothing of a reader without policies.
_UNDERSTOOD: Final = {
    x509.BASIC_CONSTRAINTS,
    x509.KEY_USAGE,
    x509.EXTENDED_KEY_USAGE,
    "2.5.29.17",  # subjectAltName
    "2.5.29.32",  # certificatePolicies
}


def find_path(
    signer: Certificate,
    *,
    others: Sequence[Certificate],
    roots: Sequence[Certificate],
    at: datetime,
    backend: Backend,
) -> tuple[Certificate, ...]:
    """The shortest way from `signer` to one of `roots` at the time `at`, both included.

    others: certificates from anywhere; at most 64 signatures are tried. Raises StampRefused with
    the reason why the first possible issuer was none, or Incomplete if a tool lacks an algorithm.
    """
    check_certificate(signer, at)
    pinned = {root.raw for root in roots}
    others = [one for one in others if one.raw not in pinned]
    seen = {signer.raw}
    waiting: deque[tuple[Certificate, ...]] = deque([(signer,)])
    failures: list[StampRefused | Incomplete] = []
    tries = 0
    while waiting:
        path = waiting.popleft()
        for issuer in (*roots, *others):
            if issuer.subject != path[-1].issuer or issuer.raw in seen:
                continue
            tries += 1
            if tries > _TRIES_MAX:
                raise StampRefused("no-chain", "It has too many possible issuers.")
            try:
                _check_link(path, issuer, at, backend)
            except (StampRefused, Incomplete) as failure:
                failures.append(failure)
                continue
            if issuer.raw in pinned:
                return (*path, issuer)
            seen.add(issuer.raw)
            if len(path) < LENGTH_MAX - 1:
                waiting.append((*path, issuer))
    # What no tool here could check might have been the way: then nothing is refuted.
    unchecked = [failure for failure in failures if isinstance(failure, Incomplete)]
    raise [*unchecked, *failures, StampRefused("no-chain")][0]


def check_certificate(certificate: Certificate, at: datetime) -> None:
    """Return if it is valid at a time and asks nothing that is not understood; else raise."""
    if at < certificate.not_before:
        raise StampRefused("certificate-not-yet-valid", _whose(certificate))
    if at > certificate.not_after:
        raise StampRefused("certificate-expired", _whose(certificate))
    for oid, (critical, _) in certificate.extensions.items():
        if critical and oid not in _UNDERSTOOD:
            raise StampRefused("critical-extension", f"It is {oid}. {_whose(certificate)}")


def _check_link(
    path: tuple[Certificate, ...], issuer: Certificate, at: datetime, backend: Backend
) -> None:
    """Return if `issuer` may and did issue the last certificate of `path`; else raise."""
    child = path[-1]
    try:
        check_certificate(issuer, at)
        _check_may_issue(path, issuer)
        check_signature(
            scheme=scheme_of(child.algorithm, digest=None),
            key=public_key(issuer.key),
            message=child.signed,
            signature=child.signature,
            reason="certificate-signature",
            backend=backend,
        )
    except der.NotDer as fault:
        raise StampRefused("certificate-malformed", str(fault)) from None


def _check_may_issue(path: tuple[Certificate, ...], issuer: Certificate) -> None:
    is_ca, limit = issuer.basic_constraints()
    if not is_ca:
        raise StampRefused("issuer-not-ca", _whose(issuer))
    usage = issuer.key_usage()
    if usage is not None and x509.KEY_CERT_SIGN not in usage:
        raise StampRefused("issuer-key-usage", _whose(issuer))
    purposes = issuer.extended_key_usage()
    if purposes is not None and not {x509.TIME_STAMPING, x509.ANY_USAGE} & set(purposes):
        raise StampRefused("issuer-eku", _whose(issuer))
    # Self-issued certificates (a key that was rolled over) are not counted: RFC 5280 §4.2.1.9.
    below = sum(one.issuer != one.subject for one in path[1:])
    if limit is not None and below > limit:
        raise StampRefused("issuer-path-length", _whose(issuer))


def _whose(certificate: Certificate) -> str:
    return f"It is the certificate of {certificate.name()}."
