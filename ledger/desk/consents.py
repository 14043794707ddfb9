# SPDX-License-Identifier: GPL-3.0-or-later
"""Consents: under which words they were given, when they ended, and what that led to.

The text's version promises what a revocation leads to; the ledger begins it and says so in
CONSENT_EFFECTED (anchoring/consent_effects.py). A revocation without such an entry waits.
"""

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ledger.database import Connection, Database
from ledger.desk.rows import ask, ms, run, shown
from ledger.readmodel.projection import JSON, Item
from sealtrail.verify import canonical

_GRANT: Final = """
INSERT INTO {book}.consent (consent_id, text_id, text_version, text_digest, action, expires,
                            position, event_id, granted_at)
VALUES (%(id)s, %(text)s, %(version)s, %(digest)s, %(action)s, %(expires)s, %(position)s,
        %(event)s::uuid, %(at)s)
    ON CONFLICT DO NOTHING
"""
_REVOKE: Final = """
UPDATE {book}.consent SET revoked = %(position)s, revocation = %(event)s::uuid, revoked_at = %(at)s,
       declared = %(declared)s
 WHERE consent_id = %(id)s AND revoked IS NULL
"""
_EXPIRE: Final = """
UPDATE {book}.consent SET expired = %(position)s, expired_at = %(at)s
 WHERE consent_id = %(id)s AND expired IS NULL
"""
_EFFECT: Final = """
UPDATE {book}.consent SET effected = %(position)s, effect_event = %(event)s::uuid,
       effected_at = %(at)s, effect = %(effect)s
 WHERE consent_id = %(id)s AND revocation = %(revocation)s::uuid AND effected IS NULL
"""
_COLUMNS: Final = """
SELECT consent_id, text_id, text_version, text_digest, action, expires, position, event_id::text,
       granted_at, revoked, revocation::text, revoked_at, declared, expired, expired_at, effected,
       effect_event::text, effected_at, effect
  FROM {book}.consent
"""
_ONE: Final = f"{_COLUMNS} WHERE consent_id = %(id)s"
_BY_REVOCATION: Final = f"{_COLUMNS} WHERE revocation = %(id)s::uuid"
_WAITING: Final = f"""
{_COLUMNS} WHERE revoked > %(after)s AND effected IS NULL ORDER BY revoked LIMIT %(limit)s
"""


class Consent(NamedTuple):
    """One consent. Positions, and times in ms since 1970."""

    consent_id: str
    text_id: str
    text_version: str
    text_digest: str
    action: str
    expires: int | None
    position: int
    event_id: str
    granted_at: int
    revoked: int | None
    revocation: str | None
    revoked_at: int | None
    declared: str | None  #: `effects` of CONSENT_REVOKED, in JSON.
    expired: int | None
    expired_at: int | None
    effected: int | None
    effect_event: str | None
    effected_at: int | None
    effect: str | None  #: Body of CONSENT_EFFECTED, in JSON.

    def state(self, now_ms: int) -> str:
        """Return `revoked`, `expired`, `withheld` or `granted`."""
        if self.revoked is not None:
            return "revoked"
        if self.expired is not None or (self.expires is not None and self.expires <= now_ms):
            return "expired"
        return "withheld" if self.action == "opt_out" else "granted"

    def json(self, now_ms: int) -> JSON:
        """Return the consent as the API shows it."""
        told: JSON = {
            "consent_id": self.consent_id,
            "state": self.state(now_ms),
            "action": self.action,
            "text": {
                "id": self.text_id,
                "version": self.text_version,
                "digest": self.text_digest,
            },
            "granted": _event(self.event_id, self.position, self.granted_at),
            "expires_at": shown(self.expires),
        }
        if self.revoked is not None:
            told["revoked"] = _event(self.revocation, self.revoked, self.revoked_at)
            told["declared_effects"] = json.loads(self.declared or "[]")
            told["effects"] = self._effects()
        if self.expired is not None:
            told["expired"] = {"position": self.expired, "at": shown(self.expired_at)}
        return {name: value for name, value in told.items() if value is not None}

    def _effects(self) -> list[JSON]:
        if self.effect is None:
            return [{"state": "waiting"}]
        body = json.loads(self.effect)
        names = ("promised", "started", "ref", "joined", "subject_ref", "reason_code",
                 "declared_differs")  # fmt: skip
        effect = {name: body[name] for name in names if name in body}
        begun = _event(self.effect_event, self.effected, self.effected_at)
        return [{"state": "recorded", **effect, "recorded": begun}]


class ConsentProjection:
    """Feeds the table `consent` (ledger.readmodel.projection.Projection)."""

    name: Final = "consents"
    tables: Final = ("consent",)

    def write(self, connection: Connection, schema: str, items: Sequence[Item]) -> None:
        """Grant, revoke and expire consents, and keep what was begun."""
        for item in items:
            query = _QUERIES.get(item.type)
            if query is not None:
                run(connection, schema, query, _VALUES[item.type](item))


def consent_of(database: Database, schema: str, consent_id: str) -> Consent | None:
    """Return a consent by its id."""
    rows = ask(database, schema, _ONE, {"id": consent_id})
    return Consent(*rows[0]) if rows else None


def consent_revoked_by(database: Database, schema: str, event_id: str) -> Consent | None:
    """Return the consent that an event revoked."""
    rows = ask(database, schema, _BY_REVOCATION, {"id": event_id})
    return Consent(*rows[0]) if rows else None


def waiting(database: Database, schema: str, *, after: int, limit: int) -> list[Consent]:
    """Return consents revoked behind a position whose effect is not recorded, in order."""
    values = {"after": after, "limit": limit}
    return [Consent(*row) for row in ask(database, schema, _WAITING, values)]


def _event(event_id: str | None, position: int | None, at: int | None) -> JSON:
    return {"event_id": event_id, "position": position, "at": shown(at)}


def _said(item: Item, **more: Any) -> JSON:
    return {
        "id": item.entry["aggregate"]["id"],
        "position": item.position,
        "event": item.event_id,
        "at": item.recorded_ms,
        **more,
    }


def _granted(item: Item) -> JSON:
    consent = item.entry["body"]["consent"]
    return _said(
        item,
        text=consent["text_id"],
        version=consent["text_version"],
        digest=consent["text_digest"],
        action=consent["action"],
        expires=ms(consent.get("expires_at")),
    )


def _revoked(item: Item) -> JSON:
    effects = item.entry["body"].get("effects")
    declared = None if effects is None else canonical.encode(effects).decode()
    return _said(item, declared=declared)


def _effected(item: Item) -> JSON:
    body = item.entry["body"]
    told = _said(item, revocation=body["revocation"], effect=canonical.encode(body).decode())
    return {**told, "id": body["consent_id"]}


_QUERIES: Final = {
    "CONSENT_GRANTED": _GRANT,
    "CONSENT_REVOKED": _REVOKE,
    "CONSENT_EXPIRED": _EXPIRE,
    "CONSENT_EFFECTED": _EFFECT,
}
_VALUES: Final = {
    "CONSENT_GRANTED": _granted,
    "CONSENT_REVOKED": _revoked,
    "CONSENT_EXPIRED": _said,
    "CONSENT_EFFECTED": _effected,
}
