# SPDX-License-Identifier: GPL-3.0-or-later
"""One body of each event that the ledger itself records, with every member there is."""

from typing import Any

from event_bodies import LEAST
from event_values import AT, ID, SUBJECT, D

REPORT = {
    "kind": "provisional",
    "day": "2026-01-14",
    "number": 2,
    "previous": ID,
    "from_size": 0,
    "to_size": 9,
    "as_of": 12,
    "counts": {"attempts": 1, "gen": 0, "deny": 0, "error": 0, "late": 0},
    "late_recorded": 1,
    "open_count": 1,
    "open": [{"attempt_id": "a-1", "index": 3}],
    "open_digest": D,
}
FINAL = {name: value for name, value in REPORT.items() if not name.startswith("open")} | {
    "kind": "final",
    "number": 3,
    "counts": {"attempts": 6, "gen": 3, "deny": 2, "error": 1, "late": 1},
    "outcomes": {"origin": "ledger.example/acme", "root": D},
    "outputs": {"root": D, "salt_commit": D, "count": 4, "missing": 1},
}
ANCHOR = {
    "kind": "day",
    "day": "2026-01-14",
    "from_size": 0,
    "to_size": 9,
    "size_d": 9,
    "day_root": D,
    "checkpoint": {"size": 10, "root": D, "digest": D},
    "previous": {"size": 4, "root": D, "origin": "ledger.example/acme"},
    "consistency": [D],
    "tokens": [
        {
            "authority": "tsa one",
            "policy": "1.2.3",
            "gen_time": AT,
            "serial": "77",
            "token_digest": D,
        }
    ],
    "witnesses": [],
    "completeness": {"day": "2026-01-13", "root": D},
}
INTERIM = {
    name: value for name, value in ANCHOR.items() if name not in ("size_d", "completeness")
} | {"kind": "interim"}

RETENTION: dict[str, dict[str, Any]] = {
    "RETENTION_POLICY_PUBLISHED": {
        "id": "acme-retention",
        "version": 2,
        "digest": D,
        "supersedes": D,
        "effective_from": AT,
        "hot_days": 30,
        "warm_days": 90,
        "classes": [
            {
                "class": "aiact-6m",
                "entry_months": 6,
                "disclosure_months": 3,
                "artifact_months": 6,
                "basis": "AI Act 19(1), 26(6)",
            }
        ],
        "rules": [{"type": "OTHERS", "classes": ["aiact-6m"]}],
    },
    "TIER_MOVED": {
        "from": "warm",
        "to": "cold",
        "from_position": 0,
        "to_position": 256,
        "objects": 1,
        "objects_digest": D,
        "verified": "read-back",
        "lock_until": AT,
    },
    "RETENTION_EXPIRED": {
        "what": "entry",
        "policy": {"id": "acme-retention", "version": 2, "digest": D},
        "count": 2,
        "leaf_ranges": [[0, 2]],
        "tombstone_digest": D,
        "not_before": AT,
        "holds_skipped": 1,
    },
    "INTEGRITY_CHECK": {
        "subject": "retention-expired",
        "expiry": ID,
        "tombstone_digest": D,
        "checked": 2,
        "damaged": 0,
    },
}

