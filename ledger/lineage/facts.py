# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tree or a lineage shows of an event: the few members that tell what happened.

All of it is clear in the entry. Whoever needs the rest reads the entry itself, by its event id.
"""

from collections.abc import Mapping
from typing import Any, Final

JSON = dict[str, Any]

#: Members of the body, as dotted names, by event type.
SHOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "INGEST": ("asset.type", "asset.mime", "asset.source_url", "rights.basis", "rights.license"),
    "ASSET_RIGHTS_CHANGED": ("rights.basis", "rights.license", "reason_code", "effective_at"),
    "ASSET_CLASSIFIED": ("confidentiality.level", "depicts"),
    "ASSET_WITHDRAWN": ("reason_code", "effective_at"),
    "DATASET_SEALED": (
        "dataset.id", "dataset.version", "dataset.member_count", "dataset.smt_root",
        "dataset.manifest_digest",
    ),
    "DATASET_SUPERSEDED": ("dataset",),
    "TRAIN_STARTED": ("train.type", "train.base_model", "train.output_model"),
    "TRAIN": ("train.type", "train.output_model", "train.manifest_digest"),
    "TRAIN_FAILED": ("error.class", "error.code"),
    "MODEL_REGISTERED": (
        "model", "manifest.digest", "weights.unavailable", "training_run", "answers",
        "change_ticket",
    ),
    "MODEL_DEPLOYED": ("model", "answers", "effective_from", "change_ticket"),
    "MODEL_PINNED": ("model", "answers", "until", "change_ticket"),
    "MODEL_RETIRED": ("model", "reason_code", "effective_at", "change_ticket"),
    "GEN_ATTEMPT": (
        "operation", "input_type", "model", "prompt.template", "policy", "consent_ids",
    ),
    "MODERATION": (
        "mod.stage", "mod.filter_action", "mod.filter_triggered", "mod.labels",
        "mod.risk_category", "mod.risk_score", "mod.rule_ids", "mod.classifier.id",
    ),
    "GEN_ESCALATED": ("escalation", "reason_code", "risk_category"),
    "HUMAN_REVIEW": ("review", "outcome", "reason_code"),
    "HUMAN_OVERRIDE": ("outcome", "override.reason_code", "override.original", "override.new"),
    "GEN": (
        "outputs", "reference_assets", "provider.model_returned", "provider.system_fingerprint",
        "provider.request_id", "usage", "marking.c2pa_manifest_digest", "result", "finish_reason",
    ),
    "GEN_DENY": (
        "refusal_reason_code", "risk_category", "rule_ids", "policy", "human_override",
        "provider.model_returned", "provider.request_id", "usage",
    ),
    "GEN_ERROR": (
        "error.class", "error.code", "error.stage", "timeout", "provider.model_returned",
        "provider.request_id", "usage",
    ),
    "OUTCOME_LATE": ("claimed.type",),
    "OUTPUT_RELEASED": ("asset_id", "reason_code"),
    "OUTPUT_DESTROYED": ("asset_id", "reason_code", "auto_delete"),
    "EXPORT": (
        "asset_id", "asset_sha256", "destination.type", "destination.recipient_type",
        "destination.platform", "includes_provenance", "marking_verified",
    ),
    "EXPORT_REVOKED": ("reason_code", "revoked_at", "copies_removed"),
    "TAKEDOWN": ("takedown", "reason_code"),
}  # fmt: skip

_PATHS: Final = {
    type_: [(tuple(name.split(".")[:-1]), name.rpartition(".")[2]) for name in names]
    for type_, names in SHOWN.items()
}

#: Of an output, what is shown.
_OUTPUT: Final = ("asset_id", "sha256", "pixel_sha256", "mime", "disposition")


def facts_of(type_: str, body: JSON) -> JSON:
    """Return the members of a body that are shown, nested as they are there.

    Of a type that is not listed: its plain members, those that are lists or objects left out.
    """
    names = _PATHS.get(type_)
    if names is None:
        return {name: value for name, value in body.items() if not isinstance(value, (dict, list))}
    found: JSON = {}
    for path, last in names:
        inner: Any = body
        for step in path:
            inner = inner.get(step) if isinstance(inner, dict) else None
        if not isinstance(inner, dict) or last not in inner:
            continue
        place = found
        for step in path:
            place = place.setdefault(step, {})
        place[last] = inner[last]
    if "outputs" in found:
        found["outputs"] = [
            {name: one[name] for name in _OUTPUT if name in one} for one in found["outputs"]
        ]
    return found
