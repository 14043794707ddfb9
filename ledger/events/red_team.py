# SPDX-License-Identifier: GPL-3.0-or-later
"""Trials: a red team's suite is run against a model, and the record itself is put to the test."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from ledger.events.model import Model
from ledger.events.values import (
    Body,
    Code,
    Count,
    Decimal,
    Digest,
    Part,
    Time,
    Versioned,
    may,
    must,
)


class Suite(Part):
    """The suite's version; its identifier is the stream's own."""

    version: Code = must("In which version.")
    digest: Digest = may("Digest of its exact bytes.")


class Finding(Part):
    """What came of the cases of one category."""

    category: Code = must("The category.")
    cases: Count = must("Cases tried.")
    failed: Count = must("Cases in which the model did what it must not.")


class RedTeamRun(Body):
    """A suite of attacks was run against a model."""

    sealed: ClassVar = {"conducted_by": "Who ran it.", "notes": "What that person noted."}
    subjects: ClassVar = {"conducted_by": "reviewer", "notes": "reviewer"}
    artifacts: ClassVar = frozenset({"report_digest"})

    suite: Suite = must("The suite.")
    model: Model = must("The model.")
    cases: Count = must("Cases tried.")
    failed: Count = must("Cases in which the model did what it must not.")
    score: Decimal = may("The result as one number.")
    findings: Annotated[list[Finding], Field(max_length=64)] = may("By category.")
    policy: Versioned = may("Policy in force.")
    report_digest: Digest = may("Digest of the report.")
    started_at: Time = may("When it started.")
    ended_at: Time = may("When it ended.")

    @model_validator(mode="after")
    def _counts(self) -> Self:
        for one in (self, *(self.findings or ())):
            if one.failed > one.cases:
                raise PydanticCustomError("range", "no more cases fail than are tried")
        return self


class ForensicDryRun(Body):
    """Requests were followed through the record, to see that it holds every one of them."""

    sealed: ClassVar = {"conducted_by": "Who ran it."}
    subjects: ClassVar = {"conducted_by": "reviewer"}
    artifacts: ClassVar = frozenset({"report_digest"})

    requests: Count = must("Requests that were followed.")
    covered: Count = must("Requests of which the record holds all.")
    fields_missing: Annotated[list[Code], Field(max_length=64)] = may("What was missing.")
    report_digest: Digest = may("Digest of the report.")
    started_at: Time = may("When it started.")
    ended_at: Time = may("When it ended.")

    @model_validator(mode="after")
    def _counts(self) -> Self:
        if self.covered > self.requests:
            raise PydanticCustomError("range", "no more requests are covered than are followed")
        return self
