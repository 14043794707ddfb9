# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of a model, said as CAP's two events: the attempt and its one outcome.

    GEN                                       GEN; with a warning shown GEN_WARN; with an output
                                              held back GEN_QUARANTINE
    GEN_DENY                                  GEN_DENY
    GEN_ERROR, the ledger's timeouts too      GEN_ERROR, which CAP has since v1.0
    none yet, but handed to a person          GEN_ESCALATE, pending
    none yet                                  none: the attempt is open, and counted as that

CAP counts an escalation among the outcomes. With us it is none: whoever reviewed a request decided
it, so its one outcome is what followed, and the escalation is named in it (`EscalationID`).
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from evidence import cap_names as names
from evidence.cap_events import UNSTATED, Fact, event, there
from evidence.cap_json import JSON, number

OUTCOMES: Final = ("GEN", "GEN_DENY", "GEN_ERROR")
#: The commitment that stands for the prompt: the first of these that the attempt holds.
PROMPTS: Final = ("prompt.rendered", "prompt.user")


@dataclass(slots=True)
class Call:
    """All entries about one call of a model, as far as they say something in CAP."""

    attempt: Fact
    judgements: list[Fact] = field(default_factory=list)  #: MODERATION.
    escalation: Fact | None = None
    reviews: list[Fact] = field(default_factory=list)  #: HUMAN_REVIEW and HUMAN_OVERRIDE.
    releases: list[Fact] = field(default_factory=list)  #: OUTPUT_RELEASED and OUTPUT_DESTROYED.
    outcome: Fact | None = None

    def add(self, fact: Fact) -> None:
        """Take a further entry of the call, in the order of the log."""
        if fact.type in OUTCOMES:
            self.outcome = fact
        elif fact.type == "MODERATION":
            self.judgements.append(fact)
        elif fact.type == "GEN_ESCALATED":
            self.escalation = fact
        elif fact.type in ("HUMAN_REVIEW", "HUMAN_OVERRIDE"):
            self.reviews.append(fact)
        elif fact.type in ("OUTPUT_RELEASED", "OUTPUT_DESTROYED"):
            self.releases.append(fact)

    def events(self) -> list[JSON]:
        """Return the attempt's event and, if there is one, the outcome's."""
        first = _attempt(self.attempt)
        if self.outcome is not None:
            return [first, _outcome(self, self.outcome, first)]
        if self.escalation is not None:
            return [first, _escalated(self, self.escalation)]
        return [first]


def prompt_of(attempt: Fact) -> tuple[str, str]:
    """Return the commitment that stands for the prompt, and which one it is.

    `_sd`: the names are not known, because the client kept its values or somebody was erased; then
    it is the digest over the whole list of commitments.
    """
    for name in PROMPTS:
        if name in attempt.committed:
            return attempt.committed[name], name
    return attempt.sealed_by_client, "_sd"


def _attempt(fact: Fact) -> JSON:
    body, net = fact.body, fact.entry.get("net", {})
    prompt, which = prompt_of(fact)
    policy = body.get("policy") or fact.entry.get("policy_bundle") or {}
    kind = body["input_type"]
    client = net.get("client_type")
    return event(
        fact,
        "GEN_ATTEMPT",
        {
            "PromptHash": prompt,
            "ReferenceImageHash": _reference(fact),
            "InputType": kind if kind in names.INPUT_TYPES else "text+image",
            "PolicyID": fact.sure("PolicyID", policy.get("id"), UNSTATED),
            "PolicyVersion": policy.get("version"),
            "ModelVersion": body["model"]["version"],
            "SessionID": names.session_of(fact.entry),
            "ActorHash": fact.committed.get("actor.subject_id"),
            "RequestMetadata": there(
                {
                    "clientType": client and (names.upper_in(client, names.CLIENTS) or names.OTHER),
                    "apiVersion": net.get("api_version"),
                }
            ),
        },
        PromptHashOf=which,
        InputType=kind,
    )


def _reference(fact: Fact) -> str | None:
    for at, one in enumerate(fact.body.get("inputs", ())):
        if one["type"] == "image":
            return fact.committed.get(f"inputs[{at}].sha256")
    return None


