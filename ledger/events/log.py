# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ledger itself records: epochs, reports, anchors, looks. A client cannot send these."""

from typing import Annotated, Literal

from pydantic import Field

from ledger.events.values import (
    Body,
    Code,
    Count,
    Day,
    Digest,
    Id,
    Line,
    Mac,
    Part,
    Time,
    Uuid7,
)

Digests = Annotated[list[Digest], Field(max_length=64)]


class EpochSealed(Body):
    """The chain key of an epoch ended with the entry before this one; the next key is another."""

    epoch: Count
    last_n: Count | None = None
    last_mac: Mac | None = None


class CheckpointRef(Part):
    """The checkpoint that was stamped; `digest` is SHA-256 over the exact stamped bytes."""

    size: Count
    root: Digest
    digest: Digest


class Previous(Part):
    """The anchor's checkpoint before this one."""

    size: Count
    root: Digest


class TokenRef(Part):
    """One RFC 3161 token; `token_digest` is SHA-256 over the authority's raw reply."""

    authority: Line
    gen_time: Time
    policy: Line | None = None
    serial: Line | None = None
    token_digest: Digest


class Anchor(Body):
    """A signed checkpoint was time-stamped: all before it is older than its tokens."""

    kind: Literal["day", "interim"]
    day: Day
    from_size: Count
    to_size: Count
    size_d: Count | None = None
    day_root: Digest
    checkpoint: CheckpointRef
    previous: Previous | None = None
    consistency: Digests | None = None
    tokens: Annotated[list[TokenRef], Field(min_length=1, max_length=16)]
    witnesses: Annotated[list[Line], Field(max_length=16)]


class AnchorFailed(Body):
    """An authority gave no token for an anchor, or one that was refused; once per both."""

    anchor: Line
    authority: Line
    reason: Line
    since: Time


class Counts(Part):
    """How the attempts of a range ended."""

    attempts: Count
    gen: Count
    deny: Count
    error: Count
    late: Count


class OpenAttempt(Part):
    """An attempt without an outcome when the report was made."""

    attempt_id: Id
    index: Count


class CompletenessReport(Body):
    """What is known of all attempts of a closed day: counts, and the open ones by name."""

    kind: Literal["provisional"]
    day: Day
    number: Annotated[int, Field(ge=1)]
    previous: Uuid7 | None = None
    from_size: Count
    to_size: Count
    counts: Counts
    open_count: Count
    open: Annotated[list[OpenAttempt], Field(max_length=64)]
    open_digest: Digest | None = None


class Access(Body):
    """Somebody looked at content: committed before the first byte left."""

    purpose: Code
    path: Line
    book: Id
    book_size: Count
    query_digest: Digest
    result_count: Count
    target_event_ids: Annotated[list[Uuid7], Field(max_length=64)]
    fields_disclosed: Annotated[list[Line], Field(max_length=64)]
    exported: bool
