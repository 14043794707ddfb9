# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks an independent authority to confirm when it saw a checkpoint, and believes only what fits.

    request:  SHA-256 of the message, 64 random bits, "send your certificate", the agreed policy
    believed: what `sealtrail.verify.timestamp` accepts against the pinned roots, dated neither
              before what was stamped nor far from our clock; a second reader (rfc3161ng) must
              find the same status, digest and nonce
    kept:     the reply byte for byte; nothing here ever re-encodes it

This is the only home of `rfc3161ng`. It builds requests and reads replies; it never verifies,
because it looks neither at chain nor purpose nor validity.

Source: RFC 3161 §2.4 and §3.4, RFC 5816.
"""

import hashlib
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.client import HTTPException, HTTPResponse
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import rfc3161ng
from pyasn1.error import PyAsn1Error

from ledger import clock
from ledger.errors import Unavailable
from sealtrail.verify.errors import Incomplete
from sealtrail.verify.timestamp import SKEW, Stamp, StampRefused, check_stamp

#: Longest reply that is read. Real ones have 1 to 8 KiB.
REPLY_MAX: Final = 64 * 1024

#: How far behind our clock a fresh stamp may be.
WINDOW: Final = timedelta(minutes=5)

#: Reason of a TsaRefused that no StampRefused gave: the two readers disagree about the reply.
DISAGREEMENT: Final = "readers-disagree"

#: Reason of a TsaRefused for a reply that could not be checked here.
NOT_CHECKABLE: Final = "not-checkable"

_QUERY_TYPE: Final = "application/timestamp-query"
_REPLY_TYPE: Final = "application/timestamp-reply"
_SHA256: Final = (2, 16, 840, 1, 101, 3, 4, 2, 1)


class TsaUnavailable(Unavailable):
    """The time-stamping authority did not answer with a time stamp; ask it again later."""

    problem = "tsa-unavailable"


class TsaRefused(Unavailable):
    """The time-stamping authority's answer is not believed; look at the authority, then ask again.

    `reason` is stable: one of sealtrail.verify.timestamp.REASONS, DISAGREEMENT or NOT_CHECKABLE.
    """

    problem = "tsa-refused"

    def __init__(self, message: str = "", *, reason: str, authority: str) -> None:
        super().__init__(message, reason=reason, authority=authority)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A time-stamping authority that the operator has chosen.

    name: the operator's own name for it, shown in reports. roots: pinned, in DER.
    policy: the agreed policy as a dotted object identifier, if there is one.
    extra: certificates in DER for an authority that does not send its own; never trusted.
    """

    name: str
    url: str
    roots: tuple[bytes, ...]
    policy: str | None = None
    extra: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in {"http", "https"}:
            raise ValueError("a time-stamping authority's address begins with http:// or https://")
        if not self.roots:
            raise ValueError("a time-stamping authority needs a pinned root")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A request in DER and the number that ties the reply to it."""

    nonce: int
    der: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is kept of one successful stamping: both messages as they went over the wire."""

    query: bytes
    reply: bytes
    stamp: Stamp


def request(message: bytes, policy: str | None = None) -> Query:
    """A fresh request for a stamp over `message`; two calls never make the same."""
    nonce = int.from_bytes(clock.random_bytes(8), "big")
    made = rfc3161ng.make_timestamp_request(
        digest=hashlib.sha256(message).digest(),
        hashname="sha256",
        include_tsa_certificate=True,
        nonce=nonce,
        tsa_policy_id=policy,
    )
    return Query(nonce=nonce, der=rfc3161ng.encode_timestamp_request(made))


