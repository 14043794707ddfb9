# SPDX-License-Identifier: Apache-2.0
"""Of which kinds of digest a sealed set holds fewer than it has members.

A member that came in without a pixel digest is in the set by its bytes alone: that a picture's
pixels are not in the tree then says nothing about that member. Fewer distinct digests than members
may also mean that two members are the same file; the entry does not tell which.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sealtrail.verify.sparse import BYTES, PIXELS

_NAMES: Final = {BYTES: "bytes", PIXELS: "pixels"}


def lacking(entry: Mapping[str, Any] | None, tags: Iterable[str]) -> Iterator[str]:
    """Yield what a DATASET_SEALED leaves open about these kinds of digest; nothing of others."""
    body = entry["body"].get("dataset") if entry is not None else None
    counted = body.get("digests") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(counted, dict):
        return
    members = body.get("member_count")
    for tag in tags:
        count = counted.get(tag)
        if isinstance(count, int) and isinstance(members, int) and count < members:
            yield (
                f"members that are the same file as another, or came without a digest of their"
                f" {_NAMES[tag]}: the set holds {count} such digests of {members} members"
            )
