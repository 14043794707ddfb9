# SPDX-License-Identifier: GPL-3.0-or-later
"""What every event may say besides its body: times, calls, links, and what was in force."""

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from ledger.events.values import (
    Code,
    Count,
    Digest,
    Id,
    Line,
    Part,
    Software,
    Time,
    Uuid7,
    Versioned,
)

#: Personal members of the envelope: committed, never clear. `actor.subject_id` is made by the
#: ledger from `on_behalf_of` or from a person's token.
SEALED: Final = (
    "net.ip",
    "net.geo",
    "actor.account_id",
    "actor.session_id",
    "actor.department",
    "actor.on_behalf_of",
)

Rel = Literal[
    "ingest-of", "member-of", "trained-on", "produced", "base-model", "deployed-as", "used-model",
    "used-template", "used-policy", "under-consent", "input-asset", "attempt", "parent-call",
    "reviewed", "overrides", "output-asset", "derived-from", "exports", "taken-down-by", "incident",
    "hold", "erases", "supersedes", "anchors",
]  # fmt: skip


class Times(Part):
    """Claims of the client; order is the ledger's own business."""

    processing_started: Time | None = None
    model_responded: Time | None = None
    producer: Time | None = None
    provider: Time | None = None


class Trace(Part):
    """Where this call stands in the tree of calls (W3C trace context, and our own ids)."""

    trace_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    span_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")] | None = None
    parent_span_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")] | None = None
    root_event: Uuid7 | None = None
    parent_event: Uuid7 | None = None
    call_index: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    depth: Annotated[int, Field(ge=0, le=1_000)] | None = None


class Link(Part):
    """A tie to another entry or thing; `leaf` binds the other entry's content, not only its id."""

    rel: Rel
    id: Id
    type: Code | None = None
    leaf: Digest | None = None
    role: Code | None = None


class Actor(Part):
    """What is clear about who acted; the natural person is committed as `actor.subject_id`."""

    kind: Literal["human", "service", "agent", "system"] | None = None
    role: (
        Literal[
            "CREATOR", "ENGINEER", "REVIEWER", "MANAGER", "ADMIN", "AUDITOR", "LEGAL", "SYSTEM",
            "END_USER",
        ]
        | None
    ) = None  # fmt: skip
    auth_method: Code | None = None
    auth_assurance: Line | None = None


class Net(Part):
    """What is clear about the connection; address and place are committed."""

    client_type: Line | None = None
    api_version: Line | None = None


class ClockState(Part):
    """What the producer says of its clock."""

    source: Line
    synced: bool | None = None
    offset_ms: Annotated[int, Field(ge=-(2**31), le=2**31)] | None = None
    ref: Uuid7 | None = None


class Retention(Part):
    """Under which rules the record is kept."""

    class_: Code = Field(alias="class")
    policy_id: Id | None = None
    policy_digest: Digest | None = None
    not_before: Time | None = None
    expires_hint: Time | None = None


class Source(Part):
    """The producer's own sequence, without gaps; each pair is used once."""

    id: Id
    n: Count


class Producer(Part):
    """The producer's own identifier and signature input."""

    id: Line
    event_id: Line | None = None
    kid: Line | None = None
    sig_digest: Digest | None = None


class Envelope(Part):
    """All optional groups."""

    time: Times | None = None
    trace: Trace | None = None
    links: Annotated[list[Link], Field(min_length=1, max_length=64)] | None = None
    actor: Actor | None = None
    net: Net | None = None
    clock: ClockState | None = None
    retention: Retention | None = None
    classification: (
        Literal["PUBLIC", "INTERNAL", "CONFIDENTIAL", "SECRET", "PRE_RELEASE"] | None
    ) = None
    policy_bundle: Versioned | None = None
    red_team_suite: Line | None = None
    origin_software: Software | None = None
    producer: Producer | None = None
    source: Source | None = None
