# SPDX-License-Identifier: GPL-3.0-or-later
"""A training run: started over named sets, then ended once."""

from dataclasses import dataclass, replace
from typing import ClassVar, Final, Self

from ledger.lifecycle.aggregate import JSON, Aggregate, Others, OutOfOrder
from sealtrail.verify import canonical


class TrainingDiffers(OutOfOrder):
    """The completed run does not name what its start named."""

    problem = "training-differs"


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
