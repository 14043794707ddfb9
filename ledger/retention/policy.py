# SPDX-License-Identifier: GPL-3.0-or-later
"""Published policies, and from them when something is due: the longest floor of all its classes.

    classes of an entry   those of the rule for its type, and the one that it names itself
    floor                 recorded time + months of the class, by calendar
    due                   the latest floor; never, where a class is not known or no rule fits

An entry is governed by the version in force when it was recorded and by every later one: so a
longer policy holds for all that is still there, and a shorter one for what comes after it. Whoever
publishes a short policy in the night makes nothing of yesterday go earlier.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from ledger import catalog, clock
from ledger.errors import Conflict, FieldError, MalformedEvent
from ledger.retention.classes import CLASSES, What, add_months
from sealtrail.verify import canonical

JSON = dict[str, Any]
TYPE: Final = "RETENTION_POLICY_PUBLISHED"

#: In a rule: all types that no other rule names.
OTHERS: Final = "OTHERS"

#: Entries of these types never expire and never leave the database: what the log says of itself.
#: The function `may_go` of each Book (ledger/schema/book_retention.sql) has the same pattern.
PERMANENT: Final = re.compile(
    "(EPOCH_SEALED|COMPLETENESS_REPORT|ANCHOR|ANCHOR_FAILED|KEY_ROTATED|INCARNATION_OPENED"
    "|RETENTION_POLICY_PUBLISHED|TIER_MOVED|RETENTION_EXPIRED|INTEGRITY_CHECK"
    "|LEGAL_HOLD_[A-Z]+|ERASURE|ERASURE_[A-Z]+)"
)

_MONTHS: Final[Mapping[What, str]] = {
    "entry": "entry_months",
    "disclosures": "disclosure_months",
    "artifacts": "artifact_months",
}


class PolicyConflict(Conflict):
    """A policy is numbered without gaps and goes on from the version before."""

    problem = "policy-conflict"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What an entry asks for itself: more classes, and a time before which nothing goes."""

    name: str | None = None
    not_before_ms: int = 0

    @classmethod
    def of(cls, entry: JSON) -> "Claim":
        """Read the group `retention` of an entry. A hint to let it go earlier is none."""
        group = entry.get("retention") or {}
        until = group.get("not_before")
        return cls(
            name=group.get("class"), not_before_ms=0 if until is None else clock.parse_time(until)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One published version."""

    id: str
    version: int
    digest: str
    effective_ms: int  #: Never before it was recorded.
    hot_days: int
    warm_days: int
    classes: Mapping[str, Mapping[What, int]]  #: Months.
    rules: Mapping[str, tuple[str, ...]]  #: Classes by event type.

    @classmethod
    def of(cls, body: JSON, recorded_ms: int) -> "Policy":
        """Read the body of a RETENTION_POLICY_PUBLISHED entry."""
        return cls(
            id=body["id"],
            version=body["version"],
            digest=body["digest"],
            effective_ms=max(recorded_ms, clock.parse_time(body["effective_from"])),
            hot_days=body["hot_days"],
            warm_days=body["warm_days"],
            classes={
                one["class"]: {what: one[member] for what, member in _MONTHS.items()}
                for one in body["classes"]
            },
            rules={one["type"]: tuple(one["classes"]) for one in body["rules"]},
        )

    def floor(self, what: What, type_: str, claim: Claim, recorded_ms: int) -> int | None:
        """Return the latest floor of an entry's classes; None if it is to be kept for ever."""
        named = self.classes_of(type_)
        if named is None:
            return None
        names = named if claim.name is None else (*named, claim.name)
        floors = [claim.not_before_ms]
        for name in names:
            months = self._months(what, name)
            if months is None:
                return None
            floors.append(add_months(recorded_ms, months))
        return max(floors)

    def classes_of(self, type_: str) -> tuple[str, ...] | None:
        """Return the classes of a type; None if no rule speaks of it."""
        return self.rules.get(type_, self.rules.get(OTHERS))

    def _months(self, what: What, name: str) -> int | None:
        """Return a class's months; an entry may name a class that only the law's table knows."""
        if name in self.classes:
            return self.classes[name][what]
        known = CLASSES.get(name)
        return None if known is None else known.months

    def ref(self) -> JSON:
        return {"id": self.id, "version": self.version, "digest": self.digest}


class Policies:
    """All versions of one Book's policy, in order."""

    def __init__(self, published: Sequence[tuple[JSON, int]]) -> None:
        """Take (body, recorded in ms) of the entries in order; a version's first entry counts."""
        self.versions: list[Policy] = []
        for body, recorded_ms in published:
            if body["version"] == len(self.versions) + 1:
                self.versions.append(Policy.of(body, recorded_ms))

    def current(self, now_ms: int) -> Policy | None:
        """Return the version in force; None before the first."""
        in_force = [one for one in self.versions if one.effective_ms <= now_ms]
        return in_force[-1] if in_force else None

    def due(
        self, what: What, type_: str, claim: Claim, *, recorded_ms: int, now_ms: int
    ) -> int | None:
        """Return when this may go, in ms since 1970, holds apart; None: never, as things are.

        Before the first version takes effect nothing is due; what is older than it, it governs.
        """
        if is_permanent(type_):
            return None
        governing = self._governing(recorded_ms, now_ms)
        floors = [one.floor(what, type_, claim, recorded_ms) for one in governing]
        known = [floor for floor in floors if floor is not None]
        return max(known) if known and len(known) == len(floors) else None

    def _governing(self, recorded_ms: int, now_ms: int) -> list[Policy]:
        in_force = [one for one in self.versions if one.effective_ms <= now_ms]
        before = [one for one in in_force if one.effective_ms <= recorded_ms]
        return in_force[max(0, len(before) - 1) :]


def is_permanent(type_: str) -> bool:
    """Whether entries of a type stay for ever, bytes and all."""
    return PERMANENT.fullmatch(type_) is not None


def policy_body(document: JSON, before: Policy | None) -> JSON:
    """Return the body of the entry that publishes a policy; `document` is an operator's file.

    Raises MalformedEvent, or PolicyConflict if it does not go on from the version before.
    """
    body = {name: value for name, value in document.items() if name not in ("digest", "supersedes")}
    text = canonical.encode(body)
    body["digest"] = f"sha256:{sha256(text).hexdigest()}"
    if before is not None:
        body["supersedes"] = before.digest
    catalog.validate(TYPE, 1, body, {}, by_ledger=True)
    errors = [*_below_floors(body), *_outliving(body), *_unknown_names(body)]
    if errors:
        raise MalformedEvent(errors=errors)
    expected = 1 if before is None else before.version + 1
    if body["version"] != expected or (before is not None and body["id"] != before.id):
        raise PolicyConflict(f"the next version of this Book's policy is number {expected}")
    return body


def _below_floors(body: JSON) -> list[FieldError]:
    return [
        FieldError(
            f"/classes/{at}/entry_months",
            "below-floor",
            f"the class asks for {CLASSES[one['class']].months} months at least",
        )
        for at, one in enumerate(body["classes"])
        if one["class"] in CLASSES and one["entry_months"] < CLASSES[one["class"]].months
    ]


def _outliving(body: JSON) -> list[FieldError]:
    """Without its bytes nobody can tell to which entry a sealed value or an artifact belongs."""
    return [
        FieldError(
            f"/classes/{at}/{member}", "outlives-entry", "this is kept longer than its entry"
        )
        for at, one in enumerate(body["classes"])
        for member in ("disclosure_months", "artifact_months")
        if one[member] > one["entry_months"]
    ]


def _unknown_names(body: JSON) -> list[FieldError]:
    errors = []
    known = {one["class"] for one in body["classes"]}
    if len(known) != len(body["classes"]):
        errors.append(FieldError("/classes", "duplicate", "a class is named twice"))
    if len({rule["type"] for rule in body["rules"]}) != len(body["rules"]):
        errors.append(FieldError("/rules", "duplicate", "a type has two rules"))
    types = {type_ for type_, _ in catalog.CATALOG if not is_permanent(type_)} | {OTHERS}
    for at, rule in enumerate(body["rules"]):
        if rule["type"] not in types:
            detail = "this is no event type, or one that never expires"
            errors.append(FieldError(f"/rules/{at}/type", "unknown-type", detail))
        if not known.issuperset(rule["classes"]):
            detail = "a rule names a class that the policy does not define"
            errors.append(FieldError(f"/rules/{at}/classes", "unknown-class", detail))
    return errors
