# SPDX-License-Identifier: GPL-3.0-or-later
"""Deliveries: which bytes left, to where, with which marking."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ledger.events.asset import Permitted
from ledger.events.values import Body, Code, Digest, Id, Line, Part, Time, Url, Uuid7


class Destination(Part):
    """Where to. A personal recipient or address is sealed."""

    type: Literal["DELIVERY", "PUBLICATION", "ARCHIVE", "DOWNLOAD", "API"]
    recipient_type: Literal["INTERNAL", "PARTNER", "PUBLIC", "REGULATOR", "COURT"] | None = None
    platform: Line | None = None
    url: Url | None = None


class MarkingVerified(Part):
    """Which layers of marking were found in the bytes that left."""

    c2pa: bool | None = None
    watermark: bool | None = None
    label: bool | None = None
    at: Time | None = None


class Export(Body):
    """An asset left the house."""

    sealed: ClassVar = ("destination.recipient", "destination.url", "destination.address")

    asset_id: Id
    asset_sha256: Digest
    destination: Destination
    permitted_use: Permitted | None = None
    source_events: Annotated[list[Uuid7], Field(max_length=64)] | None = None
    includes_provenance: bool | None = None
    marking_verified: MarkingVerified | None = None
    label_shown: Line | None = None
    url_expires_at: Time | None = None
    artifact_retention: Code | None = None
