# SPDX-License-Identifier: Apache-2.0
"""What is refused before a model is called, and what is held back after it answered.

A hook sees the texts of a request or the outcome of a call, and says yes or no with a code. The
rules of the settings are one; further ones are given to the gateway by the program that starts it.
Each names its version by a digest, so that the ledger says what judged.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol

from sealtrail.providers.exchange import Asked, Told

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a hook decided, as members of a MODERATION's `mod`, and what the person is told."""

    refused: bool
    judgement: JSON
    code: str = "policy"
    told: str = field(default="This request is not allowed here.", repr=False)


class Hook(Protocol):
    """Judges calls. It must be quick: everything waits for it."""

    def before(self, asked: Asked) -> Verdict | None:
        """Judge a request; None if there is nothing to say."""

    def after(self, asked: Asked, told: Told) -> Verdict | None:
        """Judge an outcome before it is released; None if there is nothing to say."""


class Rules:
    """Refuses requests in which a pattern is found in what a person wrote."""

    def __init__(self, patterns: Sequence[str], *, version: str) -> None:
        """Raises re.error for a pattern that is none."""
        self._patterns = [re.compile(pattern) for pattern in patterns]
        digest = sha256("\n".join(patterns).encode()).hexdigest()
        self._classifier = {"id": "gateway-rules", "version": version}
        self._classifier["digest"] = f"sha256:{digest}"

    def before(self, asked: Asked) -> Verdict | None:
        if not self._patterns:
            return None
        # What is sealed may be a digest of a long text, or several in one, with escapes.
        texts = [*asked.said, *(text for text in asked.sealed.values() if isinstance(text, str))]
        found = [
            f"refuse-{number}"
            for number, pattern in enumerate(self._patterns)
            if any(pattern.search(text) for text in texts)
        ]
        judgement: JSON = {
            "stage": "pre_prompt",
            "classifier": self._classifier,
            "filter_triggered": bool(found),
            "filter_action": "block" if found else "allow",
        }
        if found:
            judgement["rule_ids"] = found
        return Verdict(refused=bool(found), judgement=judgement, code="refusal-rule")

    def after(self, asked: Asked, told: Told) -> Verdict | None:
        del asked, told
        return None
