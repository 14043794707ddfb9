# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ledger records when it changes the key that signs its checkpoints."""

from typing import Annotated, Literal

from pydantic import Field

from ledger.events.values import Body, Count, Line, Time, Token, must


class KeyRotated(Body):
    """The log signs with a new key; old and new have both signed this statement."""

    key: Literal["log"] = must("What the key does: it signs checkpoints.")
    origin: Line = must("The log.")
    generation: Annotated[int, Field(ge=2, le=2**53 - 1)] = must("Number of the new key, from 2.")
    old_key: Line = must("Verifier key until now.")
    new_key: Line = must("Verifier key from now on.")
    size: Count = must("A checkpoint of a larger log counts only if the new key signed it.")
    overlap_until: Time = must("Until then the old key signs beside the new one.")
    old_signature: Token = must("Over the statement, by the old key (Ed25519, Base64).")
    new_signature: Token = must("Over the same statement, by the new key.")
