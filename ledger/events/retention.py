# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ledger records of keeping: policies, moves between tiers, expiry and its check."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from ledger.events.values import Body, Code, Count, Digest, Id, Line, Part, Time, Uuid7, may, must

Months = Annotated[int, Field(ge=0, le=1_200)]
Version = Annotated[int, Field(ge=1, le=2**31)]
What = Literal["entry", "disclosures", "artifacts"]


class KeptClass(Part):
    """How long a class keeps what, in calendar months from the recorded time."""

    class_: Code = must("The class, such as `aiact-6m`.", name="class")
    entry_months: Months = must("The entry itself.")
    disclosure_months: Months = must("Sealed values, unless they are erased before.")
    artifact_months: Months = must("Artifacts outside the entry.")
    basis: Line = may("On what this rests.")


class KeptType(Part):
    """Which classes an event type has, besides the one that an entry names itself."""

    type: Code = must("Event type, or `OTHERS` for all that no other rule names.")
    classes: Annotated[list[Code], Field(min_length=1, max_length=16)] = must("Its classes.")


class RetentionPolicyPublished(Body):
    """A version of the rules of keeping. It never shortens what was recorded before it."""

    id: Id = must("The policy; there is one in a Book.")
    version: Version = must("One more than the version before; the first is 1.")
    digest: Digest = must("SHA-256 over all other members but `supersedes`, in canonical JSON.")
    supersedes: Digest = may("Digest of the version before.")
    effective_from: Time = must("From when it holds; not before it was recorded.")
    hot_days: Annotated[int, Field(ge=30, le=3_650)] = must("Full index for so long.")
    warm_days: Annotated[int, Field(ge=90, le=3_650)] = must("In the database for so long.")
    classes: Annotated[list[KeptClass], Field(min_length=1, max_length=32)] = must("The classes.")
    rules: Annotated[list[KeptType], Field(min_length=1, max_length=64)] = must("Types.")


class TierMoved(Body):
    """Content was read back from its next tier; only after this is it dropped from the last one."""

    from_: Literal["hot", "warm"] = must("The tier it leaves.", name="from")
    to: Literal["warm", "cold"] = must("The tier it is in.")
    from_position: Count = must("First position concerned.")
    to_position: Count = must("Position after the last one.")
    objects: Annotated[int, Field(ge=0, le=4_096)] = must("Objects in the archive, if it is cold.")
    objects_digest: Digest = must("SHA-256 over their list in canonical JSON.")
    verified: Literal["read-back", "none-needed"] = must("How it was made sure.")
    lock_until: Time = may("The earliest end of the objects' locks.")

    @model_validator(mode="after")
    def _one_step_down(self) -> Self:
        cold = self.to == "cold"
        if (self.from_ == "warm") != cold or (self.objects > 0) != cold:
            raise PydanticCustomError("tier", "a move is hot to warm, or warm to cold with objects")
        return self


class PolicyRef(Part):
    """The policy in force."""

    id: Id = must("The policy.")
    version: Version = must("Its version.")
    digest: Digest = must("Its digest.")


class RetentionExpired(Body):
    """What will go: announced here, anchored, checked, and seven days later gone.

    The manifest lists every leaf, and stays for ever; so do leaf hashes and proofs.
    """

    what: What = must("What goes: the entry's bytes, its sealed values, or its artifacts.")
    policy: PolicyRef = must("The policy in force.")
    count: Annotated[int, Field(ge=1, le=65_536)] = must("How many leaves the manifest lists.")
    leaf_ranges: Annotated[
        list[Annotated[list[Count], Field(min_length=2, max_length=2)]],
        Field(min_length=1, max_length=256),
    ] = must("Ranges [from, to) of positions.")
    tombstone_digest: Digest = must("SHA-256 over the manifest.")
    not_before: Time = must("Nothing of it goes before this time.")
    holds_skipped: Count = must("How many more were due and are held.")


class IntegrityCheck(Body):
    """A manifest was compared with all that it lists, while that was still there."""

    subject: Literal["retention-expired"] = must("What was checked.")
    expiry: Uuid7 = must("The RETENTION_EXPIRED entry.")
    tombstone_digest: Digest = must("Digest of the manifest.")
    checked: Count = must("How many leaves were compared.")
    damaged: Count = must("How many did not fit; any, and nothing of the manifest goes.")
