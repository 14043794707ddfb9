# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters look at prompts and outputs; each look is recorded with its scores and its rules."""

from typing import ClassVar, Literal

from ledger.events.values import (
    Body,
    Code,
    Codes,
    Count,
    Decimal,
    Digest,
    Id,
    Part,
    Scores,
    Versioned,
    may,
    must,
)


class Classifier(Part):
    """The program that judged."""

    id: Id = must("Which one.")
    version: Code = must("In which version.")
    digest: Digest = may("Digest of its code and weights.")


class HashMatch(Part):
    """A look-up in a list of known illegal pictures; never the hash itself."""

    list_: Code = must("The list.", name="list")
    version: Code = must("Its version.")
    hit: bool = must("Whether it was found there.")


class Judgement(Part):
    """What a filter found and did. Scores are decimal strings by label."""

    stage: Literal["pre_prompt", "post_output", "export"] = must("What was looked at.")
    classifier: Classifier = must("Who judged.")
    scores: Scores = may("Score for each label.")
    threshold: Decimal = may("Score from which the filter acts.")
    filter_triggered: bool = may("Whether it acted.")
    filter_action: Literal["allow", "warn", "block", "blur", "quarantine", "escalate"] = must(
        "What it did."
    )
    labels: Codes = may("Labels given.")
    risk_category: Code = may("Main risk, such as `COPYRIGHT_VIOLATION`.")
    risk_sub: Codes = may("Finer risks.")
    risk_score: Decimal = may("Risk as one number.")
    rule_ids: Codes = may("Rules that applied.")
    policy: Versioned = may("Policy that holds the rules.")
    latency_ms: Count = may("How long it took, in milliseconds.")
    hash_match: HashMatch = may("Look-up in a list of known pictures.")


class Moderation(Body):
    """A filter judged a prompt or an output."""

    sealed: ClassVar = {
        "mod.explanation": "Why, in words.",
        "mod.hash_match.detail": "What was found, for those who may know.",
    }
    subjects: ClassVar = {"mod.hash_match.detail": "reviewer"}

    mod: Judgement = must("The judgement.")
