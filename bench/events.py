# SPDX-License-Identifier: GPL-3.0-or-later
"""Events for a bench: realistic attempts, all different, with digests that do not compress."""

import json
import os
import time
from base64 import urlsafe_b64encode
from typing import Any

#: Of whom the events speak: a house of some size.
PERSONS = 1_000


def event_id() -> str:
    value = int.from_bytes((time.time_ns() // 1_000_000).to_bytes(6, "big") + os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def digest() -> str:
    return f"sha256:{os.urandom(32).hex()}"


def attempt(sealed: int = 1) -> dict[str, Any]:
    """A GEN_ATTEMPT of about 1.7 kB as stored; `sealed` of its texts are committed."""
    names = ("prompt.user", "prompt.rendered", "prompt.system")[:sealed]
    return {
        "event_id": event_id(),
        "type": "GEN_ATTEMPT",
        "schema": 1,
        "aggregate_id": event_id(),
        "on_behalf_of": f"employee-{int.from_bytes(os.urandom(2)) % PERSONS}",
        "source": {"id": "bench", "n": int.from_bytes(os.urandom(6), "big")},
        "trace": {"trace_id": os.urandom(16).hex(), "span_id": os.urandom(8).hex()},
        "policy_bundle": {"id": "house-rules", "version": "12", "digest": digest()},
        "origin_software": {"name": "gateway", "version": "1.4.2", "digest": digest()},
        "body": {
            "operation": "generate",
            "input_type": "text+image",
            "model": {
                "provider": "acme",
                "name": "painter",
                "version": "3.1",
                "manifest": digest(),
                "tokenizer": {"id": "bpe-50k", "sha256": digest()},
            },
            "params": {
                "seed": str(int.from_bytes(os.urandom(8), "big")),
                "steps": 30,
                "cfg_scale": "7.5",
                "width": 1024,
                "height": 1024,
                "sampler": "euler",
            },
            "prompt": {
                "template": {"id": "portrait", "version": "7", "digest": digest()},
                "language": "en",
                "token_count": 41,
            },
            "policy": {"id": "safety", "version": "9", "digest": digest()},
        },
        "sealed": {name: os.urandom(60).hex() for name in names},
        "record_key": urlsafe_b64encode(os.urandom(32)).decode().rstrip("="),
    }


def encoded(event: dict[str, Any]) -> bytes:
    """Print an event as clients do: without white space."""
    return json.dumps(event, separators=(",", ":")).encode()
