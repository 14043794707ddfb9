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
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from ledger.printing import canonical_bytes

_SALT: Final = b"sealtrail.sd.salt.v1\0"
_URL: Final = bytes.maketrans(b"+/", b"-_")


def commit_values(record_key: bytes, values: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Return the sorted digests for `_sd`, and the disclosure of each name.

    record_key: 32 bytes, used here and not kept.
    """
    digests: list[bytes] = []
    disclosures: dict[str, str] = {}
    for name, value in values.items():
        salt = _url(hmac.digest(record_key, _SALT + name.encode(), "sha256")[:16])
        disclosure = _url(canonical_bytes([salt.decode(), name, value]))
        disclosures[name] = disclosure.decode()
        digests.append(_url(sha256(disclosure).digest()))
    digests.sort()
    return b" ".join(digests).decode().split(), disclosures


def _url(data: bytes) -> bytes:
    return b2a_base64(data, newline=False).translate(_URL, b"=")
