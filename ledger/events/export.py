# SPDX-License-Identifier: GPL-3.0-or-later
"""Deliveries: which bytes left, to where, with which marking; and how they were called back."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from ledger.events.asset import Permitted
from ledger.events.values import (
    Body,
    Code,
    Digest,
    Id,
    Line,
    Part,
    Small,
    Text,
    Time,
    Url,
    Uuid7,
    may,
    must,
)


class Destination(Part):
    """Where to. Who receives it is sealed."""

    type: Literal["DELIVERY", "PUBLICATION", "ARCHIVE", "DOWNLOAD", "API"] = must(
        "Way of delivery."
    )
    recipient_type: Literal["INTERNAL", "PARTNER", "PUBLIC", "REGULATOR", "COURT"] = may(
        "Kind of recipient."
    )
    platform: Line = may("Platform.")
    url: Url = may("Public address where it was put; sealed if it is personal.")


class MarkingVerified(Part):
    """Which layers of marking were found in the bytes that left."""

    c2pa: bool = may("A valid C2PA manifest.")
    watermark: bool = may("The watermark.")
    label: bool = may("The visible label.")
    at: Time = may("When they were checked.")


class Export(Body):
    """An asset left the house."""

    sealed: ClassVar = {
        "asset_sha256": "Digest of the bytes delivered, where it is personal.",
        "destination.recipient": "Who received it.",
        "destination.url": "Address where it was put that tells who received it.",
        "permitted_use.attribution": "Credit that names a person.",
    }
    subjects: ClassVar = {"permitted_use.attribution": "rights_holder"}
    forms: ClassVar = {
        "asset_sha256": Digest,
        "destination.url": Url,
        "permitted_use.attribution": Text,
    }
    needs: ClassVar = ("asset_sha256",)

    asset_id: Id = must("The asset.")
    asset_sha256: Digest = may("Digest of the bytes delivered.")
    destination: Destination = must("Where to.")
    permitted_use: Permitted = may("What the recipient may do.")
    source_events: Annotated[list[Uuid7], Field(max_length=64)] = may("Events it comes from.")
    includes_provenance: bool = may("Whether provenance went along.")
    marking_verified: MarkingVerified = may("Marking found in the bytes.")
    label_shown: Line = may("Label shown with it.")
    url_expires_at: Time = may("Until when its address works.")
    artifact_retention: Code = may("How long the copy is kept, such as `24h`.")


class ExportRevoked(Body):
    """A delivery is called back; what was recorded of it stays."""

    sealed: ClassVar = {"reason": "Why, in words."}

    reason_code: Code = must("Why, such as `rights` or `recall`.")
    revoked_at: Time = may("When its address stopped working.")
    copies_removed: Small = may("Copies that are gone.")


class Request(Part):
    """Somebody asks that the picture be taken down. Its clock runs from the receipt."""

    request_id: Id = must("The request.")
    received_at: Time = must("When it came in; it never changes.")
    valid: bool = may("Whether it holds.")
    due_at: Time = may("When the copies must be gone; 48 hours after its receipt if absent.")
    removed_at: Time = may("When they were gone; this ends the request.")
    copies_removed: Small = may("How many they were.")

    @model_validator(mode="after")
    def _runs_forward(self) -> Self:
        # Times have one spelling, so their order is that of the text.
        if self.due_at is not None and self.due_at < self.received_at:
            raise PydanticCustomError("range", "due_at comes after received_at")
        if self.removed_at is not None and self.removed_at < self.received_at:
            raise PydanticCustomError("range", "removed_at comes after received_at")
        return self


class Takedown(Body):
    """A request to take a delivered picture down, and each step of answering it."""

    sealed: ClassVar = {
        "takedown.requester": "Who asked.",
        "takedown.reason": "Why, in words.",
    }
    subjects: ClassVar = {"takedown.requester": "depicted", "takedown.reason": "depicted"}

    takedown: Request = must("The request, as it stands.")
    reason_code: Code = may("Why, such as `ncii`.")
