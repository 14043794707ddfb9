# SPDX-License-Identifier: GPL-3.0-or-later
"""What must stay although its time is up, and what must go although somebody wants it.

Both are decisions of people, so both name the matter and the law, in codes: whose case it is stands
in the organisation's own register. What is said here never expires, so it names nobody.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from ledger.events.values import (
    Body,
    Code,
    Count,
    Day,
    Digest,
    Id,
    Line,
    Part,
    Time,
    Token,
    Uuid7,
    may,
    must,
    spelled,
)

_SUBJECT_REF = spelled(
    "uuid",
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "a UUID in lower case",
)
_STREAM = spelled(
    "stream",
    r"[A-Za-z]{1,32}/[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}",
    "an aggregate's type and id, such as `Generation/0198…`",
)
SubjectRef = Annotated[str, *_SUBJECT_REF]
Stream = Annotated[str, *_STREAM]
PartNumber = Annotated[int, Field(ge=1, le=256)]


class HoldQuery(Part):
    """Which entries a hold means, present and future: those that meet every member given.

    All of them: those that were recorded since 1970.
    """

    types: Annotated[list[Code], Field(min_length=1, max_length=64)] = may("Of one of these types.")
    streams: Annotated[list[Stream], Field(min_length=1, max_length=32)] = may(
        "About one of these things."
    )
    subjects: Annotated[list[SubjectRef], Field(min_length=1, max_length=32)] = may(
        "With sealed values of one of these subjects."
    )
    recorded_from: Time = may("Recorded at this time or later.")
    recorded_until: Time = may("Recorded before this time.")

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if not self.model_fields_set:
            raise PydanticCustomError("required", "a query names what it holds")
        return self


class HoldScope(Part):
    """What a hold keeps."""

    query: HoldQuery = may("Entries by what they are, future ones included.")
    event_ids: Annotated[list[Uuid7], Field(min_length=1, max_length=128)] = may(
        "Entries by id, recorded already or not."
    )
    subjects: Annotated[list[SubjectRef], Field(min_length=1, max_length=32)] = may(
        "Subjects: their keys, and every entry with sealed values of theirs."
    )
    artifacts: Annotated[list[Digest], Field(min_length=1, max_length=64)] = may(
        "Artifacts and model manifests, by the digest of their bytes, clear or sealed."
    )
    keys: Annotated[list[Token], Field(min_length=1, max_length=16)] = may("Keys by name.")
    anchors: Annotated[list[Day], Field(min_length=1, max_length=64)] = may("Days of anchors.")

    @model_validator(mode="after")
    def _keeps_something(self) -> Self:
        if not self.model_fields_set:
            raise PydanticCustomError("required", "a hold names what it keeps")
        return self


class LegalHoldPlaced(Body):
    """Something must stay for a matter, whatever expires meanwhile; a long list comes in parts."""

    hold_id: Uuid7 = must("The hold.")
    part: PartNumber = must("Number of this part, from 1; it holds from its own entry on.")
    parts: PartNumber = must("How many parts the hold has.")
    matter: Id = must("The matter's number in the organisation's own register; never a name.")
    authority: Code = must("By whose order, such as `court-order` or `counsel`.")
    scope: HoldScope = must("What it keeps.")

    @model_validator(mode="after")
    def _counts(self) -> Self:
        if self.part > self.parts:
            raise PydanticCustomError("range", "a part's number is at most the number of parts")
        return self


class LegalHoldReleased(Body):
    """A hold ended; what it kept goes on under the clocks that ran meanwhile."""

    hold_id: Uuid7 = must("The hold.")
    authority: Code = must("By whose order.")
    reason: Code = may("What for, in a code.")


class ErasurePlan(Part):
    """What the dry run found."""

    events: Count = must("Events with sealed values of this subject.")
    shared: Count = must("Of these, events in which other subjects' values stay.")
    identifiers: Count = must("Rows by which these events can be found.")
    artifacts: Count = must("Artifacts under this subject's key.")


class ErasureRequested(Body):
    """A person asks for erasure: what would go was counted, nothing goes yet."""

    erasure_id: Uuid7 = must("The erasure.")
    subject_ref: SubjectRef = must("The subject, by a random name.")
    basis: Code = must("The ground in law, such as `gdpr-17-1-b`.")
    plan: ErasurePlan = must("The dry run.")


class ErasureApproved(Body):
    """A second person, who named the subject anew, approves an erasure."""

    erasure_id: Uuid7 = must("The erasure.")
    subject_ref: SubjectRef = must("The subject.")
    plan: ErasurePlan = must("A dry run of the same moment.")


class ErasureWithdrawn(Body):
    """An erasure was given up before anybody approved it."""

    erasure_id: Uuid7 = must("The erasure.")
    subject_ref: SubjectRef = must("The subject.")
    reason: Code = must("What for, in a code.")


class ErasureDeferred(Body):
    """An approved erasure waits for legal holds; it happens when they are released."""

    erasure_id: Uuid7 = must("The erasure.")
    subject_ref: SubjectRef = must("The subject.")
    hold_ids: Annotated[list[Uuid7], Field(min_length=1, max_length=64)] = must(
        "The first 64 of the holds."
    )
    exemption: Code = must("The ground in law, such as `gdpr-17-3-e`.")


class KeyDestroyed(Part):
    """What the keystore says of a key that it destroyed."""

    key: Token = must("Its name.")
    driver: Code = must("Who kept it.")
    destroyed: Time = must("Since when it is gone.")


class Erased(Part):
    """What went."""

    events: Count = must("Events whose values of this subject are gone.")
    identifiers: Count = must("Rows of blind indexes.")
    artifacts: Count = must("Artifacts.")


class Erasure(Body):
    """A subject's values become unreadable: to every reader (`pending`), then for good."""

    erasure_id: Uuid7 = must("The erasure.")
    subject_ref: SubjectRef = must("The subject.")
    state: Literal["pending", "complete"] = must(
        "Whether copies of keys may still lie in old pages, logs and backups."
    )
    basis: Code = must("The ground in law.")
    method: Line = may("How; once it is complete.")
    erased: Erased = may("What went; once it is complete.")
    keys_destroyed: Annotated[list[KeyDestroyed], Field(min_length=1, max_length=32)] = may(
        "Keys without which no copy opens; once it is complete."
    )
    backups_expire_at: Time = may(
        "When the last backup from before is thrown away; its copies open nothing meanwhile."
    )

    @model_validator(mode="after")
    def _says_how(self) -> Self:
        told = {"method", "erased", "keys_destroyed"}.intersection(self.model_fields_set)
        if len(told) != (3 if self.state == "complete" else 0):
            raise PydanticCustomError(
                "required", "method, erased and keys_destroyed come with `complete` and only then"
            )
        return self
