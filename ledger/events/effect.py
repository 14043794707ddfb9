# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ledger itself began because a consent was revoked."""

from typing import Literal

from ledger.events.custody import SubjectRef
from ledger.events.values import Body, Code, Id, Uuid7, may, must


class ConsentEffected(Body):
    """What the consent's text promised for its revocation was begun, or why nothing was."""

    consent_id: Id = must("The consent.")
    revocation: Uuid7 = must("Event that revoked it.")
    text_id: Id = must("The text that was agreed to.")
    text_version: Code = must("Its version.")
    promised: Literal["erase", "hold", "none"] = must("What that version promises.")
    started: Literal["erasure", "hold", "none"] = must("What was begun.")
    ref: Uuid7 = may("The erasure or the hold.")
    joined: bool = may("Whether that was under way already.")
    subject_ref: SubjectRef = may("Whose consent it was, by a random name.")
    reason_code: Code = may("Why nothing was begun.")
    declared_differs: bool = may("Whether the client said that it had done something else.")
