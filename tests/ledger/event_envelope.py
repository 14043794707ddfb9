# SPDX-License-Identifier: GPL-3.0-or-later
"""An envelope with every optional group, and every member of each."""

from typing import Any

from event_bodies import VERSIONED
from event_values import AT, ID, D

ENVELOPE: dict[str, Any] = {
    "time": {"processing_started": AT, "model_responded": AT, "producer": AT, "provider": AT},
    "trace": {
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "span_id": "b7ad6b7169203331",
        "parent_span_id": "00f067aa0ba902b7",
        "root_event": ID,
        "parent_event": ID,
        "call_index": 0,
        "depth": 1,
    },
    "links": [
        {"rel": "parent-call", "type": "GEN_ATTEMPT", "id": ID, "leaf": D},
        {"rel": "input-asset", "id": "picture-0", "role": "mask"},
    ],
    "actor": {
        "kind": "service",
        "role": "CREATOR",
        "auth_method": "oidc",
        "auth_assurance": "urn:acr:2",
    },
    "net": {"client_type": "web", "api_version": "2026-01"},
    "clock": {"source": "ntp", "synced": True, "offset_ms": -3, "ref": ID},
    "retention": {
        "class": "ai-act",
        "policy_id": "r/1",
        "policy_digest": D,
        "not_before": AT,
        "expires_hint": AT,
    },
    "classification": "PRE_RELEASE",
    "policy_bundle": VERSIONED,
    "red_team_suite": "suite 4",
    "origin_software": {"name": "gateway", "version": "0.1.0", "digest": D},
    "producer": {"id": "//app.example", "event_id": "evt-1", "kid": "k1", "sig_digest": D},
    "source": {"id": "app-1", "n": 0},
}
