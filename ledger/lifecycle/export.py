# SPDX-License-Identifier: GPL-3.0-or-later
"""A delivery of an asset that is present, and how it was called back."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final, NamedTuple, Self

from ledger.lifecycle.aggregate import JSON, Aggregate, Others, OutOfOrder
from ledger.lifecycle.asset import Asset, AssetUnknown, AssetWithdrawn

#: Requests about one delivery; another one of the thousands who ask is told of the first.
REQUESTS_MAX: Final = 256


class ExportUnknown(OutOfOrder):
    """There is no such delivery in this Book."""

    problem = "export-unknown"


class TakedownDiffers(OutOfOrder):
    """The clock of a request runs from the day on which it came in, and ends once."""

    problem = "takedown-differs"


class Asked(NamedTuple):
    """A request to take the picture down."""

    received_at: str
    done: bool


@dataclass(frozen=True, slots=True)
class Export(Aggregate):
    """One delivery of an asset that is present and not withdrawn."""

    kind: ClassVar[str] = "Export"

    revoked: bool = False
    asked: Mapping[str, Asked] = field(default_factory=dict)  #: By the request's id.

    @property
    def phase(self) -> str:
        if self.revoked:
            return "revoked"
        return "recorded" if self.version else "absent"

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        del by_ledger
        if type_ == "EXPORT":
            self._check_delivery(type_, body, others)
        elif not self.version:
            raise self.refuse(type_, f"{type_} needs an EXPORT before it", ExportUnknown)
        elif type_ == "TAKEDOWN":
            self._check_request(body["takedown"])
        elif self.revoked:
            raise self.refuse(type_, "this delivery was revoked before")

    def after(self, type_: str, body: JSON) -> Self:
        if type_ != "TAKEDOWN":
            revoked = self.revoked or type_ == "EXPORT_REVOKED"
            return replace(self, version=self.version + 1, revoked=revoked)
        said = body["takedown"]
        one = Asked(said["received_at"], "removed_at" in said)
        return replace(
            self, version=self.version + 1, asked={**self.asked, said["request_id"]: one}
        )

    def _check_delivery(self, type_: str, body: JSON, others: Others) -> None:
        if self.version:
            raise self.refuse(type_, "this export was recorded before")
        asset, pointer = others.get(f"Asset/{body['asset_id']}"), "/body/asset_id"
        if not isinstance(asset, Asset) or not asset.present:
            why = "no such asset was ingested or generated"
            raise self.refuse(type_, why, AssetUnknown, pointer=pointer)
        if asset.withdrawn:
            why = "this asset was withdrawn and may not leave the house"
            raise self.refuse(type_, why, AssetWithdrawn, pointer=pointer)

    def _check_request(self, said: JSON) -> None:
        if "removed_at" not in said:
            self.check_room("TAKEDOWN")
        known = self.asked.get(said["request_id"])
        if known is None:
            if len(self.asked) >= REQUESTS_MAX:
                why = f"a delivery has {REQUESTS_MAX} requests at most"
                raise self.refuse("TAKEDOWN", why)
            return
        if known.done:
            why = "this request was answered: the copies are gone"
            pointer = "/body/takedown/request_id"
            raise self.refuse("TAKEDOWN", why, TakedownDiffers, pointer=pointer)
        if known.received_at != said["received_at"]:
            why = "this request came in at another time"
            pointer = "/body/takedown/received_at"
            raise self.refuse("TAKEDOWN", why, TakedownDiffers, pointer=pointer)
