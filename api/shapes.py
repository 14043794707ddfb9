# SPDX-License-Identifier: GPL-3.0-or-later
"""What the interface answers, as JSON Schema: once, for `/schemas/` and `/openapi.json`."""

from typing import Any, Final

JSON = dict[str, Any]

_HASH: Final = "^sha256:[0-9a-f]{64}$"

RECEIPT: Final[JSON] = {
    "type": "object",
    "required": [
        "event_id", "origin", "position", "leaf", "size", "recorded_at", "path", "checkpoint",
        "proof", "disclosures",
    ],
    "properties": {
        "event_id": {"type": "string"},
        "origin": {"type": "string"},
        "position": {"type": "integer", "minimum": 0},
        "leaf": {
            "type": "string",
            "pattern": _HASH,
            "description": "sha256:<hex> of 0x00 and the entry.",
        },
        "size": {"type": "integer", "minimum": 1, "description": "Tree size of the checkpoint."},
        "recorded_at": {"type": "string", "format": "date-time"},
        "entry": {"type": "string", "description": "base64 of the exact entry bytes."},
        "body": {
            "enum": ["cold", "expired"],
            "description": "In place of the entry, of a repeat whose bytes are not at hand.",
        },
        "path": {"type": "array", "items": {"type": "string", "pattern": _HASH}},
        "checkpoint": {"type": "string", "description": "C2SP signed note."},
        "proof": {"type": "string", "description": "C2SP tlog-proof."},
        "disclosures": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "oneOf": [{"required": ["entry"]}, {"required": ["body"]}],
}  # fmt: skip

PROBLEM: Final[JSON] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "description": "urn:sealtrail:problem: and the code."},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "The problem's stable name."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "rule", "detail"],
                "properties": {
                    "pointer": {
                        "type": "string",
                        "description": "RFC 6901, into what was sent; /headers, /query or /path.",
                    },
                    "rule": {"type": "string", "description": "The rule's stable name."},
                    "detail": {"type": "string"},
                },
            },
        },
        "facts": {"type": "object"},
    },
}


def result(receipt: str, problem: str) -> JSON:
    """Return the shape of one result of a batch, with references to the two other shapes."""
    return {
        "type": "object",
        "required": ["status"],
        "properties": {
            "status": {"type": "integer"},
            "receipt": {"$ref": receipt},
            "problem": {"$ref": problem},
            "ignored": {
                "type": "integer",
                "minimum": 1,
                "description": "CloudEvents: attributes that have no place in an entry.",
            },
        },
    }
