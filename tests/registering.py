# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests about registers and consents, as a pipeline sends them."""

from typing import Any

from house import event_id, record_key

D = "sha256:" + "ab" * 32
E = "sha256:" + "cd" * 32
PAINTER = "urn:cap:model:acme:painter"


def said(type_: str, id_: str, body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """An event of any type."""
    return {
        "event_id": event_id(),
        "type": type_,
        "schema": 1,
        "aggregate_id": id_,
        "on_behalf_of": "employee-7",
        "body": body,
        "record_key": record_key(),
        **changes,
    }


def model(version: str = "3", digest: str = D, id_: str = PAINTER) -> dict[str, Any]:
    body = {
        "model": {"provider": "acme", "name": "painter", "version": version},
        "manifest": {"digest": digest, "format": "cyclonedx-1.7"},
    }
    return said("MODEL_REGISTERED", id_, body)


def published(kind: str, id_: str, version: str = "1", digest: str = D) -> dict[str, Any]:
    """kind: POLICY, PROMPT_TEMPLATE, CONSENT_TEXT or TRANSPARENCY_TEMPLATE."""
    return said(f"{kind}_PUBLISHED", id_, {"version": version, "digest": digest})


def consent(id_: str, text: str = "likeness", **members: Any) -> dict[str, Any]:
    given = {
        "text_id": text,
        "text_version": "1",
        "text_digest": D,
        "action": "opt_in",
        "method": "click",
        **members,
    }
    return said("CONSENT_GRANTED", id_, {"consent": given})


def revoked(id_: str) -> dict[str, Any]:
    return said("CONSENT_REVOKED", id_, {"reason_code": "requested"})
