# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of search: what each means, where its values stand in an entry, how long it is kept.

A key's values are members of entries that are clear, so nothing personal is in the index. Personal
keys have no values there at all: they are looked up in the vault's blind index, and find nothing
once the person was erased. The table in docs/search.md is printed from here (tests/describe.py).

    hot    all of them          warm   those of `warm` and `cold`          cold   those of `cold`
"""

from dataclasses import dataclass
from typing import Final, Literal

Tier = Literal["hot", "warm", "cold"]

#: plain: the member itself. versioned: an id, and `id@version`. model: its names, with and without
#: provider and version.
Form = Literal["plain", "versioned", "model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of the query language."""

    name: str
    meaning: str
    example: str
    tier: Tier = "cold"
    paths: tuple[str, ...] = ()  #: Members of an entry; lists are followed by themselves.
    form: Form = "plain"
    personal: str | None = None  #: The committed name under which the vault is asked.
    words: bool = False  #: Whether free text finds it.
    fold: Literal["upper", "lower"] | None = None  #: How its values are spelled.
    known: tuple[str, ...] = ()  #: All values that there are, where they are few.


def _asked(name: str, field: str, meaning: str, example: str) -> Key:
    return Key(name=name, meaning=meaning, example=example, personal=field)


_TABLE: Final = (
    Key(name="type", meaning="type of event", example="type:GEN,GEN_DENY", fold="upper"),
    Key(
        name="stage",
        meaning="part of the life of a picture: INGEST, TRAIN, GEN, EXPORT; REGISTER for models,"
        " policies, templates and texts, CONSENT, TEST, LEDGER for what the log says of itself",
        example="stage:GEN",
        fold="upper",
        known=("INGEST", "TRAIN", "GEN", "EXPORT", "REGISTER", "CONSENT", "TEST", "LEDGER"),
    ),
    Key(name="after", meaning="recorded at this day or time, or later", example="after:2026-11-01"),
    Key(name="before", meaning="recorded before this day or time", example="before:2026-12-01"),
    Key(name="event", meaning="one event, by its id", example="event:0199…"),
    Key(
        name="aggregate",
        meaning="one stream: type and id of what the events are about",
        example="aggregate:Generation/0199…",
    ),
    Key(
        name="tier",
        meaning="where the entry's bytes are: database, cold, expired",
        example="tier:cold",
        fold="lower",
        known=("database", "cold", "expired"),
    ),
    Key(
        name="hold",
        meaning="legal hold that keeps the entry now: the hold's id, or any",
        example="hold:any",
        fold="lower",
    ),
    Key(
        name="class",
        meaning="retention class that the entry asks for",
        example="class:hipaa-6y",
        paths=("retention.class",),
    ),
    Key(
        name="outcome",
        meaning="what became of a generation, at its attempt and at its outcome: generated, denied,"
        " failed, timeout, late; open at an attempt that has none",
        example="outcome:timeout",
        tier="warm",
        fold="lower",
        known=("generated", "denied", "failed", "timeout", "late", "open"),
    ),
    Key(
        name="model",
        meaning="model, by id, name or provider/name, each also with @version; an event of a"
        " generation has the model of its attempt",
        example="model:acme/painter@3",
        tier="warm",
        paths=("body.model",),
        form="model",
    ),
    Key(
        name="provider",
        meaning="who runs the model",
        example="provider:acme",
        tier="warm",
        paths=("body.model.provider",),
    ),
    Key(
        name="template",
        meaning="prompt template, by id or id@version",
        example="template:portrait@7",
        tier="warm",
        paths=("body.prompt.template",),
        form="versioned",
        words=True,
    ),
    Key(
        name="trace",
        meaning="one tree of calls",
        example="trace:4bf92f3577b34da6a3ce929d0e0e4736",
        tier="warm",
        paths=("trace.trace_id",),
    ),
    Key(
        name="link",
        meaning="something that the event is tied to, by its id",
        example="link:urn:cap:asset:acme:17",
        tier="warm",
        paths=("links.id",),
    ),
    Key(
        name="risk",
        meaning="main or finer risk",
        example="risk:NCII_RISK",
        tier="warm",
        paths=(
            *("body.mod.risk_category", "body.mod.risk_sub"),
            *("body.risk_category", "body.risk_sub"),
        ),
        words=True,
    ),
    Key(
        name="label",
        meaning="label that moderation gave to a prompt or an output",
        example="label:nudity",
        tier="warm",
        paths=("body.mod.labels", "body.outputs.safety_labels"),
        words=True,
    ),
    Key(
        name="dataset",
        meaning="data set, by id",
        example="dataset:faces",
        tier="warm",
        paths=("body.train.inputs.dataset_id", "body.training_data_snapshot"),
    ),
    Key(
        name="flag",
        meaning="what was amiss, by the registers at the entry's own position (below)",
        example="flag:revoked-consent",
        tier="warm",
        fold="lower",
    ),
    Key(
        name="alert",
        meaning="what the ledger noticed",
        example="alert:review-overdue",
        tier="warm",
        paths=("body.code",),
        words=True,
    ),
    Key(
        name="policy",
        meaning="policy, by id or id@version",
        example="policy:images@12",
        tier="hot",
        paths=("body.policy", "body.mod.policy", "policy_bundle"),
        form="versioned",
        words=True,
    ),
    Key(
        name="rule",
        meaning="rule of a policy that applied",
        example="rule:R-17",
        tier="hot",
        paths=("body.rule_ids", "body.mod.rule_ids", "body.rules.rule_id"),
        words=True,
    ),
    Key(
        name="reason",
        meaning="code of a reason or a fault",
        example="reason:policy",
        tier="hot",
        paths=(
            *("body.refusal_reason_code", "body.reason_code", "body.override.reason_code"),
            *("body.error.code", "body.error.class"),
        ),
        words=True,
    ),
    Key(
        name="action",
        meaning="what a filter did, what became of an output, what a reviewer decided",
        example="action:blur",
        tier="hot",
        paths=("body.mod.filter_action", "body.outputs.disposition", "body.outcome"),
    ),
    Key(
        name="classifier",
        meaning="program that judged, by id or id@version",
        example="classifier:nsfw@4",
        tier="hot",
        paths=("body.mod.classifier", "body.classifier"),
        form="versioned",
    ),
    Key(
        name="operation",
        meaning="what a model was asked to do",
        example="operation:inpaint",
        tier="hot",
        paths=("body.operation",),
    ),
    Key(
        name="input",
        meaning="kind of input",
        example="input:text+image",
        tier="hot",
        paths=("body.input_type",),
    ),
    Key(
        name="consent",
        meaning="consent, by id",
        example="consent:c-2026-17",
        tier="hot",
        paths=("body.consent_ids", "body.rights.consent_ref"),
    ),
    Key(
        name="text",
        meaning="consent text or label text, by id or id@version",
        example="text:likeness@2",
        tier="hot",
        paths=("body.consent.text_id",),
        words=True,
    ),
    Key(
        name="source",
        meaning="sequence of the producer",
        example="source:gateway-3",
        tier="hot",
        paths=("source.id",),
    ),
    Key(
        name="queue",
        meaning="queue of a review or an escalation",
        example="queue:minors",
        tier="hot",
        paths=("body.review.queue", "body.escalation.queue"),
    ),
    Key(
        name="review",
        meaning="where a review stands: opened, assigned, decided",
        example="review:opened",
        tier="hot",
        paths=("body.review.state",),
        known=("opened", "assigned", "decided"),
    ),
    Key(
        name="destination",
        meaning="way, platform or kind of recipient of a delivery",
        example="destination:PUBLIC",
        tier="hot",
        paths=(
            *("body.destination.type", "body.destination.recipient_type"),
            "body.destination.platform",
        ),
    ),
    Key(
        name="basis",
        meaning="ground on which an asset is used",
        example="basis:LICENSED",
        tier="hot",
        paths=("body.rights.basis",),
    ),
    Key(
        name="secrecy",
        meaning="how secret the record or the asset is",
        example="secrecy:CONFIDENTIAL",
        tier="hot",
        paths=("classification", "body.confidentiality.level"),
    ),
    Key(
        name="by",
        meaning="who acted: human, service, agent or system",
        example="by:human",
        tier="hot",
        paths=("actor.kind",),
        fold="lower",
        known=("human", "service", "agent", "system"),
    ),
    Key(
        name="role",
        meaning="role in which somebody acted",
        example="role:REVIEWER",
        tier="hot",
        paths=("actor.role",),
        fold="upper",
    ),
    Key(
        name="ticket",
        meaning="ticket of a change",
        example="ticket:CHG-1184",
        tier="hot",
        paths=("body.change_ticket",),
    ),
    Key(
        name="takedown",
        meaning="request to take a picture down, by id",
        example="takedown:td-9",
        tier="hot",
        paths=("body.takedown.request_id",),
    ),
    _asked("actor", "actor.subject_id", "person whose values the event has", "actor:employee-7"),
    _asked("account", "actor.account_id", "account of the person", "account:a-1"),
    _asked("session", "actor.session_id", "session of the person", "session:s-1"),
    _asked("department", "actor.department", "department of the person", "department:design"),
    _asked("behalf", "actor.on_behalf_of", "for whom the person acted", "behalf:manager-2"),
    _asked("ip", "net.ip", "address from which the request came", "ip:192.0.2.7"),
    _asked("recipient", "destination.recipient", "who received a delivery", "recipient:…"),
    _asked("holder", "rights.holder", "who holds the rights of an asset", "holder:…"),
    _asked("requester", "requested_by", "who asked that an asset be withdrawn", "requester:…"),
)

#: By name, in the order of docs/search.md.
KEYS: Final = {one.name: one for one in _TABLE}

#: Keys of which each value has words, for free text.
WORDED: Final = frozenset(one.name for one in _TABLE if one.words)


def beyond(tier: Tier) -> list[str]:
    """Return the keys that an entry loses when it comes into this tier."""
    lost = {"warm": ("hot",), "cold": ("hot", "warm")}.get(tier, ())
    return [one.name for one in _TABLE if one.tier in lost]


def describe() -> str:
    """Return the table of docs/search.md."""
    lines = ["| key | means | kept | example |", "| --- | --- | --- | --- |"]
    for one in _TABLE:
        kept = {"hot": "hot", "warm": "hot, warm", "cold": "always"}[one.tier]
        if one.personal is not None:
            kept = "until erased" if one.name == "actor" else "hot, until erased"
            kept += "; POST only"
        words = "; its words are found" if one.words else ""
        lines.append(f"| `{one.name}` | {one.meaning}{words} | {kept} | `{one.example}` |")
    return "\n".join(lines) + "\n"
