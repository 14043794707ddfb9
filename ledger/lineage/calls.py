# SPDX-License-Identifier: GPL-3.0-or-later
"""What an entry says about a call of a model: whose child it is, what it cost, and who answered."""

from hashlib import sha256
from typing import Any, Final, NamedTuple

from sealtrail.verify import canonical

JSON = dict[str, Any]

#: Entries that may say what a call used: its outcome, also one that came too late.
OUTCOMES: Final = frozenset({"GEN", "GEN_DENY", "GEN_ERROR", "OUTCOME_LATE"})


class Call(NamedTuple):
    """An attempt: which model is to be called, and in which tree."""

    generation: str
    trace_id: str | None
    provider: str
    model: str
    version: str
    model_id: str | None


class Parent(NamedTuple):
    """What a call says about the call that made it."""

    event_id: str  #: As claimed; it may be any text of an identifier.
    leaf: str | None  #: As claimed, `sha256:…`.


class Cost(NamedTuple):
    """What an outcome says about one call; None where it says nothing."""

    generation: str
    cost: str | None  #: A decimal number as text; never a float.
    currency: str | None
    input_tokens: int | None
    output_tokens: int | None
    images: int | None
    request_id: str | None
    returned: str | None
    fingerprint: str | None

    @property
    def is_empty(self) -> bool:
        """Whether the outcome says nothing that somebody could be charged for."""
        return all(value is None for value in self[1:])


def call_of(entry: JSON) -> Call:
    """Return the call that a GEN_ATTEMPT announces."""
    model = entry["body"]["model"]
    return Call(
        generation=entry["aggregate"]["id"],
        trace_id=entry.get("trace", {}).get("trace_id"),
        provider=model["provider"],
        model=model["name"],
        version=model["version"],
        model_id=model.get("id"),
    )


def parents_of(entry: JSON) -> list[Parent]:
    """Return the events that an attempt says it comes from, first the one that it stands under.

    That is `trace.parent_event`; without it, the first `parent-call` link.
    """
    linked = {
        link["id"]: Parent(link["id"], link.get("leaf"))
        for link in reversed(entry.get("links", ()))
        if link["rel"] == "parent-call"
    }
    first = entry.get("trace", {}).get("parent_event")
    found = list(reversed(linked.values()))
    if first is None:
        return found
    return [
        linked.get(first, Parent(first, None)),
        *(one for one in found if one.event_id != first),
    ]


def cost_of(entry: JSON) -> Cost:
    """Return what an outcome says; `OUTCOMES` are the types that this may be asked of."""
    body = entry["body"]
    if entry["type"] == "OUTCOME_LATE":
        body = body["claimed"]["body"]
    usage, provider = body.get("usage", {}), body.get("provider", {})
    request_id = provider.get("request_id")
    if request_id is None:
        request_id = body.get("error", {}).get("provider_request_id")
    return Cost(
        generation=entry["aggregate"]["id"],
        cost=usage.get("cost"),
        currency=usage.get("currency"),
        input_tokens=usage.get("input_tokens"),
        output_tokens=usage.get("output_tokens"),
        images=usage.get("images"),
        request_id=request_id,
        returned=provider.get("model_returned"),
        fingerprint=provider.get("system_fingerprint"),
    )


def answer_key(call: Call | None, cost: Cost) -> bytes:
    """Return by what an answer is told apart: 32 bytes over who was asked and who answered."""
    return sha256(canonical.encode(list(answer_names(call, cost)))).digest()


def answer_names(call: Call | None, cost: Cost) -> tuple[str, str, str, str, str]:
    """Return provider, model, version, model returned, fingerprint; '' where nothing was said."""
    asked = ("", "", "") if call is None else (call.provider, call.model, call.version)
    return (*asked, cost.returned or "", cost.fingerprint or "")
