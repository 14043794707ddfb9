# SPDX-License-Identifier: GPL-3.0-or-later
r"""Salted commitments on the hot path: what sealtrail.verify.disclosure.commit gives, faster.

    salt   = base64url(HMAC-SHA256(record_key, "sealtrail.sd.salt.v1\0" ‖ name)[:16])
    D      = base64url(JCS([salt, name, value]))             RFC 9901 disclosure
    digest = base64url(SHA-256(D))

Names and values come from the strict parser and were checked by the catalogue. A property test
holds this against the plain implementation.
"""

import hmac
from binascii import b2a_base64
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from ledger.printing import canonical_bytes

_SALT: Final = b"sealtrail.sd.salt.v1\0"
_URL: Final = bytes.maketrans(b"+/", b"-_")


def commit_values(record_key: bytes, values: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Return the sorted digests for `_sd`, and the disclosure of each name.

    record_key: 32 bytes, used here and not kept.
    """
    printed = [(name, canonical_bytes(value)) for name, value in values.items()]
    digests, disclosures = commit_printed(record_key, printed)
    return [one.decode() for one in digests], disclosures


def commit_printed(
    record_key: bytes, values: Iterable[tuple[str, bytes]]
) -> tuple[list[bytes], dict[str, str]]:
    """Return the same for values that are canonical bytes already."""
    digests: list[bytes] = []
    disclosures: dict[str, str] = {}
    for name, value in values:
        message, quoted = _named(name)
        mac = hmac.digest(record_key, message, "sha256")
        disclosure = _url(b'["%b",%b,%b]' % (_url(mac[:16]), quoted, value))
        disclosures[name] = disclosure.decode()
        digests.append(_url(sha256(disclosure).digest()))
    digests.sort()
    return digests, disclosures


@lru_cache(maxsize=1_024)
def _named(name: str) -> tuple[bytes, bytes]:
    """Return what is hashed for a name's salt, and the name as it is printed."""
    return _SALT + name.encode(), canonical_bytes(name)


def _url(data: bytes) -> bytes:
    return b2a_base64(data, newline=False).translate(_URL, b"=")
