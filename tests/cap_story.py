# SPDX-License-Identifier: GPL-3.0-or-later
"""A day at a studio: every kind of event that a CAP pack speaks of, recorded for real."""

from house import attempt, deny, error, event_id, export, gen, ingest

from evidence.cap_range import CapRequest
from ledger import clock

D = "sha256:" + "ab" * 32
POLICY = {"id": "safe-refusal", "version": "7.1", "digest": D}


def days():
    """The first and the last day of what a test has just recorded, be it around midnight."""
    now = clock.now_ms()
    return clock.day_of(now - clock.DAY_MS // 24), clock.day_of(now)


def these_days():
    """A request for a pack of them."""
    first, last = days()
    return CapRequest(first=first, last=last)


def ask(stream=None, **changes):
    """An attempt as a careful client sends it."""
    one = attempt(stream)
    one["body"] |= {
        "policy": POLICY,
        "input_type": "text+image",
        "inputs": [{"type": "image", "role": "source"}],
        "model": {**one["body"]["model"], "id": "urn:cap:model:acme:painter"},
        **changes,
    }
    one["sealed"] |= {"inputs[0].sha256": D, "net.ip": "192.0.2.7"}
    one["trace"] = {"trace_id": "0af7651916cd43dd8448eb211c80319c"}
    one["actor"] = {"kind": "human", "role": "CREATOR"}
    one["net"] = {"client_type": "web", "api_version": "2026-01"}
    return one


def moderation(stream, **changes):
    mod = {
        "stage": "pre_prompt",
        "classifier": {"id": "ncii-detect", "version": "2.1.0"},
        "scores": {"ncii": "0.94", "violence": "0.1"},
        "threshold": "0.85",
        "filter_triggered": True,
        "filter_action": "block",
        "risk_category": "NCII_RISK",
        "risk_sub": ["UPLOADED_PERSON"],
        "latency_ms": 50,
    }
    return {**gen(stream), "type": "MODERATION", "body": {"mod": {**mod, **changes}}}


def full_ingest(asset_id):
    one = ingest(asset_id)
    one["body"] = {
        "asset": {
            "type": "image",
            "mime": "image/png",
            "size": "2457600",
            "name": "Main character, draft A",
        },
        "rights": {
            "basis": "STATUTORY_EXCEPTION",
            "consent_basis": "not-required",
            "consent_ref": "consent/9",
            "statutory": {"jurisdiction": "JP", "article": "30-4", "justification": "analysis"},
            "permitted": {
                "training": True,
                "distribution": False,
                "attribution": "the museum",
                "restrictions": ["NO_ADVERTISING"],
            },
        },
        "confidentiality": {"level": "PRE_RELEASE", "release_date": "2026-12-24T00:00:00.000Z"},
    }
    one["sealed"] = {"asset.sha256": D, "rights.holder": "somebody", "actor.department": "design"}
    return one


def train(run, output_model="urn:cap:model:acme:painter"):
    plan = {
        "type": "LORA",
        "inputs": [{"dataset_id": "photos/2026", "manifest_digest": D, "count": 8}],
        "output_model": output_model,
        "base_model": "flux.1",
        "code_digest": D,
        "config": {"epochs": 3, "batch_size": 0, "learning_rate": "0.0000015"},
        "context": {
            "purpose": "research",
            "jp_30_4": {
                "non_enjoyment_purpose": True,
                "information_analysis": True,
                "necessary_extent": True,
                "no_undue_prejudice": False,
            },
        },
    }
    started = {
        **ingest(run),
        "type": "TRAIN_STARTED",
        "aggregate_id": run,
        "body": {"train": plan},
    }
    done = {**started, "type": "TRAIN", "event_id": event_id()}
    done["body"] = {"train": {**plan, "manifest_digest": D}}
    done["record_key"] = ingest()["record_key"]
    return [started, done]


def tell(house):
    """Record the day; returns the attempts' streams by what became of them."""
    calls = {name: event_id() for name in ("made", "denied", "failed", "warned", "held", "bare")}
    asset, picture = "urn:cap:asset:acme:char-1", "gen/char:1"
    warned, held = gen(calls["warned"], "w-1"), gen(calls["held"], "h-1")
    warned["body"]["warning"] = {"message_id": "w-7", "acknowledged": True}
    held["body"]["outputs"] = [
        {"asset_id": "h-0", "mime": "image/png", "disposition": "delivered", "sha256": D},
        {"asset_id": "h-1", "mime": "image/png", "disposition": "quarantined"},
    ]
    held["sealed"] = {"outputs[1].sha256": D}
    refused = deny(calls["denied"])
    refused["body"] |= {"policy": POLICY, "shown_to_user": True}
    delivered = export(picture)
    delivered["body"]["destination"] |= {"recipient_type": "COURT", "platform": "SecureShare"}
    delivered["sealed"] = {"destination.recipient": "somebody else"}
    house.post(full_ingest(asset), *train("run-1"))
    house.post(*(ask(calls[name]) for name in calls if name != "bare"))
    house.post(attempt(calls["bare"], sealed={}))
    house.post(
        gen(calls["made"], picture),
        moderation(calls["denied"]),
        refused,
        error(calls["failed"]),
        moderation(calls["warned"], filter_action="warn", risk_category="COPYRIGHT_VIOLATION"),
        warned,
        held,
        deny(calls["bare"]),
    )
    house.post(delivered)
    return calls
