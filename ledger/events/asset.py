# SPDX-License-Identifier: GPL-3.0-or-later
"""Assets come in with their rights, and are withdrawn."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ledger.events.values import (
    Body,
    Code,
    Digest,
    Fingerprint,
    Id,
    Line,
    MediaType,
    Part,
    Pixels,
    Text,
    Time,
    U64,
    Url,
)


class Asset(Part):
    """The thing itself. Digests of users' uploads are personal and are sealed instead."""

    type: Code
    sha256: Digest | None = None
    pixel_sha256: Digest | None = None
    fingerprints: Annotated[list[Fingerprint], Field(max_length=8)] | None = None
    mime: MediaType | None = None
    size: U64 | None = None
    width: Pixels | None = None
    height: Pixels | None = None
    name: Line | None = None
    source_url: Url | None = None
    retrieved_at: Time | None = None
    robots_or_tdm_optout: bool | None = None


class Statutory(Part):
    """The exception in law on which a use rests."""

    jurisdiction: Code
    article: Line
    clause: Line | None = None
    justification: Text | None = None


class Permitted(Part):
    """What the rights allow."""

    training: bool | None = None
    generation: bool | None = None
    distribution: bool | None = None
    commercial: bool | None = None
    derivative: bool | None = None
    attribution: Text | None = None
    restrictions: Annotated[list[Line], Field(max_length=16)] | None = None


class Rights(Part):
    """On what basis the asset is used."""

    basis: Literal[
        "OWNED", "LICENSED", "PUBLIC_DOMAIN", "FAIR_USE", "STATUTORY_EXCEPTION", "UNKNOWN"
    ]
    license: Line | None = None
    consent_basis: Code | None = None
    consent_ref: Id | None = None
    statutory: Statutory | None = None
    permitted: Permitted | None = None


class Confidentiality(Part):
    """How secret the asset is, and until when."""

    level: Code
    classified_at: Time | None = None
    release_date: Time | None = None


class C2pa(Part):
    """The C2PA manifest found in the file."""

    active_manifest_digest: Digest | None = None
    validation_state: Code | None = None
    digital_source_type: Url | None = None


class Depicts(Part):
    """What moderation has to know about the picture."""

    identifiable_person: bool | None = None
    minor_signal: bool | None = None


class Ingest(Body):
    """An asset came in, with its digest and the basis of its rights."""

    sealed: ClassVar = (
        "asset.sha256",
        "asset.pixel_sha256",
        "asset.fingerprints",
        "asset.preview",
        "asset.full_ref",
        "asset.name",
        "asset.source_url",
        "rights.holder",
        "rights.consent_evidence",
        "confidentiality.classifier",
    )
    needs: ClassVar = ("asset.sha256",)

    asset: Asset
    rights: Rights
    confidentiality: Confidentiality | None = None
    c2pa: C2pa | None = None
    depicts: Depicts | None = None


class AssetWithdrawn(Body):
    """An asset may no longer be used; what was recorded of it stays."""

    sealed: ClassVar = ("reason", "requested_by")

    reason_code: Code
    effective_at: Time | None = None
