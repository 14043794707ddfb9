# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies of registers, consents, reviews, recalls and writers: the least, and every member."""

from typing import Any

from event_values import AT, ID, D

PUBLISHED = {
    "version": "7.1",
    "digest": D,
    "supersedes": "7.0",
    "effective_from": AT,
    "title": "Safety",
    "summary": "What may not be shown.",
}
RETIRED = {"version": "7.1", "reason_code": "replaced", "effective_at": AT}
POLICY = {"id": "policy/7", "version": "7.1", "digest": D}
APPROVED = {"approval": {"at": AT}, "change_ticket": "CHG-7"}
ANSWERS = {"model_returned": ["painter-xl-2026"], "system_fingerprints": ["fp_44"]}
NAMED = {"provider": "acme", "name": "Painter XL", "version": "1.0"}
IN_USE = {
    "version": "1.0",
    "manifest": D,
    "build_id": "b7",
    "deployment_id": "eu-1",
    "environment": "production",
}
CLOCK = {
    "source": "ntp",
    "synced": True,
    "offset_ms": -3,
    "uncertainty_ms": 5,
    "measured_at": AT,
}
PIECE = {"id": "karras", "version": "2", "sha256": D}
REVIEW = {
    "queue": "trust-and-safety",
    "state": "decided",
    "priority": "high",
    "deadline": AT,
    "opened_at": AT,
    "escalation_id": "case-1",
}
SUITE_MODEL = {
    **NAMED,
    "id": "urn:cap:model:acme:painter",
    "build_id": "b7",
    "deployment_id": "eu-1",
    "type": "diffusion",
    "environment": "production",
    "manifest": D,
    "tokenizer": {"id": "clip", "sha256": D},
}
GRANT = {
    "text_id": "likeness",
    "text_version": "3",
    "text_digest": D,
    "action": "opt_in",
    "method": "click",
}
ASKED = {"request_id": "td-1", "received_at": AT}
DIFF = [
    {"op": "test", "path": "/body/refusal_reason_code", "value": "rule"},
    {"op": "copy", "from": "/body/risk_score", "path": "/body/threshold"},
    {"op": "remove", "path": "/body/rule_ids/0"},
]

LEAST: dict[str, dict[str, Any]] = {
    "ASSET_RIGHTS_CHANGED": {"rights": {"basis": "LICENSED"}, "reason_code": "licence-ended"},
    "ASSET_CLASSIFIED": {"depicts": {"minor_signal": False}},
    "GEN_ESCALATED": {"escalation": {"id": "case-1", "queue": "ts"}, "reason_code": "score"},
    "HUMAN_REVIEW": {"review": {"queue": "ts", "state": "opened"}},
    "HUMAN_OVERRIDE": {"override": {"reason_code": "context"}, "outcome": "ALLOW"},
    "OUTPUT_RELEASED": {"asset_id": "picture-1", "reason_code": "reviewed"},
    "OUTPUT_DESTROYED": {"asset_id": "picture-1", "reason_code": "overdue"},
    "REPLAY_RUN": {"replay": {"matches": True}},
    "EXPORT_REVOKED": {"reason_code": "recall"},
    "TAKEDOWN": {"takedown": ASKED},
    "MODEL_REGISTERED": {"model": NAMED, "manifest": {"digest": D, "format": "spdx-3-ai"}},
    "MODEL_DEPLOYED": {"model": {"version": "1.0"}},
    "MODEL_PINNED": {"model": {"version": "1.0"}},
    "MODEL_RETIRED": {"reason_code": "end-of-life"},
    "POLICY_PUBLISHED": {"version": "1", "digest": D},
    "POLICY_RETIRED": {"reason_code": "replaced"},
    "PROMPT_TEMPLATE_PUBLISHED": {"version": "1", "digest": D},
    "PROMPT_TEMPLATE_RETIRED": {"reason_code": "replaced"},
    "CONSENT_TEXT_PUBLISHED": {"version": "1", "digest": D},
    "CONSENT_TEXT_RETIRED": {"reason_code": "replaced"},
    "TRANSPARENCY_TEMPLATE_PUBLISHED": {"version": "1", "digest": D},
    "TRANSPARENCY_TEMPLATE_RETIRED": {"reason_code": "replaced"},
    "CONSENT_GRANTED": {"consent": GRANT},
    "CONSENT_REVOKED": {},
    "CONSENT_EXPIRED": {},
    "WRITER_STARTED": {},
    "WRITER_HEARTBEAT": {"last_n": 0},
    "WRITER_STOPPED": {"last_n": 0},
    "CONFIG_CHANGED": {"before": D, "after": D, "last_n": 0},
    "RED_TEAM_RUN": {"suite": {"version": "4"}, "model": NAMED, "cases": 0, "failed": 0},
    "FORENSIC_DRY_RUN": {"requests": 1000, "covered": 1000},
}

