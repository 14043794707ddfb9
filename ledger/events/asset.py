# SPDX-License-Identifier: GPL-3.0-or-later
"""Assets come in with their rights, are judged, and are withdrawn; rights change by event only."""

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from ledger.events.values import (
    U64,
    Body,
    Code,
    Digest,
    Fingerprints,
    Id,
    Line,
    MediaType,
    Part,
    Pixels,
    Text,
    Time,
    Url,
    may,
    must,
)


class Asset(Part):
    """The thing itself. Digests of users' uploads are personal and are sealed instead."""

    type: Code = must("Kind of asset, such as `image`.")
    sha256: Digest = may("Digest of the file; sealed for a user's upload.")
    pixel_sha256: Digest = may("Digest of the decoded picture (RGB, 8 bits).")
    fingerprints: Fingerprints = may("Perceptual fingerprints.")
    mime: MediaType = may("Media type.")
    size: U64 = may("Bytes.")
    width: Pixels = may("Width in pixels.")
    height: Pixels = may("Height in pixels.")
    name: Line = may("Name of the asset; sealed if it names a person.")
    source_url: Url = may("Public address where it was found; sealed if it names a person.")
    retrieved_at: Time = may("When it was fetched from there.")
    robots_or_tdm_optout: bool = may("Whether the place reserved text and data mining.")


class Statutory(Part):
    """The exception in law on which a use rests."""

    jurisdiction: Code = must("Whose law.")
    article: Line = must("Article.")
    clause: Line = may("Clause.")
    justification: Text = may("Why it applies.")


class Permitted(Part):
    """What the rights allow."""

    training: bool = may("Training on it.")
    generation: bool = may("Giving it to a model as input.")
    distribution: bool = may("Passing it on.")
    commercial: bool = may("Commercial use.")
    derivative: bool = may("Derived works.")
    attribution: Text = may("The credit that is asked for; sealed if it names a person.")
    restrictions: Annotated[list[Line], Field(max_length=16)] = may("What else is forbidden.")


class Rights(Part):
    """On what basis the asset is used."""

    basis: Literal[
        "OWNED", "LICENSED", "PUBLIC_DOMAIN", "FAIR_USE", "STATUTORY_EXCEPTION", "UNKNOWN"
    ] = must("Ground on which it is used.")
    license: Line = may("The licence's name.")
    consent_basis: Code = may("Kind of consent.")
    consent_ref: Id = may("The consent's id.")
    statutory: Statutory = may("The exception in law.")
    permitted: Permitted = may("What is allowed.")


class Confidentiality(Part):
    """How secret the asset is, and until when."""

    level: Code = must("Level, such as `INTERNAL`.")
    classified_at: Time = may("When it was classified.")
    release_date: Time = may("When it becomes public.")


class C2pa(Part):
    """The C2PA manifest found in the file."""

    active_manifest_digest: Digest = may("Digest of the active manifest.")
    validation_state: Code = may("What validation said.")
    digital_source_type: Url = may("IPTC digital source type.")


class Depicts(Part):
    """What moderation has to know about the picture."""

    identifiable_person: bool = may("Somebody can be recognised.")
    minor_signal: bool = may("A minor may be shown.")


class Ingest(Body):
    """An asset came in, with its digest and the basis of its rights."""

    sealed: ClassVar = {
        "asset.sha256": "Digest of a user's upload.",
        "asset.pixel_sha256": "Digest of a user's decoded picture.",
        "asset.fingerprints": "Perceptual fingerprints of a user's upload.",
        "asset.name": "Name of the asset that names a person.",
        "asset.source_url": "Address that names a person.",
        "asset.preview": "Small copy, an encrypted artifact.",
        "asset.full_ref": "Full copy, an encrypted artifact.",
        "rights.holder": "Who holds the rights.",
        "rights.consent_evidence": "What shows the consent.",
        "rights.permitted.attribution": "Credit that names a person.",
        "confidentiality.classifier": "Who classified it.",
    }
    subjects: ClassVar = {
        "asset.sha256": "depicted",
        "asset.pixel_sha256": "depicted",
        "asset.fingerprints": "depicted",
        "asset.name": "depicted",
        "asset.source_url": "depicted",
        "asset.preview": "depicted",
        "asset.full_ref": "depicted",
        "rights.holder": "rights_holder",
        "rights.consent_evidence": "rights_holder",
        "rights.permitted.attribution": "rights_holder",
        "confidentiality.classifier": "reviewer",
    }
    needs: ClassVar = ("asset.sha256",)
    forms: ClassVar = {
        "asset.sha256": Digest,
        "asset.pixel_sha256": Digest,
        "asset.fingerprints": Fingerprints,
        "asset.name": Line,
        "asset.source_url": Url,
        "rights.permitted.attribution": Text,
    }
    artifacts: ClassVar = frozenset({"asset.preview", "asset.full_ref", "rights.consent_evidence"})

    asset: Asset = must("The asset.")
    rights: Rights = must("Its rights.")
    confidentiality: Confidentiality = may("Its secrecy.")
    c2pa: C2pa = may("Provenance found in the file.")
    depicts: Depicts = may("What it shows.")


_RIGHTS: Final = {
    "rights.holder": "Who holds the rights.",
    "rights.consent_evidence": "What shows the consent.",
    "rights.permitted.attribution": "Credit that names a person.",
}


class AssetRightsChanged(Body):
    """An asset is used on another basis from now on."""

    sealed: ClassVar = {**_RIGHTS, "reason": "Why, in words."}
    subjects: ClassVar = dict.fromkeys(_RIGHTS, "rights_holder")
    forms: ClassVar = {"rights.permitted.attribution": Text}
    artifacts: ClassVar = frozenset({"rights.consent_evidence"})

    rights: Rights = must("Its rights, all of them.")
    reason_code: Code = must("Why, such as `licence-ended`.")
    effective_at: Time = may("From when on, if not from now.")


class AssetClassified(Body):
    """Somebody judged how secret an asset is, or whom it shows."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["confidentiality"]}, {"required": ["depicts"]}]}
    )
    sealed: ClassVar = {
        "confidentiality.classifier": "Who classified it.",
        "reason": "Why, in words.",
    }
    subjects: ClassVar = {"confidentiality.classifier": "reviewer"}

    confidentiality: Confidentiality = may("Its secrecy; needed if there is no `depicts`.")
    depicts: Depicts = may("What it shows.")
    reason_code: Code = may("Why, such as `review`.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.confidentiality is None and self.depicts is None:
            raise PydanticCustomError("required", "confidentiality or depicts must be here")
        return self


class AssetWithdrawn(Body):
    """An asset may no longer be used or exported; what was recorded of it stays."""

    sealed: ClassVar = {
        "reason": "Why, in words.",
        "requested_by": "Who asked for it.",
    }
    subjects: ClassVar = {"requested_by": "depicted"}

    reason_code: Code = must("Why, such as `consent-revoked`.")
    effective_at: Time = may("From when on, if not from now.")
