# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in force, by version and digest: policies, prompt templates, consent texts, labels.

Each is published version after version and retired, one version or all. The document itself is an
artifact; the entry holds its digest and what has to be found or applied without it.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from ledger.events.values import (
    Body,
    Code,
    Codes,
    Decimal,
    Digest,
    Language,
    Line,
    Part,
    Text,
    Time,
    may,
    must,
)


class Published(Body):
    """One version of a document; its identifier is the stream's own."""

    sealed: ClassVar = {"published_by": "Who published it."}
    subjects: ClassVar = {"published_by": "reviewer"}
    artifacts: ClassVar = frozenset({"digest"})

    version: Code = must("Its version: above all that were published before.")
    digest: Digest = must("Digest of its exact bytes.")
    supersedes: Code = may("The version before it.")
    effective_from: Time = may("From when on, if not from now.")
    title: Line = may("By which name people know it.")
    summary: Text = may("What it says, in short; found by full text.")


class PolicyRule(Part):
    """One rule of a policy."""

    rule_id: Code = must("Its id, as `rule_ids` names it.")
    severity: Code = may("How grave a breach is.")
    category: Code = may("What it is about.")
    threshold: Decimal = may("Score from which it applies.")


class PolicyPublished(Published):
    """A version of a policy is in force."""

    rules: Annotated[list[PolicyRule], Field(max_length=64)] = may(
        "Its rules; where there are more, the document holds them."
    )

    @model_validator(mode="after")
    def _names_each_rule_once(self) -> Self:
        if len({one.rule_id for one in self.rules or ()}) != len(self.rules or ()):
            raise PydanticCustomError("distinct", "two rules have one rule_id")
        return self


class PromptTemplatePublished(Published):
    """A version of a prompt template may be used."""

    artifacts: ClassVar = frozenset({"digest", "style_constraints", "system_prompt"})

    variables: Codes = may("Names of what is filled in.")
    style_constraints: Digest = may("Digest of the style that it asks for.")
    system_prompt: Digest = may("Digest of the system's own instructions.")


class ConsentTextPublished(Published):
    """A version of the words under which people consent."""

    artifacts: ClassVar = frozenset({"digest", "screenshot_digest"})

    locale: Language = may("Its language.")
    ui_context: Line = may("Where it is shown.")
    screenshot_digest: Digest = may("Digest of a picture of it as it is shown.")
    on_revocation: Literal["erase", "hold", "none"] = may(
        "What it promises for the day of a revocation; the ledger begins it by itself."
    )


class TransparencyTemplatePublished(Published):
    """A version of the words by which people learn that something was generated."""

    locale: Language = may("Its language.")
    medium: Code = may("Where it stands, such as `caption` or `overlay`.")
    legal_basis: Line = may("What asks for it, such as `AI Act 50(4)`.")


class Retired(Body):
    """One version is not in force any more, or none is."""

    sealed: ClassVar = {"retired_by": "Who retired it.", "reason": "Why, in words."}
    subjects: ClassVar = {"retired_by": "reviewer", "reason": "tenant"}

    version: Code = may("Which version; all that there are, if absent.")
    reason_code: Code = must("Why, such as `replaced`.")
    effective_at: Time = may("From when on, if not from now.")


class PolicyRetired(Retired):
    """A policy, or one version of it, is in force no more."""


class PromptTemplateRetired(Retired):
    """A prompt template, or one version of it, may not be used any more."""


class ConsentTextRetired(Retired):
    """Nobody consents under this text, or one version of it, any more; consents given stand."""


class TransparencyTemplateRetired(Retired):
    """A label, or one version of it, is not used any more."""