#: What the ledger makes itself.
OWN: dict[str, dict[str, Any]] = {
    **RETENTION,
    "OUTCOME_LATE": {"claimed": {"type": "GEN", "schema": 1, "body": LEAST["GEN"]}},
    "DATASET_SEALED": {
        "dataset": {
            "id": "acme/faces",
            "version": "3",
            "member_count": 2,
            "as_of": 9,
            "manifest_digest": D,
            "smt_root": D,
            "smt_salt_commit": D,
            "digests": {"bytes-sha256": 2, "pixel-sha256": 1},
            "perceptual_manifest_digest": D,
            "perceptual_count": 1,
            "exclusions_digest": D,
            "cyclonedx_digest": D,
            "supersedes": "2",
        }
    },
    "DATASET_SUPERSEDED": {"dataset": {"id": "acme/faces", "version": "2", "by": "3"}},
    "OUTPUTS_ROLLED": {
        "period": "2026-01",
        "from_size": 0,
        "to_size": 9,
        "outputs": {"root": D, "salt_commit": D, "count": 4, "missing": 1},
    },
    "EPOCH_SEALED": {"epoch": 0, "last_n": 8, "last_mac": "hmac-" + D},
    "COMPLETENESS_REPORT": REPORT,
    "ANCHOR": ANCHOR,
    "INCARNATION_OPENED": {
        "number": 2,
        "origin": "ledger.example/acme/i2",
        "old_origin": "ledger.example/acme",
        "old_key": "ledger.example/acme+4d05bbc5+AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
        "size": 8,
        "root": D,
        "checkpoint": {
            "origin": "ledger.example/acme",
            "size": 9,
            "root": D,
            "note": "ledger.example/acme\n9\n...\n",
            "from_store": True,
        },
        "tag_verified": True,
        "reason": "incident-42",
    },
    "LEGAL_HOLD_PLACED": {
        "hold_id": ID,
        "part": 1,
        "parts": 2,
        "matter": "2026-CV-01234",
        "authority": "court-order",
        "scope": {
            "query": {
                "types": ["GEN"],
                "streams": ["Generation/a-1"],
                "subjects": [SUBJECT],
                "recorded_from": AT,
                "recorded_until": AT,
            },
            "event_ids": [ID],
            "subjects": [SUBJECT],
            "artifacts": [D],
            "keys": ["subjects/ledger.example/acme/3"],
            "anchors": ["2026-01-14"],
        },
    },
    "ERASURE_REQUESTED": {
        "erasure_id": ID,
        "subject_ref": SUBJECT,
        "basis": "gdpr-17-1-b",
        "plan": {"events": 3, "shared": 1, "identifiers": 4, "artifacts": 0},
    },
    "ERASURE_APPROVED": {
        "erasure_id": ID,
        "subject_ref": SUBJECT,
        "plan": {"events": 4, "shared": 1, "identifiers": 5, "artifacts": 0},
    },
    "ERASURE_WITHDRAWN": {"erasure_id": ID, "subject_ref": SUBJECT, "reason": "mistaken"},
    "ERASURE_DEFERRED": {
        "erasure_id": ID,
        "subject_ref": SUBJECT,
        "hold_ids": [ID],
        "exemption": "gdpr-17-3-e",
    },
    "ERASURE": {
        "erasure_id": ID,
        "subject_ref": SUBJECT,
        "state": "complete",
        "basis": "gdpr-17-1-b",
        "method": "cryptographic erase",
        "erased": {"events": 3, "identifiers": 4, "artifacts": 0},
        "keys_destroyed": [
            {"key": "subjects/ledger.example/acme/1", "driver": "file", "destroyed": AT}
        ],
        "backups_expire_at": AT,
    },
    "ALERT_RAISED": {
        "code": "review-overdue",
        "about": "Generation/a-1",
        "facts": {"deadline": AT, "position": "4"},
    },
    "CONSENT_EFFECTED": {
        "consent_id": "consent-1",
        "revocation": ID,
        "text_id": "portrait-consent",
        "text_version": "3",
        "promised": "erase",
        "started": "erasure",
        "ref": ID,
        "joined": True,
        "subject_ref": SUBJECT,
        "reason_code": "nothing-promised",
        "declared_differs": True,
    },
    "ALERT_ACKNOWLEDGED": {"alert": ID, "reason": "handled"},
    "KEY_ROTATED": {
        "key": "log",
        "origin": "ledger.example/acme",
        "generation": 2,
        "old_key": "ledger.example/acme+0a1b2c3d+AQ",
        "new_key": "ledger.example/acme+4d05bbc5+AQ",
        "size": 1042,
        "overlap_until": AT,
        "old_signature": "ab" * 44,
        "new_signature": "cd" * 44,
    },
    "LEGAL_HOLD_RELEASED": {"hold_id": ID, "authority": "court-order", "reason": "settled"},
    "ANCHOR_FAILED": {
        "anchor": "day/2026-01-14",
        "authority": "tsa one",
        "reason": "tsa-unavailable",
        "since": AT,
    },
    "ACCESS": {
        "purpose": "incident-42",
        "path": "/v1/events/{id}",
        "book": "dev",
        "book_size": 10,
        "query_digest": D,
        "result_count": 1,
        "target_event_ids": [ID],
        "fields_disclosed": ["prompt.user"],
        "exported": False,
    },
}

#: Bodies of another kind, with the members that the ones above cannot have.
ALSO: dict[str, dict[str, Any]] = {"COMPLETENESS_REPORT": FINAL}
