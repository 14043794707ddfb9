# SPDX-License-Identifier: GPL-3.0-or-later
"""What every event may say besides its body: times, calls, links, and what was in force.

All of it is the client's claim. What the ledger vouches for itself, the recorded time and whose
credential it was, cannot be sent.
"""

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from ledger.events.values import (
    Code,
    Count,
    Digest,
    Id,
    Line,
    Part,
    Software,
    Time,
    Token,
    Uuid7,
    Versioned,
    may,
    must,
    spelled,
)

#: Personal members of the envelope and what they mean: committed, never clear. The person,
#: `actor.subject_id`, is made by the ledger from `on_behalf_of` or from a person's token.
SEALED: Final = {
    "actor.on_behalf_of": "For whom the person acted: the chain of delegation.",
    "actor.account_id": "The person's account.",
    "actor.session_id": "The person's session.",
    "actor.department": "The person's department.",
    "net.ip": "Address from which the request came.",
    "net.geo": "Country or region of that address.",
}

_TRACE_ID = spelled("trace-id", "[0-9a-f]{32}", "32 lower-case hexadecimal digits")
_SPAN_ID = spelled("span-id", "[0-9a-f]{16}", "16 lower-case hexadecimal digits")
TraceId = Annotated[str, *_TRACE_ID]
SpanId = Annotated[str, *_SPAN_ID]

Rel = Literal[
    "ingest-of", "member-of", "trained-on", "produced", "base-model", "deployed-as", "used-model",
    "used-template", "used-policy", "under-consent", "input-asset", "attempt", "parent-call",
    "reviewed", "overrides", "output-asset", "derived-from", "exports", "taken-down-by", "incident",
    "hold", "erases", "supersedes", "anchors",
]  # fmt: skip


class Times(Part):
    """Claims of the client; order is the ledger's own business."""

    processing_started: Time = may("When work on the request began.")
    model_responded: Time = may("When the model answered.")
    producer: Time = may("The producer's own time of the event.")
    provider: Time = may("The provider's time of the event.")


class Trace(Part):
    """Where this call stands in the tree of calls (W3C trace context, and our own ids)."""

    trace_id: TraceId = must("One tree of calls.")
    span_id: SpanId = may("This call.")
    parent_span_id: SpanId = may("The call that made this call.")
    root_event: Uuid7 = may("Event at the root of the tree.")
    parent_event: Uuid7 = may("Attempt that made this call; link it by its leaf, too.")
    call_index: Annotated[int, Field(ge=0, le=1_000_000)] = may("Number among its siblings.")
    depth: Annotated[int, Field(ge=0, le=1_000)] = may("Distance from the root.")


class Link(Part):
    """A tie to another entry or thing; `leaf` binds the other entry's content, not only its id."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"rel": {"const": "parent-call"}}},
            "then": {"required": ["leaf"]},
        }
    )

    rel: Rel = must("What the other thing is to this event.")
    id: Id = must("The other event or thing.")
    type: Code = may("Its type, such as `GEN_ATTEMPT`.")
    leaf: Digest = may("Leaf hash of the other entry; a `parent-call` always has it.")
    role: Code = may("Its role, for example `mask`.")


class Actor(Part):
    """What is clear about who acted; the natural person is committed as `actor.subject_id`."""

    # "system" is the ledger itself, so nobody can send it.
    kind: Literal["human", "service", "agent"] = may(
        "Who acted. Left out, it is `human` with a person's token, `service` with a pipeline's."
    )
    role: Literal[
        "CREATOR", "ENGINEER", "REVIEWER", "MANAGER", "ADMIN", "AUDITOR", "LEGAL", "SYSTEM",
        "END_USER",
    ] = may("In which role.")  # fmt: skip
    auth_method: Code = may("How the person was authenticated, such as `oidc`.")
    auth_assurance: Line = may("How surely (OpenID Connect's `acr`).")


class Net(Part):
    """What is clear about the connection; address and place are committed."""

    client_type: Line = may("Kind of client, such as `web`.")
    api_version: Line = may("Version of the interface that was called.")


class ClockState(Part):
    """What the producer says of its clock."""

    source: Line = must("What the clock follows, such as `ntp`.")
    synced: bool = may("Whether it did.")
    offset_ms: Annotated[int, Field(ge=-(2**31), le=2**31)] = may("Its offset, in milliseconds.")
    ref: Uuid7 = may("Event with the last measurement.")


class Retention(Part):
    """Under which rules the record is kept."""

    class_: Code = must("Retention class.", name="class")
    policy_id: Id = may("The retention policy.")
    policy_digest: Digest = may("Digest of the policy.")
    not_before: Time = may("Nothing goes before this time.")
    expires_hint: Time = may("When it may go.")


class Source(Part):
    """The producer's own sequence, without gaps; each pair is used once."""

    id: Id = must("The sequence.")
    n: Count = must("This event's number in it.")


class Producer(Part):
    """The producer's own identifier and signature input."""

    id: Token = must("The producer, a URI.")
    event_id: Token = may("The producer's id of this event; it need not be a UUID of version 7.")
    kid: Token = may("Key that signed the request (RFC 9421).")
    sig_digest: Digest = may("Digest of the verified signature input.")


class Envelope(Part):
    """All optional groups."""

    time: Times = may("What the client says about time.")
    trace: Trace = may("Place in the tree of calls.")
    links: Annotated[list[Link], Field(min_length=1, max_length=64)] = may("Ties to other things.")
    actor: Actor = may("Who acted.")
    net: Net = may("How the request came.")
    clock: ClockState = may("The producer's clock.")
    retention: Retention = may("How long to keep the record.")
    classification: Literal["PUBLIC", "INTERNAL", "CONFIDENTIAL", "SECRET", "PRE_RELEASE"] = may(
        "How secret the record is."
    )
    policy_bundle: Versioned = may("Policies in force.")
    red_team_suite: Line = may("Red-team suite in force.")
    origin_software: Software = may("Gateway or SDK that made the event.")
    producer: Producer = may("The producer's own names for the event.")
    source: Source = may("The producer's own gap-free sequence.")