def obtain(
    authority: Authority,
    message: bytes,
    *,
    now: datetime,
    not_before: datetime | None,
    timeout_s: float = 10,
) -> Token:
    """A stamp over `message` that anyone can check against the authority's pinned roots.

    not_before: the newest time in what is stamped; an earlier stamp is a lie. Nothing is retried
    and nothing is stored. Raises TsaUnavailable (ask again later) or TsaRefused with `.reason`
    (the answer is not believed; ANCHOR_FAILED names the reason).
    """
    query = request(message, authority.policy)
    reply = _post(authority, query.der, timeout_s)
    freshest = now - WINDOW + SKEW  # check_stamp allows SKEW below it
    try:
        stamp = check_stamp(
            reply,
            message=message,
            roots=authority.roots,
            extra_certificates=authority.extra,
            nonce=query.nonce,
            policy=authority.policy,
            now=now,
            not_before=freshest if not_before is None else max(not_before, freshest),
        )
    except StampRefused as refusal:
        raise TsaRefused(str(refusal), reason=refusal.reason, authority=authority.name) from None
    except Incomplete as lacking:
        raise TsaRefused(str(lacking), reason=NOT_CHECKABLE, authority=authority.name) from None
    if stamp.digest_algorithm != "sha256":
        raise TsaRefused(
            "The stamped digest is not the one that was asked for.",
            reason="imprint-algorithm",
            authority=authority.name,
        )
    if not _second_reader_agrees(reply, message, query.nonce):
        raise TsaRefused(
            "Two programs read two different things in the reply.",
            reason=DISAGREEMENT,
            authority=authority.name,
        )
    return Token(query=query.der, reply=reply, stamp=stamp)


def _second_reader_agrees(reply: bytes, message: bytes, nonce: int) -> bool:
    """Whether rfc3161ng finds a granted status, our digest under SHA-256 and our nonce."""
    try:
        decoded = rfc3161ng.decode_timestamp_response(reply)
        status = int(decoded.status["status"])
        info = decoded.time_stamp_token.tst_info
        imprint = info.message_imprint
        return (
            status in {0, 1}
            and tuple(imprint.hash_algorithm["algorithm"]) == _SHA256
            and bytes(imprint.hashed_message) == hashlib.sha256(message).digest()
            and int(info["nonce"]) == nonce
        )
    except (PyAsn1Error, ValueError, TypeError, LookupError, AttributeError):
        return False


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Keeps the request where the operator sent it: urllib would repeat a POST as a GET."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def _post(authority: Authority, query: bytes, timeout_s: float) -> bytes:
    """The body of the authority's answer: at most 64 KiB, within `timeout_s` in all."""
    deadline = clock.monotonic() + timeout_s
    handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
    if _is_loopback(authority.url):
        # A proxy cannot reach this host's own authority, whatever the environment says.
        handlers.append(urllib.request.ProxyHandler({}))
    opener = urllib.request.build_opener(*handlers)
    post = urllib.request.Request(  # noqa: S310  the scheme was checked in Authority
        authority.url,
        data=query,
        headers={"Content-Type": _QUERY_TYPE, "Accept": _REPLY_TYPE},
        method="POST",
    )
    try:
        with opener.open(post, timeout=timeout_s) as answer:
            kind = answer.headers.get_content_type()
            if answer.status != 200 or kind != _REPLY_TYPE:
                raise _unavailable(authority, "it answered with something else")
            return _body(authority, answer, deadline)
    except urllib.error.HTTPError as error:
        with error:
            raise _unavailable(authority, f"it answered with HTTP status {error.code}") from None
    except (OSError, HTTPException) as error:
        raise _unavailable(authority, type(error).__name__) from None


def _body(authority: Authority, answer: HTTPResponse, deadline: float) -> bytes:
    """Read to the end, however slowly it drips, but not past the deadline."""
    body = bytearray()
    while chunk := answer.read1(16 * 1024):
        body += chunk
        if len(body) > REPLY_MAX:
            raise _unavailable(authority, "its answer is too long for a time stamp")
        if clock.monotonic() > deadline:
            raise _unavailable(authority, "its answer took too long")
    if answer.length:
        raise _unavailable(authority, "its answer was cut off")
    return bytes(body)


def _unavailable(authority: Authority, why: str) -> TsaUnavailable:
    return TsaUnavailable(
        f"The time-stamping authority {authority.name} gave no time stamp: {why}.",
        authority=authority.name,
    )


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
