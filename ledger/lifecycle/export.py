# SPDX-License-Identifier: GPL-3.0-or-later
"""A delivery of an asset that is present."""

from dataclasses import dataclass
from typing import ClassVar

from ledger.lifecycle.aggregate import JSON, Aggregate, Others
from ledger.lifecycle.asset import Asset, AssetUnknown, AssetWithdrawn


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
