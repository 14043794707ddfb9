# SPDX-License-Identifier: GPL-3.0-or-later
"""A consent: granted once, then it stands until it is revoked or has expired, and for good."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ledger.lifecycle.aggregate import JSON, Aggregate, Others, OutOfOrder


class ConsentUnknown(OutOfOrder):
    """There is no such consent in this Book."""

    problem = "consent-unknown"


class ConsentRevoked(OutOfOrder):
    """The consent was revoked."""

    problem = "consent-revoked"


class ConsentExpired(OutOfOrder):
    """The consent has expired."""

    problem = "consent-expired"


class ConsentWithheld(OutOfOrder):
    """The person chose to stay out."""

    problem = "consent-withheld"


@dataclass(frozen=True, slots=True)
class Consent(Aggregate):
    """One person's consent under one text."""

    kind: ClassVar[str] = "Consent"

    granted: bool = False
    withheld: bool = False  #: What was recorded is an opt-out.
    revoked: bool = False
    expired: bool = False
    expires_at: str = ""  #: A time of the ledger's spelling; "" for never.

    @property
    def phase(self) -> str:
        if self.revoked:
            return "revoked"
        if self.expired:
            return "expired"
        if self.withheld:
            return "withheld"
        return "granted" if self.granted else "absent"

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        del others, by_ledger
        if body.get("consent", {}).get("id", self.id) != self.id:
            why = "this is the stream of another consent"
            raise self.refuse(type_, why, pointer="/body/consent/id")
        if type_ == "CONSENT_GRANTED":
            if self.granted:
                why = "this consent was given before; who consents again gives a new one"
                raise self.refuse(type_, why)
            return
        if not self.granted:
            raise self.refuse(type_, "no such consent was given", ConsentUnknown)
        if self.revoked:
            raise self.refuse(type_, "this consent was revoked before", ConsentRevoked)
        if self.expired and type_ == "CONSENT_EXPIRED":
            raise self.refuse(type_, "this consent expired before", ConsentExpired)

    def after(self, type_: str, body: JSON) -> Self:
        if type_ == "CONSENT_GRANTED":
            consent = body["consent"]
            return replace(
                self,
                version=self.version + 1,
                granted=True,
                withheld=consent["action"] == "opt_out",
                expires_at=consent.get("expires_at", ""),
            )
        return replace(
            self,
            version=self.version + 1,
            revoked=self.revoked or type_ == "CONSENT_REVOKED",
            expired=self.expired or type_ == "CONSENT_EXPIRED",
        )

    def check_covers(self, type_: str, pointer: str, now: str) -> None:
        """Return if a generation may rest on this consent, known or not; else raise OutOfOrder.

        now: a time of the ledger's spelling.
        """
        if self.revoked:
            raise self.refuse(type_, "this consent was revoked", ConsentRevoked, pointer=pointer)
        if self.expired or (self.expires_at and self.expires_at <= now):
            raise self.refuse(type_, "this consent has expired", ConsentExpired, pointer=pointer)
        if self.withheld:
            why = "the person chose to stay out"
            raise self.refuse(type_, why, ConsentWithheld, pointer=pointer)
