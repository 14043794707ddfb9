# SPDX-License-Identifier: GPL-3.0-or-later
"""People look at what a model did: cases are escalated, assigned, decided, and overridden.

Who looked is committed, never clear, and always there (AI Act 14(5)): it is the reviewer's own.
What becomes of a quarantined output is said here, too.
"""

from typing import ClassVar, Literal, Self

from pydantic import ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from ledger.events.patch import Patch, ShownPatch
from ledger.events.values import (
    Body,
    Code,
    Codes,
    Count,
    Decimal,
    Digest,
    Id,
    Line,
    Part,
    Time,
    Uuid7,
    Versioned,
    may,
    must,
)


class Escalation(Part):
    """Where a case goes."""

    id: Id = must("The case.")
    queue: Code = must("The queue.")
    priority: Code = may("How urgent it is.")
    deadline: Time = may("Until when it has to be decided.")


class GenEscalated(Body):
    """A filter or a person wants somebody to look; the generation stays open."""

    sealed: ClassVar = {"reason": "Why, in words."}

    escalation: Escalation = must("The case.")
    reason_code: Code = must("Why.")
    risk_category: Code = may("Main risk.")
    risk_score: Decimal = may("Risk as one number.")
    rule_ids: Codes = may("Rules that applied.")
    policy: Versioned = may("Policy that holds the rules.")


class Review(Part):
    """A case in a queue. Who has it is committed as `review.assigned_to`."""

    queue: Code = must("The queue.")
    state: Literal["opened", "assigned", "decided"] = must("Where it stands.")
    priority: Code = may("How urgent it is.")
    deadline: Time = may("Until when it has to be decided.")
    opened_at: Time = may("When it came in.")
    escalation_id: Id = may("The escalation that it answers.")


class HumanReview(Body):
    """A person looks at a generation: the case is opened, assigned, decided."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"review": {"properties": {"state": {"const": "decided"}}}}},
            "then": {"required": ["outcome"]},
            "else": {"properties": {"outcome": False}},
        }
    )

    sealed: ClassVar = {
        "review.assigned_to": "Who has to look.",
        "reviewer": "Who decided.",
        "notes": "What that person noted.",
    }
    subjects: ClassVar = dict.fromkeys(sealed, "reviewer")
    needs_when: ClassVar = {
        ("review.state", "assigned"): ("review.assigned_to",),
        ("review.state", "decided"): ("reviewer",),
    }

    review: Review = must("The case.")
    outcome: Literal["ALLOW", "DENY", "MODIFY"] = may("The decision; with `decided`.")
    reason_code: Code = may("Why.")
    time_spent_ms: Count = may("How long the person looked, in milliseconds.")

    @model_validator(mode="after")
    def _has_an_outcome_when_decided(self) -> Self:
        if (self.outcome is not None) != (self.review.state == "decided"):
            raise PydanticCustomError("state", "a case has an outcome when it is decided")
        return self


class Override(Part):
    """What was decided before, and what instead."""

    reason_code: Code = must("Why.")
    original: Code = may("The decision before, such as `DENY`.")
    new: Code = may("The decision now, such as `ALLOW`.")
    diff: ShownPatch = may(
        "What was changed, from the record before to the record now (RFC 6902); "
        "sealed if it touches what is committed."
    )


class HumanOverride(Body):
    """A person decided against a filter, a model or another person."""

    sealed: ClassVar = {
        "reviewer": "Who decided.",
        "override.reason": "Why, in words.",
        "override.diff": "What was changed, where it touches what is committed.",
        "notes": "What that person noted.",
    }
    subjects: ClassVar = {
        "reviewer": "reviewer",
        "override.reason": "reviewer",
        "notes": "reviewer",
    }
    forms: ClassVar = {"override.diff": Patch}
    needs: ClassVar = ("reviewer",)

    override: Override = must("The decision.")
    outcome: Literal["ALLOW", "DENY", "MODIFY"] = must("What holds now.")
    overrides: Uuid7 = may("Event that is overridden.")
    time_spent_ms: Count = may("How long the person looked, in milliseconds.")


class OutputReleased(Body):
    """A quarantined output may leave."""

    sealed: ClassVar = {"released_by": "Who let it go.", "reason": "Why, in words."}
    subjects: ClassVar = dict.fromkeys(sealed, "reviewer")

    asset_id: Id = must("The output.")
    reason_code: Code = must("Why.")
    review: Uuid7 = may("Event of the review that allowed it.")
    access_level: Code = may("Who may see it now.")


class OutputDestroyed(Body):
    """A quarantined output is gone; its digests stay."""

    sealed: ClassVar = {"destroyed_by": "Who had it destroyed.", "reason": "Why, in words."}
    subjects: ClassVar = dict.fromkeys(sealed, "reviewer")

    asset_id: Id = must("The output.")
    reason_code: Code = must("Why.")
    review: Uuid7 = may("Event of the review that asked for it.")
    method: Code = may("How, such as `crypto-erase`.")
    destroyed_at: Time = may("When.")
    location: Line = may("Where it lay.")
    auto_delete: bool = may("Whether its time was simply over.")


class Replayed(Part):
    """The same call once more, and what came of it."""

    matches: bool = must("Whether the same bytes came out.")
    distance: Decimal = may("How far apart the two outputs are.")
    measure: Code = may("In which measure, such as `phash`.")
    output_digest: Digest = may("Digest of what came out.")
    env_digest: Digest = may("Digest of what else decides the output.")


class ReplayRun(Body):
    """A generation was run again from its record."""

    replay: Replayed = must("What came of it.")
    report_digest: Digest = may("Digest of the report.")
    ran_at: Time = may("When.")
