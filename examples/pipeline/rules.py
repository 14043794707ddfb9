# SPDX-License-Identifier: Apache-2.0
"""The pipeline's own rules: which prompts it refuses, and how it looks at what it drew.

Both are simple enough to be read and run again by a stranger: a list of words, and the spread of
the pixels' brightness. The policy is a file with a digest, and the digest stands in the entries.
"""

import hashlib
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
from PIL import Image

from examples.pipeline.model import words
from sealtrail.verify import canonical

POLICY_ID = "example-pipeline/prompts"
POLICY_VERSION = "1"

TEMPLATE_ID = "example-pipeline/photograph"
TEMPLATE_VERSION = "1"
TEMPLATE = "a photograph of {prompt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A prompt that holds one of `words` is refused."""

    rule_id: str
    category: str
    words: tuple[str, ...]


RULES: tuple[Rule, ...] = (
    Rule(
        rule_id="no-forged-documents",
        category="OTHER",
        words=("passport", "banknote", "licence", "certificate"),
    ),
    Rule(rule_id="no-weapons", category="VIOLENCE_EXTREME", words=("bomb", "gun", "missile")),
)

#: A picture that is flatter than this, on a scale from 0 to 1, shows next to nothing.
FLAT_THRESHOLD = "0.9700"


def policy() -> bytes:
    """The rules as the bytes of a file."""
    rules = [
        {"rule_id": rule.rule_id, "category": rule.category, "words": list(rule.words)}
        for rule in RULES
    ]
    return canonical.encode({"id": POLICY_ID, "version": POLICY_VERSION, "rules": rules})


def template() -> bytes:
    """The prompt template as the bytes of a file."""
    return TEMPLATE.encode()


def broken_rules(prompt: str) -> list[Rule]:
    """The rules that this prompt breaks; none for a prompt that may be drawn."""
    said = set(words(prompt))
    return [rule for rule in RULES if said.intersection(rule.words)]


def flatness(picture: Image.Image) -> tuple[str, bool]:
    """How little a picture shows, 0 to 1 as a decimal string, and whether that is too little.

    1 minus the standard deviation of the brightness, in units of the largest there is.
    """
    spread = float(np.asarray(picture.convert("L"), dtype=np.float64).std())
    score = f"{1 - spread / 127.5:.4f}"
    return score, Decimal(score) > Decimal(FLAT_THRESHOLD)


def code_digest() -> str:
    """The digest of this file: which version of the classifier looked."""
    return f"sha256:{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()}"
