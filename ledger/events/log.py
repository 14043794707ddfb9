# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ledger itself records: epochs, reports, anchors, looks. A client cannot send these."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from ledger.events.dataset import OutputMap
from ledger.events.values import (
    Body,
    Code,
    Count,
    Day,
    Digest,
    Digests,
    Id,
    Line,
    Mac,
    Part,
    Text,
    Time,
    Token,
    Uuid7,
    may,
    must,
)


class EpochSealed(Body):
    """The chain key of an epoch ended with the entry before this one; the next key is another."""

    epoch: Count = must("The epoch that ends.")
    last_n: Count = may("Position of the entry before this one; absent in an empty log.")
    last_mac: Mac = may("MAC of that entry; start value of an epoch without others.")


class CheckpointRef(Part):
    """The checkpoint that was stamped."""

    size: Count = must("Entries under it.")
    root: Digest = must("Its root.")
    digest: Digest = must("SHA-256 over the exact stamped bytes.")


class Previous(Part):
    """The anchor's checkpoint before this one."""

    size: Count = must("Entries under it.")
    root: Digest = must("Its root.")
    origin: Line = may("Who signed it, if an earlier incarnation of this log did.")


class TokenRef(Part):
    """One RFC 3161 token."""

    authority: Line = must("The authority's name in the settings.")
    policy: Token = may("The authority's policy, an OID.")
    gen_time: Time = must("The time it states.")
    serial: Token = may("Its serial number.")
    token_digest: Digest = must("SHA-256 over the authority's raw reply.")


class FinalReport(Part):
    """The newest final completeness report under a checkpoint."""

    day: Day = must("Its UTC day.")
    root: Digest = must("Root of its tree of outcomes.")


class Anchor(Body):
    """A signed checkpoint was time-stamped: all before it is older than its tokens."""

    kind: Literal["day", "interim"] = must("Whether it closes a day.")
    day: Day = must("The UTC day; of an interim anchor, the one in which it was asked for.")
    from_size: Count = must("First position of the range.")
    to_size: Count = must("Position after the range.")
    size_d: Count = may("Log size at the end of the day; of a day's anchor only.")
    day_root: Digest = must("Root over the range's entries alone.")
    checkpoint: CheckpointRef = must("What was stamped.")
    previous: Previous = may("The anchored checkpoint before.")
    consistency: Digests = may("Proof that it extends the previous one (RFC 9162).")
    tokens: Annotated[list[TokenRef], Field(min_length=1, max_length=16)] = must("The tokens.")
    witnesses: Annotated[list[Line], Field(max_length=16)] = must("Who cosigned.")
    completeness: FinalReport = may("The newest final report under it; of a day's anchor only.")

    @model_validator(mode="after")
    def _closes_a_day_or_not(self) -> Self:
        closes = self.to_size if self.kind == "day" else None
        fits = self.size_d == closes and self.from_size <= self.to_size
        if not fits or (self.completeness is not None and closes is None):
            raise PydanticCustomError(
                "range", "from_size, to_size and size_d must describe the range of this kind"
            )
        return self


class AnchorFailed(Body):
    """An authority gave no token for an anchor, or one that was refused; once per both."""

    anchor: Line = must("The anchor, such as `day/2026-01-14`.")
    authority: Line = must("The authority's name in the settings.")
    reason: Line = must("Stable name of what was wrong.")
    since: Time = must("When it was first tried.")


class Counts(Part):
    """How the attempts of a range ended."""

    attempts: Count = must("Attempts.")
    gen: Count = must("With outputs.")
    deny: Count = must("Refused.")
    error: Count = must("Failed, the ledger's own timeouts among them.")
    late: Count = must("Answered after the ledger's own timeout; they are among the failed.")


class OpenAttempt(Part):
    """An attempt without an outcome when the report was made."""

    attempt_id: Id = must("The Generation.")
    index: Count = must("Position of its attempt.")


class OutcomeTree(Part):
    """The sparse Merkle sum tree over every attempt of the range and its outcome."""

    origin: Line = must("Origin of the log when the tree was made; in the key of each attempt.")
    root: Digest = must("Its root, which fixes the counts.")


class CompletenessReport(Body):
    """What is known of all attempts of a closed day, once provisionally and once for good."""

    kind: Literal["provisional", "final"] = must("Whether attempts may still be open.")
    day: Day = must("The UTC day.")
    number: Annotated[int, Field(ge=1, le=2**53 - 1)] = must("Number of this report, from 1.")
    previous: Uuid7 = may("Event of the report before.")
    from_size: Count = must("First position of the range.")
    to_size: Count = must("Position after the range.")
    as_of: Count = may("Entries looked at: an outcome at this position or later is not counted.")
    counts: Counts = must("The attempts of the range.")
    late_recorded: Count = may("Late outcomes recorded in the range, of whichever day's attempts.")
    open_count: Count = may("How many attempts are open; of a provisional report only.")
    open: Annotated[list[OpenAttempt], Field(max_length=64)] = may("The first 64 of them.")
    open_digest: Digest = may("SHA-256 over all of them in canonical JSON, if they are more.")
    outcomes: OutcomeTree = may("How each attempt ended; of a final report only.")
    outputs: OutputMap = may("What the range put out; of a final report only.")

    @model_validator(mode="after")
    def _is_of_its_kind(self) -> Self:
        if self.kind == "final":
            ended = self.counts.gen + self.counts.deny + self.counts.error
            fits = self.counts.attempts == ended and self.outcomes is not None
            fits = fits and self.as_of is not None
            fits = fits and self.open_count is None and self.open is None
        else:
            fits = self.open_count is not None and self.open is not None
            fits = fits and self.outcomes is None and self.outputs is None
        if not fits or self.from_size > self.to_size:
            raise PydanticCustomError(
                "kind", "a final report has every outcome and their tree, a provisional one none"
            )
        return self


class Access(Body):
    """Somebody looked at content: committed before the first byte left."""

    purpose: Code = must("What for, in a code.")
    path: Line = must("Template of the path, such as `/v1/events/{id}`.")
    book: Id = must("The Book looked into.")
    book_size: Count = must("Its size at that moment.")
    query_digest: Digest = must("Digest of the query.")
    result_count: Count = must("How many entries it found.")
    target_event_ids: Annotated[list[Uuid7], Field(max_length=64)] = must("The first 64 of them.")
    fields_disclosed: Annotated[list[Line], Field(max_length=64)] = must("Committed names shown.")
    exported: bool = must("Whether content left in a file.")


class HighestCheckpoint(Part):
    """The largest checkpoint that is known of the log before a restore."""

    origin: Line = must("Origin of the log that it is about.")
    size: Count = must("Entries under it.")
    root: Digest = must("Its root.")
    note: Text = may("The signed note itself.")
    from_store: bool = must("Whether the checkpoint store held it.")


class IncarnationOpened(Body):
    """After a restore: the log goes on under another origin and keys; all before is inherited."""

    number: Annotated[int, Field(ge=2, le=2**53 - 1)] = must("Number of the incarnation, from 2.")
    origin: Line = must("The origin from now on.")
    old_origin: Line = must("The origin whose entries are inherited.")
    old_key: Line = must("Verifier key of the old origin, which signs nothing more.")
    size: Count = must("Entries inherited.")
    root: Digest = must("Their root.")
    checkpoint: HighestCheckpoint = must("The largest checkpoint known from before.")
    tag_verified: bool = must("Whether the head found still had the tag of its chain key.")
    reason: Code = may("What for, in a code.")
