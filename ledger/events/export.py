# SPDX-License-Identifier: GPL-3.0-or-later
"""Deliveries: which bytes left, to where, with which marking."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ledger.events.asset import Permitted
from ledger.events.values import (
    Body,
    Code,
    Digest,
    Id,
    Line,
    Part,
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