#: What has to be sealed beside the full body, and for some beside the least.
NEEDED: dict[str, dict[str, Any]] = {
    "HUMAN_REVIEW": {"reviewer": "emp-9"},
    "HUMAN_OVERRIDE": {"reviewer": "emp-9"},
}

#: A hosted model, which has no files: the other half of MODEL_REGISTERED.
HOSTED = {"model": NAMED, "weights": {"unavailable": "hosted", "snapshot": D}}

FULL: dict[str, dict[str, Any]] = {
    "ASSET_RIGHTS_CHANGED": {
        "rights": {
            "basis": "LICENSED",
            "license": "CC BY 4.0",
            "consent_basis": "contract",
            "consent_ref": "consent/9",
            "statutory": {
                "jurisdiction": "JP",
                "article": "30-4",
                "clause": "1",
                "justification": "analysis only",
            },
            "permitted": {
                "training": False,
                "generation": True,
                "distribution": False,
                "commercial": False,
                "derivative": True,
                "attribution": "the museum",
                "restrictions": ["not in advertising"],
            },
        },
        "reason_code": "licence-ended",
        "effective_at": AT,
    },
    "ASSET_CLASSIFIED": {
        "confidentiality": {"level": "PRE_RELEASE", "classified_at": AT, "release_date": AT},
        "depicts": {"identifiable_person": True, "minor_signal": False},
        "reason_code": "review",
    },
    "GEN_ESCALATED": {
        "escalation": {"id": "case-1", "queue": "ts", "priority": "high", "deadline": AT},
        "reason_code": "score",
        "risk_category": "NCII_RISK",
        "risk_score": "0.7",
        "rule_ids": ["r-1"],
        "policy": POLICY,
    },
    "HUMAN_REVIEW": {
        "review": REVIEW,
        "outcome": "MODIFY",
        "reason_code": "crop",
        "time_spent_ms": 61_000,
    },
    "HUMAN_OVERRIDE": {
        "override": {"reason_code": "context", "original": "DENY", "new": "ALLOW", "diff": DIFF},
        "outcome": "ALLOW",
        "overrides": ID,
        "time_spent_ms": 61_000,
    },
    "OUTPUT_RELEASED": {
        "asset_id": "picture-1",
        "reason_code": "reviewed",
        "review": ID,
        "access_level": "customer",
    },
    "OUTPUT_DESTROYED": {
        "asset_id": "picture-1",
        "reason_code": "overdue",
        "review": ID,
        "method": "crypto-erase",
        "destroyed_at": AT,
        "location": "vault 2",
        "auto_delete": True,
    },
    "REPLAY_RUN": {
        "replay": {
            "matches": False,
            "distance": "2",
            "measure": "phash",
            "output_digest": D,
            "env_digest": D,
        },
        "report_digest": D,
        "ran_at": AT,
    },
    "EXPORT_REVOKED": {"reason_code": "recall", "revoked_at": AT, "copies_removed": 3},
    "TAKEDOWN": {
        "takedown": {
            **ASKED,
            "valid": True,
            "due_at": AT,
            "removed_at": AT,
            "copies_removed": 2,
        },
        "reason_code": "ncii",
    },
    "MODEL_REGISTERED": {
        "model": {
            **NAMED,
            "build_id": "b7",
            "deployment_id": "eu-1",
            "type": "diffusion",
            "environment": "production",
        },
        "manifest": {"digest": D, "format": "cyclonedx-1.7"},
        "weights": {"files": [{"path": "unet.safetensors", "sha256": D, "size": "1"}]},
        "tokenizer": {"id": "clip", "sha256": D},
        "safety_filter": {"id": "nsfw", "version": "3", "sha256": D},
        "scheduler": PIECE,
        "vae": PIECE,
        "lora": [PIECE],
        "training_run": "run-7",
        "training_data_snapshot": "photos",
        "eval": {"red_team_suite": "painters 4", "report_digest": D},
        "model_card_digest": D,
        "answers": ANSWERS,
        **APPROVED,
    },
    "MODEL_DEPLOYED": {"model": IN_USE, "answers": ANSWERS, "effective_from": AT, **APPROVED},
    "MODEL_PINNED": {"model": IN_USE, "answers": ANSWERS, "until": AT, **APPROVED},
    "MODEL_RETIRED": {
        "model": {"version": "1.0"},
        "reason_code": "end-of-life",
        "effective_at": AT,
        **APPROVED,
    },
    "POLICY_PUBLISHED": {
        **PUBLISHED,
        "rules": [
            {"rule_id": "r-1", "severity": "high", "category": "NCII_RISK", "threshold": "0.9"}
        ],
    },
    "POLICY_RETIRED": RETIRED,
    "PROMPT_TEMPLATE_PUBLISHED": {
        **PUBLISHED,
        "variables": ["subject", "style"],
        "style_constraints": D,
        "system_prompt": D,
    },
    "PROMPT_TEMPLATE_RETIRED": RETIRED,
    "CONSENT_TEXT_PUBLISHED": {
        **PUBLISHED,
        "locale": "en-GB",
        "ui_context": "sign-up, step 2",
        "screenshot_digest": D,
        "on_revocation": "erase",
    },
    "CONSENT_TEXT_RETIRED": RETIRED,
    "TRANSPARENCY_TEMPLATE_PUBLISHED": {
        **PUBLISHED,
        "locale": "en-GB",
        "medium": "caption",
        "legal_basis": "AI Act 50(4)",
    },
    "TRANSPARENCY_TEMPLATE_RETIRED": RETIRED,
    "CONSENT_GRANTED": {
        "consent": {
            **GRANT,
            "id": "consent/9",
            "scope": {
                "model": "urn:cap:model:acme:painter",
                "feature": "portraits",
                "data_use": "generation",
                "purposes": ["advertising"],
            },
            "context": {"ui_context": "sign-up, step 2", "locale": "en-GB", "channel": "web"},
            "ui_artifact": D,
            "given_at": AT,
            "expires_at": AT,
            "sticky": True,
            "age_assurance": True,
        }
    },
    "CONSENT_REVOKED": {
        "consent": {"id": "consent/9"},
        "revokes": ID,
        "reason_code": "requested",
        "method": "api",
        "revoked_at": AT,
        "effects": [{"kind": "erase", "ref": "case-1"}],
    },
    "CONSENT_EXPIRED": {"consent": {"id": "consent/9"}, "expired_at": AT, "reason_code": "time"},
    "WRITER_STARTED": {
        "last_n": 7,
        "software": {"name": "gateway", "version": "1.2", "digest": D},
        "config_digest": D,
        "clock": CLOCK,
        "heartbeat_s": 60,
    },
    "WRITER_HEARTBEAT": {"last_n": 8, "waiting": 0, "clock": CLOCK, "config_digest": D},
    "WRITER_STOPPED": {"last_n": 9, "waiting": 0, "reason_code": "deploy"},
    "CONFIG_CHANGED": {
        "before": D,
        "after": D,
        "diff": DIFF,
        "last_n": 9,
        "change_ticket": "CHG-7",
        "how": "reload",
    },
    "RED_TEAM_RUN": {
        "suite": {"version": "4", "digest": D},
        "model": SUITE_MODEL,
        "cases": 1000,
        "failed": 3,
        "score": "0.997",
        "findings": [{"category": "jailbreak", "cases": 400, "failed": 3}],
        "policy": POLICY,
        "report_digest": D,
        "started_at": AT,
        "ended_at": AT,
    },
    "FORENSIC_DRY_RUN": {
        "requests": 1000,
        "covered": 998,
        "fields_missing": ["usage"],
        "report_digest": D,
        "started_at": AT,
        "ended_at": AT,
    },
}
