# SPDX-License-Identifier: GPL-3.0-or-later
"""An asset: present, then perhaps withdrawn."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ledger.lifecycle.aggregate import JSON, Aggregate, Others, OutOfOrder


class AssetUnknown(OutOfOrder):
    """There is no such asset in this Book."""

    problem = "asset-unknown"


class AssetWithdrawn(OutOfOrder):
    """The asset was withdrawn."""

    problem = "asset-withdrawn"


class AssetExists(OutOfOrder):
    """The asset is in this Book already."""

    problem = "asset-exists"


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
        if type_ == "INGEST":
            if self.present:
                raise self.refuse(type_, "this asset is in the ledger already", AssetExists)
            return
        if not self.present:
            raise self.refuse(type_, "no such asset was ingested or generated", AssetUnknown)
        if type_ != "ASSET_WITHDRAWN":
            self.check_room(type_)
        elif self.withdrawn:
            raise self.refuse(type_, "this asset was withdrawn before", AssetWithdrawn)

    def after(self, type_: str, body: JSON) -> Self:
        del body
        return replace(
            self,
            version=self.version + 1,
            present=True,
            withdrawn=self.withdrawn or type_ == "ASSET_WITHDRAWN",
        )
