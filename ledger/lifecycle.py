# SPDX-License-Identifier: GPL-3.0-or-later
"""The lives that an image leaves behind, as state machines without input or output.

    Asset        ─ INGEST ─► present ─ ASSET_WITHDRAWN ─► withdrawn
                   (or born as an output of a GEN)
    TrainingRun  ─ TRAIN_STARTED ─► running ─ TRAIN | TRAIN_FAILED ─► ended
    Generation   ─ GEN_ATTEMPT ─► open ─ GEN | GEN_DENY | GEN_ERROR ─► closed     MODERATION any time
                                    └─ the ledger's own timeout ─► timed out ─ an outcome comes ─►
                                       OUTCOME_LATE, once
    Export       ─ EXPORT ─► done     of an asset that is present
    AnchorDay    ─ COMPLETENESS_REPORT ─► reported ─ ANCHOR (day) ─► anchored     interim any time
    Log          EPOCH_SEALED, ACCESS, in any order

`decide` says if one event may follow, `after` folds it in. Nothing else is state.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Self

from ledger.errors import Conflict

JSON = dict[str, Any]
OUTCOMES: Final = frozenset({"GEN", "GEN_DENY", "GEN_ERROR"})


class OutOfOrder(Conflict):
    """The lifecycle does not allow this event now."""

    problem = "out-of-order"


class AssetUnknown(Conflict):
    """There is no such asset in this Book."""

    problem = "asset-unknown"


class AssetWithdrawn(Conflict):
    """The asset was withdrawn."""

    problem = "asset-withdrawn"


class TrainingDiffers(Conflict):
    """The completed run does not name what its start named."""

    problem = "training-differs"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The event is recorded, but as another type."""

    type: str
    schema: int
    body: JSON


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One stream: how many events it has, and what its next one may be."""

    kind: ClassVar[str] = ""

    id: str
    version: int = 0

    def check(self, type_: str, body: JSON, others: "Others", *, by_ledger: bool) -> None:
        """Return if the event may come next; else raise a Conflict."""
        raise NotImplementedError

    def rewrite(self, type_: str, schema: int, body: JSON, *, by_ledger: bool) -> Rewritten | None:
        """Return what the event is recorded as, if not as itself."""
        del type_, schema, body, by_ledger
        return None

    def after(self, type_: str, body: JSON) -> Self:
        """Return the state once the event is in the ledger."""
        del type_, body
        return replace(self, version=self.version + 1)


Others = Mapping[str, Aggregate]


@dataclass(frozen=True, slots=True)
class Asset(Aggregate):
    """An image, a data set member, an output: present, then perhaps withdrawn."""

    kind: ClassVar[str] = "Asset"

    present: bool = False
    withdrawn: bool = False

    @classmethod
    def born(cls, id_: str) -> Self:
        """Return an asset that a GEN named among its outputs: present, with no event of its own."""
        return cls(id_, present=True)

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        del body, others, by_ledger
        if type_ == "INGEST" and self.present:
            raise OutOfOrder("this asset is in the ledger already", aggregate=self.id)
        if type_ == "ASSET_WITHDRAWN":
            if not self.present:
                raise AssetUnknown(aggregate=self.id)
            if self.withdrawn:
                raise AssetWithdrawn("the asset was withdrawn before", aggregate=self.id)

    def after(self, type_: str, body: JSON) -> Self:
        del body
        return replace(
            self,
            version=self.version + 1,
            present=True,
            withdrawn=self.withdrawn or type_ == "ASSET_WITHDRAWN",
        )


@dataclass(frozen=True, slots=True)
class TrainingRun(Aggregate):
    """A run that names its inputs before anybody knows its result."""

    kind: ClassVar[str] = "TrainingRun"

    plan: JSON | None = None
    ended: bool = False

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        del others, by_ledger
        if type_ == "TRAIN_STARTED":
            if self.plan is not None:
                raise OutOfOrder("this training run was started before", aggregate=self.id)
            return
        if self.plan is None:
            raise OutOfOrder(f"{type_} needs a TRAIN_STARTED before it", aggregate=self.id)
        if self.ended:
            raise OutOfOrder("this training run has ended", aggregate=self.id)
        if type_ == "TRAIN":
            differs = [name for name, value in self.plan.items() if body["train"].get(name) != value]
            if differs:
                raise TrainingDiffers(
                    f"TRAIN names another {', '.join(differs)} than TRAIN_STARTED did",
                    aggregate=self.id,
                )

    def after(self, type_: str, body: JSON) -> Self:
        if type_ == "TRAIN_STARTED":
            return replace(self, version=self.version + 1, plan=_bound(body["train"]))
        return replace(self, version=self.version + 1, ended=True)


def _bound(train: JSON) -> JSON:
    """Return what a start binds: the inputs, the code, the model that is to come."""
    names = ("inputs", "code_digest", "output_model", "base_model", "seed", "type")
    return {name: train[name] for name in names if name in train}


@dataclass(frozen=True, slots=True)
class Generation(Aggregate):
    """One call of a model: its attempt first, exactly one outcome, and perhaps a late one."""

    kind: ClassVar[str] = "Generation"

    attempted: bool = False
    outcome: str | None = None
    timed_out: bool = False
    late: bool = False

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        del by_ledger
        if type_ == "GEN_ATTEMPT":
            if self.attempted:
                raise OutOfOrder("this generation was attempted before", aggregate=self.id)
            return
        if not self.attempted:
            raise OutOfOrder(f"{type_} needs a GEN_ATTEMPT before it", aggregate=self.id)
        if type_ in OUTCOMES:
            if self.outcome is not None:
                raise OutOfOrder(
                    f"this generation ended with {self.outcome}", aggregate=self.id
                )
            if type_ == "GEN":
                _check_unborn(body, others)
        if type_ == "OUTCOME_LATE" and (not self.timed_out or self.late):
            raise OutOfOrder("a late outcome follows the ledger's timeout, once", aggregate=self.id)

    def rewrite(self, type_: str, schema: int, body: JSON, *, by_ledger: bool) -> Rewritten | None:
        if type_ not in OUTCOMES or by_ledger or not self.timed_out or self.late:
            return None
        claimed = {"type": type_, "schema": schema, "body": body}
        return Rewritten("OUTCOME_LATE", 1, {"claimed": claimed})

    def after(self, type_: str, body: JSON) -> Self:
        return replace(
            self,
            version=self.version + 1,
            attempted=True,
            outcome=type_ if type_ in OUTCOMES else self.outcome,
            timed_out=self.timed_out or (type_ == "GEN_ERROR" and body.get("timeout") is True),
            late=self.late or type_ == "OUTCOME_LATE",
        )


def _check_unborn(body: JSON, others: Others) -> None:
    for output in body["outputs"]:
        asset = others.get(f"Asset/{output['asset_id']}")
        if isinstance(asset, Asset) and asset.present:
            raise OutOfOrder(
                "an output's asset_id names an asset that exists already",
                asset=output["asset_id"],
            )


@dataclass(frozen=True, slots=True)
class Export(Aggregate):
    """One delivery of an asset that is present and not withdrawn."""

    kind: ClassVar[str] = "Export"

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        del type_, by_ledger
        if self.version:
            raise OutOfOrder("this export was recorded before", aggregate=self.id)
        asset = others.get(f"Asset/{body['asset_id']}")
        if not isinstance(asset, Asset) or not asset.present:
            raise AssetUnknown(asset=body["asset_id"])
        if asset.withdrawn:
            raise AssetWithdrawn(asset=body["asset_id"])


@dataclass(frozen=True, slots=True)
class AnchorDay(Aggregate):
    """One UTC day of one log: its report, then its anchor; interim anchors at any time."""

    kind: ClassVar[str] = "AnchorDay"

    reported: bool = False
    anchored: bool = False
    failures: frozenset[tuple[str, str]] = frozenset()

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        del others, by_ledger
        if type_ == "COMPLETENESS_REPORT" and self.reported:
            raise OutOfOrder("this day was reported before", aggregate=self.id)
        if type_ == "ANCHOR" and body["kind"] == "day":
            if not self.reported:
                raise OutOfOrder("a day is reported before it is anchored", aggregate=self.id)
            if self.anchored:
                raise OutOfOrder("this day was anchored before", aggregate=self.id)
        if type_ == "ANCHOR_FAILED" and (body["anchor"], body["authority"]) in self.failures:
            raise OutOfOrder("this failure was recorded before", aggregate=self.id)

    def after(self, type_: str, body: JSON) -> Self:
        failures = self.failures
        if type_ == "ANCHOR_FAILED":
            failures |= {(body["anchor"], body["authority"])}
        return replace(
            self,
            version=self.version + 1,
            reported=self.reported or type_ == "COMPLETENESS_REPORT",
            anchored=self.anchored or (type_ == "ANCHOR" and body["kind"] == "day"),
            failures=failures,
        )


@dataclass(frozen=True, slots=True)
class Log(Aggregate):
    """What the ledger notes about itself: epochs and looks."""

    kind: ClassVar[str] = "Log"

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        del type_, body, others, by_ledger


AGGREGATES: Final[Mapping[str, type[Aggregate]]] = {
    one.kind: one for one in (Asset, TrainingRun, Generation, Export, AnchorDay, Log)
}


def fresh(aggregate: str, id_: str) -> Aggregate:
    """Return the state of a stream before its first event."""
    return AGGREGATES[aggregate](id_)


def decide(
    state: Aggregate,
    type_: str,
    schema: int,
    body: JSON,
    others: Others,
    *,
    by_ledger: bool = False,
) -> Rewritten | None:
    """Return None if the event may be recorded as it is, or what it is recorded as.

    others: the states of the streams that `catalog.consulted` named. Raises Conflict.
    """
    rewritten = state.rewrite(type_, schema, body, by_ledger=by_ledger)
    if rewritten is None:
        state.check(type_, body, others, by_ledger=by_ledger)
    return rewritten
