# SPDX-License-Identifier: GPL-3.0-or-later
"""Stored bytes, read for the read model: believed if they are the preimage of their leaf."""

from typing import Any

from ledger.decoding import decode
from sealtrail.verify.canonical import NotCanonical
from sealtrail.verify.merkle import leaf_hash

JSON = dict[str, Any]


def entry_of(data: bytes, leaf: bytes) -> JSON | None:
    """Return what an entry's bytes say; None if they are not those of its leaf.

    fsck tells of such bytes; here they only count as gone.
    """
    if leaf_hash(data) != leaf:
        return None
    try:
        value = decode(data)
    except NotCanonical:
        return None
    return value if isinstance(value, dict) else None
