# SPDX-License-Identifier: GPL-3.0-or-later
"""The lives that an image leaves behind, as state machines without input or output.

    Asset        ─ INGEST ─► present ─ ASSET_WITHDRAWN ─► withdrawn
                   (or born as an output of a GEN)
    TrainingRun  ─ TRAIN_STARTED ─► running ─ TRAIN | TRAIN_FAILED ─► ended
    Generation   ─ GEN_ATTEMPT ─► open ─ GEN | GEN_DENY | GEN_ERROR ─► closed   MODERATION any time
                                    └─ the ledger's own timeout ─► timed out ─ an outcome comes ─►
                                       recorded as OUTCOME_LATE, once
    Export       ─ EXPORT ─► done     of an asset that is present
    AnchorDay    ─ COMPLETENESS_REPORT ─► reported ─ ANCHOR (day) ─► anchored     interim any time
    Log          EPOCH_SEALED, one epoch after the other; ACCESS any time

`decide` says if one event may follow, `after` folds it in; nothing else is state. Every refusal
says what the stream is and what was sent, by names of ours: no id or value of the request.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Self

from ledger.errors import Conflict, FieldError
from sealtrail.verify import canonical

JSON = dict[str, Any]
OUTCOMES: Final = frozenset({"GEN", "GEN_DENY", "GEN_ERROR"})

#: Events whose body decides nothing here; it need not be at hand.
UNREAD: Final = frozenset({"GEN_ATTEMPT", "MODERATION"})


class OutOfOrder(Conflict):
    """The lifecycle does not allow this event now."""

    problem = "out-of-order"


class AssetUnknown(OutOfOrder):
    """There is no such asset in this Book."""

    problem = "asset-unknown"


class AssetWithdrawn(OutOfOrder):
    """The asset was withdrawn."""

    problem = "asset-withdrawn"


class AssetExists(OutOfOrder):
    """The asset is in this Book already."""

    problem = "asset-exists"


class TrainingDiffers(OutOfOrder):
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

    @property
    def phase(self) -> str:
        """Where the stream stands, in one word."""
        return "recorded" if self.version else "absent"

    def check(self, type_: str, body: JSON, others: "Others", *, by_ledger: bool) -> None:
        """Return if the event may come next; else raise OutOfOrder."""
        raise NotImplementedError

    def rewrite(self, type_: str, schema: int, body: JSON, *, by_ledger: bool) -> Rewritten | None:
        """Return what the event is recorded as, if not as itself."""
        del type_, schema, body, by_ledger
        return None

    def after(self, type_: str, body: JSON) -> Self:
        """Return the state once the event is in the ledger."""
        del type_, body
        return replace(self, version=self.version + 1)

    def refuse(
        self,
        type_: str,
        why: str,
        refusal: type[OutOfOrder] = OutOfOrder,
        *,
        pointer: str = "/type",
    ) -> OutOfOrder:
        """Return the refusal of an event, with the facts that its sender needs."""
        return refusal(
            why,
            errors=[FieldError(pointer, refusal.problem, why)],
            aggregate=self.kind,
            state=self.phase,
            event=type_,
        )


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

    @property
    def phase(self) -> str:
        if self.withdrawn:
            return "withdrawn"
        return "present" if self.present else "absent"

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        del body, others, by_ledger
        if type_ == "INGEST" and self.present:
            raise self.refuse(type_, "this asset is in the ledger already", AssetExists)
        if type_ == "ASSET_WITHDRAWN" and not self.present:
            raise self.refuse(type_, "no such asset was ingested or generated", AssetUnknown)
        if type_ == "ASSET_WITHDRAWN" and self.withdrawn:
            raise self.refuse(type_, "this asset was withdrawn before", AssetWithdrawn)

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

    plan: JSON | None = None  #: What TRAIN has to name again.
    ended: bool = False

    @property
    def phase(self) -> str:
        if self.ended:
            return "ended"
        return "absent" if self.plan is None else "running"

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        del others, by_ledger
        if type_ == "TRAIN_STARTED":
            if self.plan is not None:
                raise self.refuse(type_, "this training run was started before")
            return
        if self.plan is None:
            raise self.refuse(type_, f"{type_} needs a TRAIN_STARTED before it")
        if self.ended:
            raise self.refuse(type_, "this training run has ended")
        if type_ == "TRAIN":
            result = _promise(body["train"])
            differs = [name for name in _PROMISED if self.plan[name] != result[name]]
            if differs:
                why = f"TRAIN names another {', '.join(differs)} than TRAIN_STARTED did"
                pointer = f"/body/train/{differs[0]}"
                raise self.refuse(type_, why, TrainingDiffers, pointer=pointer)

    def after(self, type_: str, body: JSON) -> Self:
        if type_ == "TRAIN_STARTED":
            return replace(self, version=self.version + 1, plan=_promise(body["train"]))
        return replace(self, version=self.version + 1, ended=True)


#: What a start promises, each that it names and each that it does not; the other members of TRAIN
#: are known only at the end.
_PROMISED: Final = (
    "type", "inputs", "input_asset_ids", "base_model", "output_model", "code_digest",
    "container_digest", "env_digest", "seed", "context",
)  # fmt: skip


def _promise(train: JSON) -> JSON:
    """Return what a run says of itself before its result; the order of its inputs is no promise."""
    promise: JSON = {name: train.get(name) for name in _PROMISED}
    promise["inputs"] = frozenset(canonical.encode(one) for one in train["inputs"])
    return promise


@dataclass(frozen=True, slots=True)
class Generation(Aggregate):
    """One call of a model: its attempt first, exactly one outcome, and perhaps a late one."""

    kind: ClassVar[str] = "Generation"

    attempted: bool = False
    outcome: str | None = None
    timed_out: bool = False
    late: bool = False

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

    def rewrite(self, type_: str, schema: int, body: JSON, *, by_ledger: bool) -> Rewritten | None:
        # Nothing that happened is without an entry: it came too late to be the outcome, and stays.
        if type_ not in OUTCOMES or by_ledger or not self.timed_out or self.late:
            return None
        claimed = {"type": type_, "schema": schema, "body": body}
        return Rewritten("OUTCOME_LATE", 1, {"claimed": claimed})

    def after(self, type_: str, body: JSON) -> Self:
        return type(self)(  # As `replace` would, at a third of its cost: the most frequent life.
            id=self.id,
            version=self.version + 1,
            attempted=True,
            outcome=type_ if type_ in OUTCOMES else self.outcome,
            timed_out=self.timed_out or (type_ == "GEN_ERROR" and body.get("timeout") is True),
            late=self.late or type_ == "OUTCOME_LATE",
        )

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


@dataclass(frozen=True, slots=True)
class Export(Aggregate):
    """One delivery of an asset that is present and not withdrawn."""

    kind: ClassVar[str] = "Export"

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        del by_ledger
        if self.version:
            raise self.refuse(type_, "this export was recorded before")
        asset, pointer = others.get(f"Asset/{body['asset_id']}"), "/body/asset_id"
        if not isinstance(asset, Asset) or not asset.present:
            why = "no such asset was ingested or generated"
            raise self.refuse(type_, why, AssetUnknown, pointer=pointer)
        if asset.withdrawn:
            why = "this asset was withdrawn and may not leave the house"
            raise self.refuse(type_, why, AssetWithdrawn, pointer=pointer)


@dataclass(frozen=True, slots=True)
class AnchorDay(Aggregate):
    """One UTC day of one log: its report, then its anchor; interim anchors at any time."""

    kind: ClassVar[str] = "AnchorDay"

    reported: bool = False
    anchored: bool = False
    interims: frozenset[int] = frozenset()  #: Up to which sizes: two processes may do the same one.
    failures: frozenset[tuple[str, str]] = frozenset()

    @property
    def phase(self) -> str:
        if self.anchored:
            return "anchored"
        return "reported" if self.reported else "open"

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        del others, by_ledger
        if body.get("day", self.id) != self.id:
            raise self.refuse(type_, "this is the stream of another day", pointer="/body/day")
        if type_ == "COMPLETENESS_REPORT" and self.reported:
            raise self.refuse(type_, "this day was reported before")
        if type_ == "ANCHOR" and body["kind"] == "day" and not self.reported:
            raise self.refuse(type_, "a day is reported before it is anchored")
        if type_ == "ANCHOR" and body["kind"] == "day" and self.anchored:
            raise self.refuse(type_, "this day was anchored before")
        if type_ == "ANCHOR" and body["kind"] == "interim" and body["to_size"] in self.interims:
            raise self.refuse(type_, "this range was anchored before")
        if type_ == "ANCHOR_FAILED" and (body["anchor"], body["authority"]) in self.failures:
            raise self.refuse(type_, "this failure was recorded before")

    def after(self, type_: str, body: JSON) -> Self:
        kind = body["kind"] if type_ == "ANCHOR" else None
        failed = {(body["anchor"], body["authority"])} if type_ == "ANCHOR_FAILED" else set()
        return replace(
            self,
            version=self.version + 1,
            reported=self.reported or type_ == "COMPLETENESS_REPORT",
            anchored=self.anchored or kind == "day",
            interims=self.interims | ({body["to_size"]} if kind == "interim" else set()),
            failures=self.failures | failed,
        )


@dataclass(frozen=True, slots=True)
class Log(Aggregate):
    """What the ledger notes about itself: epochs and looks."""

    kind: ClassVar[str] = "Log"

    epoch: int = 0  #: The epoch that is sealed next.

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        del others, by_ledger
        if type_ == "EPOCH_SEALED" and body["epoch"] != self.epoch:
            why = "epochs are sealed one after the other"
            raise self.refuse(type_, why, pointer="/body/epoch")

    def after(self, type_: str, body: JSON) -> Self:
        epoch = body["epoch"] + 1 if type_ == "EPOCH_SEALED" else self.epoch
        return replace(self, version=self.version + 1, epoch=epoch)


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

    others: the states of the streams that `catalog.consulted` named. Raises OutOfOrder.
    """
    rewritten = state.rewrite(type_, schema, body, by_ledger=by_ledger)
    if rewritten is None:
        state.check(type_, body, others, by_ledger=by_ledger)
    return rewritten
