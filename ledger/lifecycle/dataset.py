# SPDX-License-Identifier: GPL-3.0-or-later
"""A training set: versions that are sealed once, one after the other; the newest is current."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar, Self

from ledger.lifecycle.aggregate import JSON, Aggregate, Others, OutOfOrder


class DatasetSealed(OutOfOrder):
    """This version of the set is sealed, and stays as it is; give the other members a new one."""

    problem = "dataset-sealed"


class DatasetCurrent(OutOfOrder):
    """A version takes the place of the one that is current, and of no other."""

    problem = "dataset-current"


@dataclass(frozen=True, slots=True)
class SealedVersion:
    """What the ledger holds of one version."""

    version: str
    manifest_digest: str
    smt_root: str
    count: int


@dataclass(frozen=True, slots=True)
class Dataset(Aggregate):
    """A training set with its sealed versions, in their order."""

    kind: ClassVar[str] = "Dataset"

    sealed: Mapping[str, SealedVersion] = field(default_factory=dict)
    replaced: Mapping[str, str] = field(default_factory=dict)  #: Version → the one after it.

    @property
    def phase(self) -> str:
        return "sealed" if self.sealed else "absent"

    @property
    def current(self) -> SealedVersion | None:
        """The version that no other has taken the place of; None before the first."""
        return next(reversed(list(self.sealed.values())), None)

    def named_by(self, item: Mapping[str, Any]) -> SealedVersion | None:
        """Return the version that an input of a training run names; None if none is that.

        item: `manifest_digest` and `count`, and `smt_root` unless the run leaves it out.
        """
        for one in self.sealed.values():
            said = (item["manifest_digest"], item["count"], item.get("smt_root", one.smt_root))
            if said == (one.manifest_digest, one.count, one.smt_root):
                return one
        return None

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        del others, by_ledger
        said = body["dataset"]
        if said["id"] != self.id:
            why = "this is the stream of another set"
            raise self.refuse(type_, why, pointer="/body/dataset/id")
        if type_ == "DATASET_SUPERSEDED":
            self._check_replaced(said)
            return
        if said["version"] in self.sealed:
            why = "this version was sealed before"
            raise self.refuse(type_, why, DatasetSealed, pointer="/body/dataset/version")
        current = self.current
        if said.get("supersedes") != (None if current is None else current.version):
            why = "a version names the one that is current as the one it supersedes"
            raise self.refuse(type_, why, DatasetCurrent, pointer="/body/dataset/supersedes")

    def _check_replaced(self, said: JSON) -> None:
        versions = list(self.sealed)
        if said["version"] in self.replaced:
            raise self.refuse("DATASET_SUPERSEDED", "this was recorded before")
        if (said["version"], said["by"]) not in pairwise(versions):
            why = "the one version does not take the place of the other"
            raise self.refuse("DATASET_SUPERSEDED", why, DatasetCurrent)

    def after(self, type_: str, body: JSON) -> Self:
        said = body["dataset"]
        if type_ == "DATASET_SUPERSEDED":
            replaced = {**self.replaced, said["version"]: said["by"]}
            return replace(self, version=self.version + 1, replaced=replaced)
        one = SealedVersion(
            version=said["version"],
            manifest_digest=said["manifest_digest"],
            smt_root=said["smt_root"],
            count=said["member_count"],
        )
        return replace(self, version=self.version + 1, sealed={**self.sealed, one.version: one})
