# SPDX-License-Identifier: GPL-3.0-or-later
"""One body of each event: the least that is taken, and one with every member there is."""

from typing import Any

import register_bodies
from event_values import AT, ID, D

VERSIONED = {"id": "policy/7", "version": "7.1", "digest": D}
CLASSIFIER = {"id": "nsfw", "version": "3", "digest": D}
PRINTS = [{"alg": "pdq", "value": "f8f8+/="}]
FAILURE = {
    "class": "provider",
    "code": "http-502",
    "stage": "model",
    "retryable": True,
    "provider_request_id": "req_1",
}
PROVIDER = {
    "request_id": "req_1",
    "response_headers_digest": D,
    "model_returned": "painter-xl-2026",
    "system_fingerprint": "fp_44",
    "created_at": AT,
}
USAGE = {
    "input_tokens": 12,
    "output_tokens": 0,
    "images": 1,
    "steps": 30,
    "latency_ms": 812,
    "cost": "0.04",
    "currency": "EUR",
}
PERMITTED = {
    "training": True,
    "generation": True,
    "distribution": False,
    "commercial": False,
    "derivative": True,
    "attribution": "the museum",
    "restrictions": ["not in advertising"],
}
INPUT = {"dataset_id": "photos", "manifest_digest": D, "count": 8}
PLAN = {"type": "LORA", "inputs": [INPUT], "output_model": "m/1", "code_digest": D}
FULL_PLAN = {
    **PLAN,
    "inputs": [{**INPUT, "smt_root": D}],
    "input_asset_ids": ["urn:cap:asset:acme:1"],
    "base_model": "m/0",
    "container_digest": D,
    "env_digest": D,
    "seed": str(2**64 - 1),
    "hardware": "2 x H100",
    "config": {
        "epochs": 3,
        "batch_size": 8,
        "learning_rate": "0.0001",
        "parameters": {"rank": 8, "dropout": "0.1", "ema": True},
    },
    "context": {
        "purpose": "research",
        "jp_30_4": {
            "non_enjoyment_purpose": True,
            "information_analysis": True,
            "necessary_extent": True,
            "no_undue_prejudice": True,
        },
    },
    "started_at": AT,
}
OUTPUT = {"asset_id": "picture-1", "sha256": D, "mime": "image/png"}

LEAST: dict[str, dict[str, Any]] = {
    "INGEST": {"asset": {"type": "image", "sha256": D}, "rights": {"basis": "OWNED"}},
    "ASSET_WITHDRAWN": {"reason_code": "consent-revoked"},
    "TRAIN_STARTED": {"train": PLAN},
    "TRAIN": {
        "train": {
            "type": "LORA",
            "inputs": [INPUT],
            "output_model": "m/1",
            "code_digest": D,
            "manifest_digest": D,
        }
    },
    "TRAIN_FAILED": {
        "error": {"class": "oom", "code": "137", "stage": "train", "retryable": False}
    },
    "GEN_ATTEMPT": {
        "operation": "generate",
        "input_type": "text",
        "model": {"provider": "acme", "name": "Painter XL", "version": "1.0"},
    },
    "GEN": {"outputs": [OUTPUT]},
    "GEN_DENY": {"decision": "DENY", "refusal_reason_code": "rule"},
    "GEN_ERROR": {"error": {k: v for k, v in FAILURE.items() if k != "provider_request_id"}},
    "MODERATION": {
        "mod": {
            "stage": "pre_prompt",
            "classifier": {"id": "words", "version": "1"},
            "filter_action": "allow",
        }
    },
    "EXPORT": {"asset_id": "picture-1", "asset_sha256": D, "destination": {"type": "API"}},
}

