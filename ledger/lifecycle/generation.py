# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of a model: its attempt, its one outcome, and perhaps a late one."""

from dataclasses import dataclass
from typing import ClassVar, Final

from ledger.lifecycle.aggregate import JSON, Aggregate, Others, OutOfOrder, Rewritten
from ledger.lifecycle.asset import Asset, AssetExists

OUTCOMES: Final = frozenset({"GEN", "GEN_DENY", "GEN_ERROR"})

_NONE: Final[frozenset[str]] = frozenset()


class NotQuarantined(OutOfOrder):
    """Only an output that is held in quarantine is released or destroyed, once."""

    problem = "not-quarantined"


_RELEASES: Final = frozenset({"OUTPUT_RELEASED", "OUTPUT_DESTROYED"})
_HOLDING: Final = frozenset({"GEN", "OUTCOME_LATE", *_RELEASES})


@dataclass(frozen=True, slots=True)
class Generation(Aggregate):
    """One call of a model: its attempt first, exactly one outcome, and perhaps a late one.

    Nothing depends on its id, so all calls share their first two states: most have no others.
    """

    kind: ClassVar[str] = "Generation"

    attempted: bool = False
    outcome: str | None = None
    timed_out: bool = False
    late: bool = False
    quarantined: frozenset[str] = _NONE  #: Outputs that are held back.

    @property
    def phase(self) -> str:
        if self.late:
            return "late"
        if self.timed_out:
            return "timed-out"
        if self.outcome is not None:
            return "closed"
        return "open" if self.attempted else "absent"

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        del by_ledger
        if type_ == "GEN_ATTEMPT":
            if self.attempted:
                raise self.refuse(type_, "this generation was attempted before")
            return
        if not self.attempted:
            raise self.refuse(type_, f"{type_} needs a GEN_ATTEMPT before it")
        if type_ in OUTCOMES and self.outcome is not None:
            raise self.refuse(type_, f"this generation ended with {self.outcome}")
        if type_ == "GEN":
            self._check_unborn(body, others)
        if type_ == "OUTCOME_LATE" and (not self.timed_out or self.late):
            raise self.refuse(type_, "a late outcome follows the ledger's own timeout, once")
        if type_ in _RELEASES and body["asset_id"] not in self.quarantined:
            why = "no such output of this generation is in quarantine"
            raise self.refuse(type_, why, NotQuarantined, pointer="/body/asset_id")
        if type_ == "REPLAY_RUN" and self.outcome != "GEN" and not self.late:
            raise self.refuse(type_, "only what gave an output is run again")

    def rewrite(self, type_: str, schema: int, body: JSON, *, by_ledger: bool) -> Rewritten | None:
        # Nothing that happened is without an entry: it came too late to be the outcome, and stays.
        if type_ not in OUTCOMES or by_ledger or not self.timed_out or self.late:
            return None
        claimed = {"type": type_, "schema": schema, "body": body}
        return Rewritten("OUTCOME_LATE", 1, {"claimed": claimed})

    def after(self, type_: str, body: JSON) -> "Generation":
        if not self.version and type_ == "GEN_ATTEMPT":
            return _ATTEMPTED
        return Generation(  # As `replace` would, at a third of its cost: the most frequent life.
            id=self.id,
            version=self.version + 1,
            attempted=True,
            outcome=type_ if type_ in OUTCOMES else self.outcome,
            timed_out=self.timed_out or (type_ == "GEN_ERROR" and body.get("timeout") is True),
            late=self.late or type_ == "OUTCOME_LATE",
            quarantined=self._held(type_, body) if type_ in _HOLDING else self.quarantined,
        )

    def _held(self, type_: str, body: JSON) -> frozenset[str]:
        """Return the outputs that are held back after an event."""
        if type_ in _RELEASES:
            return self.quarantined - {body["asset_id"]}
        if type_ == "OUTCOME_LATE":
            body = body.get("claimed", {}).get("body", {})
        outputs = body.get("outputs", ())
        held = [one["asset_id"] for one in outputs if one.get("disposition") == "quarantined"]
        return frozenset(held) if held else _NONE

    def _check_unborn(self, body: JSON, others: Others) -> None:
        for at, output in enumerate(body["outputs"]):
            asset = others.get(f"Asset/{output['asset_id']}")
            if isinstance(asset, Asset) and asset.present:
                raise self.refuse(
                    "GEN",
                    "an output is a new asset, and this one is in the ledger already",
                    AssetExists,
                    pointer=f"/body/outputs/{at}/asset_id",
                )


UNATTEMPTED: Final = Generation("")
_ATTEMPTED: Final = Generation("", version=1, attempted=True)