def _outcome(call: Call, fact: Fact, first: JSON) -> JSON:
    if fact.type == "GEN":
        return _made(call, fact, first)
    type_ = fact.type
    members: JSON
    if type_ == "GEN_DENY":
        members = {
            **_risk(call, fact),
            "RefusalReason": fact.body.get("refusal_reason_code"),
            "PolicyID": fact.body.get("policy", {}).get("id"),
            "PolicyVersion": fact.body.get("policy", {}).get("version"),
            "ModelDecision": "DENY",
        }
    else:
        failure = fact.body["error"]
        members = {
            "ErrorClass": failure["class"],
            "ErrorCode": failure["code"],
            "ErrorStage": failure["stage"],
            "Retryable": failure["retryable"],
            "Timeout": fact.body.get("timeout", False),
        }
    return _closing(call, fact, type_, members)


def _made(call: Call, fact: Fact, first: JSON) -> JSON:
    """GEN, GEN_WARN or GEN_QUARANTINE; the output that decides which one stands first."""
    outputs = [_output(fact, at) for at in range(len(fact.body["outputs"]))]
    held = [at for at, one in enumerate(outputs) if one.get("Disposition") == "quarantined"]
    shown = outputs[held[0] if held else 0]
    warning = fact.body.get("warning")
    members: JSON = {
        "Generation": there(
            {
                "PromptHash": first["PromptHash"],
                "OutputAssetID": shown["AssetID"],
                "OutputAssetHash": shown["AssetHash"],
                "OutputType": _output_type(fact.body["outputs"][0]["mime"]),
                "ReferenceAssetIDs": [
                    fact.urn("asset", one) for one in fact.body.get("reference_assets", ())
                ]
                or None,
            }
        ),
        "ModelContext": _model(call.attempt, fact.body["outputs"][0]["mime"]),
    }
    type_ = "GEN"
    if held:
        type_ = "GEN_QUARANTINE"
        members |= {
            **_risk(call, fact),
            "QuarantineReason": fact.sure("QuarantineReason", _rules(call), UNSTATED),
            "ModelDecision": "QUARANTINE",
            "OutputAssetID": shown["AssetID"],
            "OutputAssetHash": shown["AssetHash"],
            **_kept(call, fact.body["outputs"][held[0]]),
        }
    elif warning is not None:
        type_ = "GEN_WARN"
        members |= {
            **_risk(call, fact),
            "WarningMessage": warning["message_id"],
            "ModelDecision": "WARN",
            "UserAcknowledged": warning.get("acknowledged"),
            "OutputAssetID": shown["AssetID"],
        }
    return _closing(call, fact, type_, members, Outputs=outputs)


def _kept(call: Call, output: JSON) -> JSON:
    """Return where an output is held back, and what became of it since."""
    kept = output.get("quarantine") or {}
    status: JSON = {"status": "PENDING"}
    if any(one.body["review"]["state"] == "assigned" for one in call.reviews if _is_review(one)):
        status = {"status": "IN_REVIEW", "reviewer": _assigned(call)}
    for one in call.releases:
        if one.body["asset_id"] == output["asset_id"]:
            freed = one.type == "OUTPUT_RELEASED"
            status = {
                "status": "RELEASED" if freed else "DELETED",
                "reviewedAt": one.recorded,
                "finalDecision": "RELEASE" if freed else "DELETE",
            }
    level = names.upper_in(kept.get("access_level"), names.ACCESS_LEVELS)
    details = {
        "location": kept.get("location"),
        "expiresAt": kept.get("expires_at"),
        "accessLevel": level,
        "autoDeleteOnExpiry": kept.get("auto_delete"),
    }
    return {"QuarantineDetails": there(details), "ReviewStatus": there(status)}


def _rules(call: Call) -> str | None:
    """Return the rules, or else the labels, of the last judgement before the outcome."""
    last = call.judgements[-1].body["mod"] if call.judgements else {}
    return " ".join(last.get("rule_ids") or last.get("labels") or ()) or None


def _is_review(fact: Fact) -> bool:
    return fact.type == "HUMAN_REVIEW"


def _closing(call: Call, fact: Fact, type_: str, members: JSON, **more: Any) -> JSON:
    """Add what every outcome says: its attempt, the escalation before it, the person's decision."""
    escalation = call.escalation
    closing = {
        "AttemptID": call.attempt.event_id,
        **members,
        "EscalationID": None if escalation is None else escalation.event_id,
        "FinalDecision": _decision(call),
    }
    if type_ != "GEN_ERROR":
        closing["HumanOverride"] = _overridden(call, fact)
    return event(fact, type_, closing, DecisionMs=_elapsed_ms(call.attempt, fact), **more)


