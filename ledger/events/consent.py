# SPDX-License-Identifier: GPL-3.0-or-later
"""Consents: given under words that were shown, and revoked, after which nothing rests on them.

Whose consent it is, is committed: the natural person of the event, or `subjects.depicted`. A
consent stands until it is revoked or has expired, and never comes back: who consents again gives
a new one.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ledger.events.values import (
    Body,
    Code,
    Codes,
    Digest,
    Id,
    Language,
    Line,
    Part,
    Time,
    Uuid7,
    may,
    must,
)


class Scope(Part):
    """What the consent covers."""

    model: Id = may("Model that may be called.")
    feature: Code = may("Feature that may be used.")
    data_use: Code = may("What may be done with the data.")
    purposes: Codes = may("For what.")


class Shown(Part):
    """Where the person stood when the words were shown."""

    ui_context: Line = may("Which screen or step.")
    locale: Language = may("In which language.")
    channel: Code = may("Such as `web` or `paper`.")


class Consent(Part):
    """What was agreed to, word for word."""

    id: Id = may("The consent; if it is here, it is the stream's own id.")
    text_id: Id = must("The text.")
    text_version: Code = must("In which version.")
    text_digest: Digest = must("Digest of the words that were shown.")
    action: Literal["opt_in", "opt_out"] = must("What the person chose.")
    scope: Scope = may("What it covers.")
    method: Literal["click", "signature", "api"] = must("How the person said so.")
    context: Shown = may("Where it was shown.")
    ui_artifact: Digest = may("Digest of the copy as shown.")
    given_at: Time = may("When.")
    expires_at: Time = may("From when on it covers nothing more.")
    sticky: bool = may("Whether it holds for later calls, too.")
    age_assurance: bool = may("Whether the person's age was checked.")


class ConsentGranted(Body):
    """A person chose."""

    artifacts: ClassVar = frozenset({"consent.ui_artifact"})

    consent: Consent = must("The consent.")


class Effect(Part):
    """What a revocation led to."""

    kind: Literal["erase", "hold", "delete", "none"] = must("What it was.")
    ref: Id = may("Its case, hold or job.")


class Ended(Part):
    """Which consent, if it is said a second time."""

    id: Id = must("The consent: the stream's own id.")


class ConsentRevoked(Body):
    """The person took it back: from now on no generation rests on it."""

    sealed: ClassVar = {"reason": "Why, in words."}

    consent: Ended = may("The consent.")
    revokes: Uuid7 = may("Event that granted it.")
    reason_code: Code = may("Why, such as `requested`.")
    method: Literal["click", "signature", "api"] = may("How the person said so.")
    revoked_at: Time = may("When the person said so.")
    effects: Annotated[list[Effect], Field(max_length=16)] = may("What the client did about it.")


class ConsentExpired(Body):
    """Its time is over."""

    consent: Ended = may("The consent.")
    expired_at: Time = may("When it was over.")
    reason_code: Code = may("Why, such as `time` or `text-retired`.")
