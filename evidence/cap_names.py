# SPDX-License-Identifier: GPL-3.0-or-later
"""How this ledger's names are said in CAP: identifiers as its URNs, codes as its closed lists.

CAP's URN has two parts of letters, digits, `_` and `-`. An identifier of ours that is no such URN
goes under the organisation `_<tenant>`, with each other character, and `_` itself, as `_` and two
hexadecimal digits. A URN whose organisation begins with `_` is none of ours to keep, and is spelled
the same way: so two things never come to share a name, and the identifier can be read back.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final
from uuid import UUID

_URN: Final = re.compile(r"urn:cap:(?:asset|model):[A-Za-z0-9-][A-Za-z0-9_-]*:[A-Za-z0-9_-]+")
_OTHER: Final = re.compile(r"[^A-Za-z0-9-]")

ASSET_TYPES: Final = frozenset({"IMAGE", "VIDEO", "AUDIO", "TEXT", "CODE"})
CONSENT_BASES: Final = frozenset(
    {"EXPLICIT_WRITTEN", "EXPLICIT_VERBAL", "IMPLIED", "NOT_REQUIRED", "OPTED_OUT"}
)
LEVELS: Final = frozenset({"PUBLIC", "INTERNAL", "CONFIDENTIAL", "SECRET", "PRE_RELEASE"})
ROLES: Final = frozenset({"CREATOR", "ENGINEER", "REVIEWER", "MANAGER", "SYSTEM"})
CLIENTS: Final = frozenset({"WEB", "API", "MOBILE", "SDK"})
INPUT_TYPES: Final = frozenset({"text", "image", "text+image", "video", "audio"})
RISKS: Final = frozenset(
    {
        "CSAM_RISK",
        "NCII_RISK",
        "MINOR_SEXUALIZATION",
        "REAL_PERSON_DEEPFAKE",
        "VIOLENCE_EXTREME",
        "HATE_CONTENT",
        "TERRORIST_CONTENT",
        "SELF_HARM_PROMOTION",
    }
)
OTHER: Final = "OTHER"

#: What a delivery is called there; CAP knows no further ways.
DESTINATIONS: Final[Mapping[str, str]] = {
    "DELIVERY": "DELIVERY",
    "PUBLICATION": "PUBLICATION",
    "ARCHIVE": "ARCHIVE",
}
RECIPIENTS: Final = frozenset({"INTERNAL", "PARTNER", "PUBLIC", "REGULATOR"})
ACCESS_LEVELS: Final = frozenset({"NONE", "REVIEWER_ONLY", "ADMIN_ONLY"})
PRIORITIES: Final = frozenset({"LOW", "MEDIUM", "HIGH", "CRITICAL"})
#: The kind of model by what it puts out.
MODEL_TYPES: Final[Mapping[str, str]] = {
    "image": "IMAGE_GEN",
    "video": "VIDEO_GEN",
    "audio": "AUDIO_GEN",
    "text": "LLM",
}


def urn(kind: str, tenant: str, identifier: str) -> str:
    """Return an `asset`'s or a `model`'s identifier as CAP's URN."""
    if _URN.fullmatch(identifier) and identifier.startswith(f"urn:cap:{kind}:"):
        return identifier
    escaped = _OTHER.sub(lambda found: f"_{ord(found[0]):02x}", identifier)
    return f"urn:cap:{kind}:_{tenant}:{escaped}"


def upper_in(value: str | None, known: Collection[str]) -> str | None:
    """Return a code in capitals if CAP's list has it, else None."""
    if value is None:
        return None
    capitals = value.upper().replace("-", "_").replace(" ", "_")
    return capitals if capitals in known else None


def session_of(entry: Mapping[str, Any]) -> str | None:
    """Return the tree of calls as a UUID, which is what CAP correlates requests by."""
    trace_id = entry.get("trace", {}).get("trace_id")
    return None if trace_id is None else str(UUID(trace_id))