def _escalated(call: Call, fact: Fact) -> JSON:
    asked = fact.body["escalation"]
    members = {
        "AttemptID": call.attempt.event_id,
        **_risk(call, fact),
        "EscalationReason": fact.body["reason_code"],
        "ModelDecision": "ESCALATE",
        "EscalationDetails": there(
            {
                "assignedTo": _assigned(call) or asked["queue"],
                "priority": names.upper_in(asked.get("priority"), names.PRIORITIES),
                "deadline": asked.get("deadline"),
            }
        ),
        "FinalDecision": _decision(call) or {"outcome": "PENDING"},
    }
    return event(fact, "GEN_ESCALATE", members)


def _assigned(call: Call) -> str | None:
    found = [one.committed.get("review.assigned_to") for one in call.reviews]
    return next((one for one in reversed(found) if one is not None), None)


def _decision(call: Call) -> JSON | None:
    """Return what a person decided last; None if nobody was asked, or has decided."""
    for one in reversed(call.reviews):
        outcome = one.body.get("outcome")
        if outcome in ("ALLOW", "MODIFY", "DENY"):
            return there(
                {
                    "outcome": "DENY" if outcome == "DENY" else "ALLOW",
                    "reviewer": one.committed.get("reviewer"),
                    "reviewedAt": one.recorded,
                    "notes": one.committed.get("notes"),
                }
            )
    return None


def _overridden(call: Call, fact: Fact) -> bool:
    said = fact.body.get("human_override")
    return bool(said) or any(one.type == "HUMAN_OVERRIDE" for one in call.reviews)


def _output(fact: Fact, at: int) -> JSON:
    one, name = fact.body["outputs"][at], f"outputs[{at}].sha256"
    sha256 = one.get("sha256") or fact.committed.get(name) or fact.sealed_by_client
    return there(
        {
            "AssetID": fact.urn("asset", one["asset_id"]),
            "AssetHash": sha256,
            "Disposition": one.get("disposition"),
        }
    )


def _output_type(mime: str) -> str:
    return names.upper_in(mime.partition("/")[0], names.ASSET_TYPES) or names.OTHER


def _model(attempt: Fact, mime: str) -> JSON:
    model = attempt.body["model"]
    kind = names.upper_in(model.get("environment"), ("LOCAL", "CLOUD", "HYBRID", "API"))
    policy = attempt.body.get("policy") or {}
    return there(
        {
            "ModelID": attempt.urn("model", model.get("id") or _plain(model)),
            "ModelVersion": model["version"],
            "ModelType": names.MODEL_TYPES.get(mime.partition("/")[0], names.OTHER),
            "ModelProvider": model["provider"],
            "Environment": kind,
            "PolicyVersion": policy.get("version"),
        }
    )


def _plain(model: JSON) -> str:
    """Name a model that has no identifier by its provider and its name, in the letters of one."""
    name = "".join(one if one.isascii() and one.isalnum() else "-" for one in model["name"])
    return f"{model['provider']}/{name}"


def _risk(call: Call, fact: Fact) -> JSON:
    """Return category, finer ones and score: the outcome's own, else the last judgement's."""
    last = call.judgements[-1].body["mod"] if call.judgements else {}
    category = fact.body.get("risk_category") or last.get("risk_category")
    known = names.upper_in(category, names.RISKS)
    finer = list(fact.body.get("risk_sub") or last.get("risk_sub") or ())
    if known is None and category is not None and category.upper() != names.OTHER:
        finer.insert(0, category)  # CAP has no such category; it is not lost.
    score = _score(fact.body) or _score(last)
    classifier = fact.body.get("classifier") or last.get("classifier") or {}
    threshold = fact.body.get("threshold") or last.get("threshold")
    return there(
        {
            "RiskCategory": known or fact.sure("RiskCategory", category and names.OTHER, "OTHER"),
            "RiskSubCategories": finer or None,
            # Nobody measured it, and what acted was sure enough to act.
            "RiskScore": _between(fact.sure("RiskScore", score and number(score), 1)),
            "DecisionMetadata": there(
                {
                    "processingTime": last.get("latency_ms"),
                    "classifierVersion": classifier
                    and f"{classifier['id']} {classifier['version']}",
                    "confidenceThreshold": threshold and number(threshold),
                }
            ),
        }
    )


def _score(body: JSON) -> str | None:
    scores = body.get("scores") or {}
    if body.get("risk_score") is not None:
        return str(body["risk_score"])
    return max(scores.values(), key=number) if scores else None


def _between(score: float) -> float:
    return min(max(score, 0), 1)


def _elapsed_ms(attempt: Fact, outcome: Fact) -> int:
    """Return the time from the attempt's entry to the outcome's, in milliseconds."""
    begin, end = map(datetime.fromisoformat, (attempt.recorded, outcome.recorded))
    return round((end - begin).total_seconds() * 1000)