FULL: dict[str, dict[str, Any]] = {
    "INGEST": {
        "asset": {
            "type": "image",
            "sha256": D,
            "pixel_sha256": D,
            "fingerprints": PRINTS,
            "mime": "image/png",
            "size": "73728",
            "width": 512,
            "height": 512,
            "name": "astronaut",
            "source_url": "https://example.org/astronaut.png",
            "retrieved_at": AT,
            "robots_or_tdm_optout": False,
        },
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
            "permitted": PERMITTED,
        },
        "confidentiality": {"level": "INTERNAL", "classified_at": AT, "release_date": AT},
        "c2pa": {
            "active_manifest_digest": D,
            "validation_state": "valid",
            "digital_source_type": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture",
        },
        "depicts": {"identifiable_person": True, "minor_signal": False},
    },
    "ASSET_WITHDRAWN": {"reason_code": "consent-revoked", "effective_at": AT},
    "TRAIN_STARTED": {"train": FULL_PLAN},
    "TRAIN": {
        "train": {
            **FULL_PLAN,
            "weights": {
                "files": [{"path": "weights.npz", "sha256": D, "size": "1"}],
                "unavailable": "hosted",
            },
            "manifest_digest": D,
            "metrics_digest": D,
            "ended_at": AT,
        }
    },
    "TRAIN_FAILED": {"error": FAILURE, "ended_at": AT},
    "GEN_ATTEMPT": {
        "operation": "inpaint",
        "input_type": "text+image",
        "model": {
            "provider": "acme",
            "name": "Painter XL",
            "version": "1.0",
            "id": "urn:cap:model:acme:painter",
            "build_id": "b7",
            "deployment_id": "eu-1",
            "type": "diffusion",
            "environment": "production",
            "manifest": D,
            "tokenizer": {"id": "clip", "sha256": D},
        },
        "params": {
            "seed": "18446744073709551615",
            "steps": 30,
            "cfg_scale": "7.5",
            "width": 1024,
            "height": 768,
            "sampler": "ddim",
            "scheduler": "karras",
            "strength": "0.6",
            "temperature": "1",
            "top_p": "0.95",
            "max_tokens": 77,
            "n": 4,
        },
        "prompt": {
            "template": VERSIONED,
            "injection_score": "0.01",
            "language": "en-GB",
            "token_count": 12,
        },
        "inputs": [
            {
                "ref_asset": "picture-0",
                "type": "image",
                "role": "mask",
                "transformations": ["resize:512"],
            }
        ],
        "consent_ids": ["consent/9"],
        "policy": VERSIONED,
        "billing": {"quote": {"amount": "0.04", "currency": "EUR"}},
        "deadline_s": 60,
    },
    "GEN": {
        "outputs": [
            {
                **OUTPUT,
                "pixel_sha256": D,
                "fingerprints": PRINTS,
                "w": 1024,
                "h": 768,
                "size": "123456",
                "ref": "shelf 7",
                "before_moderation": {"sha256": D, "pixel_sha256": D, "fingerprints": PRINTS},
                "confidence": "0.9",
                "safety_labels": ["person"],
                "disposition": "quarantined",
                "quarantine": {
                    "location": "vault 2",
                    "expires_at": AT,
                    "access_level": "trust-and-safety",
                    "auto_delete": True,
                },
            }
        ],
        "reference_assets": ["picture-0"],
        "provider": PROVIDER,
        "usage": USAGE,
        "marking": {
            "c2pa_manifest_digest": D,
            "c2pa_sig_ts": AT,
            "digital_source_type": "https://cv.iptc.org/x",
            "watermark": {
                "alg": "trustmark",
                "alg_version": "Q",
                "payload_digest": D,
                "verified": True,
            },
            "fingerprint_registered": True,
            "visible_label": "AI",
            "latent": {
                "provider_name": "Acme",
                "system_name": "Painter",
                "system_version": "1.0",
                "created_at": AT,
                "content_uid": "c-1",
            },
        },
        "warning": {"message_id": "w-1", "acknowledged": True},
        "result": "partial",
        "finish_reason": "stop",
        "replay": {"deterministic": True, "env_digest": D},
    },
    "GEN_DENY": {
        "decision": "DENY",
        "refusal_reason_code": "rule",
        "risk_category": "COPYRIGHT_VIOLATION",
        "risk_sub": ["STYLE"],
        "risk_score": "0.97",
        "policy": VERSIONED,
        "rule_ids": ["r-1"],
        "classifier": CLASSIFIER,
        "scores": {"style": "0.97"},
        "threshold": "0.9",
        "human_override": False,
        "escalation_id": "e-1",
        "shown_to_user": True,
        "provider": PROVIDER,
        "usage": USAGE,
    },
    "GEN_ERROR": {"error": FAILURE, "provider": PROVIDER, "usage": USAGE, "timeout": False},
    "MODERATION": {
        "mod": {
            "stage": "post_output",
            "classifier": CLASSIFIER,
            "scores": {"nsfw": "0.02", "violence": "0"},
            "threshold": "0.5",
            "filter_triggered": False,
            "filter_action": "allow",
            "labels": ["person"],
            "risk_category": "OTHER",
            "risk_sub": ["A"],
            "risk_score": "0.02",
            "rule_ids": ["r-1"],
            "policy": VERSIONED,
            "latency_ms": 8,
            "hash_match": {"list": "ncmec", "version": "2026-01", "hit": False},
        }
    },
    "EXPORT": {
        "asset_id": "picture-1",
        "asset_sha256": D,
        "destination": {
            "type": "PUBLICATION",
            "recipient_type": "PUBLIC",
            "platform": "gallery",
            "url": "https://example.org/1",
        },
        "permitted_use": PERMITTED,
        "source_events": [ID],
        "includes_provenance": True,
        "marking_verified": {"c2pa": True, "watermark": True, "label": True, "at": AT},
        "label_shown": "AI",
        "url_expires_at": AT,
        "artifact_retention": "24h",
    },
}

LEAST |= register_bodies.LEAST
FULL |= register_bodies.FULL
NEEDED = register_bodies.NEEDED

TIMEOUT = {
    "error": {"class": "timeout", "code": "overdue", "stage": "model", "retryable": False},
    "timeout": True,
}
