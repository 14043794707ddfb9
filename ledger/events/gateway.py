# SPDX-License-Identifier: GPL-3.0-or-later
"""Writers: each process that sends events says when it starts, that it lives, and when it stops.

A writer's id is that of its own sequence (`source.id`), whose numbers have no gap. What it says of
its last number and of its clock lets anybody see afterwards what is missing, and since when.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ledger.events.patch import ShownPatch
from ledger.events.values import (
    Body,
    Code,
    Count,
    Digest,
    Line,
    Part,
    Small,
    Software,
    Time,
    may,
    must,
)

_Milliseconds = Annotated[int, Field(ge=-(2**31), le=2**31)]


class ClockMeasured(Part):
    """How the writer's clock stands."""

    source: Line = must("What it follows, such as `ntp`.")
    synced: bool = must("Whether it does.")
    offset_ms: _Milliseconds = may("Its offset, in milliseconds.")
    uncertainty_ms: Count = may("How sure that is, in milliseconds.")
    measured_at: Time = may("When it was measured.")


class WriterStarted(Body):
    """A writer begins, or goes on after it stopped or fell."""

    last_n: Count = may("Last number of its sequence before this start; absent if there is none.")
    software: Software = may("What runs.")
    config_digest: Digest = may("Digest of its settings, without secrets.")
    clock: ClockMeasured = may("Its clock.")
    heartbeat_s: Small = may("Seconds between two heartbeats.")


class WriterHeartbeat(Body):
    """A writer lives."""

    last_n: Count = must("Last number of its sequence that it gave.")
    waiting: Count = may("Events that wait to be sent.")
    clock: ClockMeasured = may("Its clock.")
    config_digest: Digest = may("Digest of its settings, without secrets.")


class WriterStopped(Body):
    """A writer ended in order."""

    last_n: Count = must("Last number of its sequence that it gave.")
    waiting: Count = may("Events that were not sent.")
    reason_code: Code = may("Why, such as `deploy`.")


class ConfigChanged(Body):
    """A writer's settings changed."""

    sealed: ClassVar = {"changed_by": "Who changed them."}
    subjects: ClassVar = {"changed_by": "reviewer"}

    before: Digest = must("Digest of the settings before, without secrets.")
    after: Digest = must("Digest of the settings now, without secrets.")
    diff: ShownPatch = may("What was changed (RFC 6902), as far as it is no secret.")
    last_n: Count = must("Last number of its sequence that it gave.")
    change_ticket: Code = may("Ticket of the change.")
    how: Literal["restart", "reload"] = may("How it took effect.")
