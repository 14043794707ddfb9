# SPDX-License-Identifier: GPL-3.0-or-later
"""Models: which one a call names, and the register of those that there are.

A register's version names what it is by digests: of the manifest (CycloneDX ML-BOM, SPDX AI,
in-toto), of the weights, of what stands before and behind them. Of a hosted model nobody but its
provider has the weights, so it says that they are not to be had, and never a made-up digest.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from ledger.events.training import WeightFile
from ledger.events.values import (
    Body,
    Code,
    Digest,
    Id,
    Line,
    Part,
    Time,
    may,
    must,
)


class Tokenizer(Part):
    """What cut the prompt into tokens."""

    id: Id = must("Which one.")
    sha256: Digest = may("Its digest.")


class Model(Part):
    """Which model exactly: a marketing name is not enough."""

    provider: Id = must("Who runs it.")
    name: Line = must("Its name.")
    version: Code = must("Its version.")
    id: Id = may("Its identifier, such as `urn:cap:model:acme:painter`.")
    build_id: Line = may("Its build.")
    deployment_id: Line = may("Where it is deployed.")
    type: Code = may("Kind of model.")
    environment: Code = may("Such as `production`.")
    manifest: Digest = may("Digest of its manifest: the model's fingerprint.")
    tokenizer: Tokenizer = may("Its tokenizer.")


class Registered(Part):
    """The model's names; its identifier is the stream's own."""

    provider: Id = must("Who runs it.")
    name: Line = must("Its name.")
    version: Code = must("Its version; registered once.")
    build_id: Line = may("Its build.")
    deployment_id: Line = may("Where it is deployed.")
    type: Code = may("Kind of model, such as `diffusion`.")
    environment: Code = may("Such as `production`.")


class Manifest(Part):
    """The document that says what a model is made of; its digest is the model's fingerprint."""

    digest: Digest = must("Digest of its exact bytes.")
    format: Literal["cyclonedx-1.7", "spdx-3-ai", "in-toto", "other"] = must(
        "What it is: a CycloneDX ML-BOM, an SPDX 3 AI document, an in-toto statement."
    )


class ModelWeights(Part):
    """The weights: their files, or that nobody here can have them."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["files"]}, {"required": ["unavailable"]}],
            "dependentRequired": {"snapshot": ["unavailable"]},
        }
    )

    files: Annotated[list[WeightFile], Field(min_length=1, max_length=64)] = may("The files.")
    unavailable: Literal["hosted"] = may("The provider keeps them and shows no digest.")
    snapshot: Digest = may("Digest of what a hosted model's provider says of it.")

    @model_validator(mode="after")
    def _has_files_or_has_none(self) -> Self:
        if (self.files is None) == (self.unavailable is None):
            raise PydanticCustomError(
                "hosted", "the weights have files, or they are `unavailable` and have no digest"
            )
        if self.snapshot is not None and self.unavailable is None:
            raise PydanticCustomError("hosted", "a snapshot is of a hosted model")
        return self


class SafetyFilter(Part):
    """What stands between the model and its users."""

    id: Id = must("Which one.")
    version: Code = must("In which version.")
    sha256: Digest = may("Its digest.")


class Component(Part):
    """A part that a pipeline of pictures has beside the weights."""

    id: Id = must("Which one.")
    version: Code = may("In which version.")
    sha256: Digest = may("Its digest.")


class Evaluation(Part):
    """What was tried before it went into use."""

    red_team_suite: Line = may("Red-team suite, with its version.")
    report_digest: Digest = may("Digest of the report.")


class Approval(Part):
    """When somebody agreed; who it was is committed as `approval.by`."""

    at: Time = must("When.")


class Answers(Part):
    """By which names this version answers: anything else in a GEN is another model."""

    model_returned: Annotated[list[Line], Field(min_length=1, max_length=16)] = may(
        "Names that the provider gives it."
    )
    system_fingerprints: Annotated[list[Line], Field(min_length=1, max_length=64)] = may(
        "Fingerprints of its system."
    )


_APPROVED_BY = {"approval.by": "Who agreed."}
_STAFF = {"approval.by": "reviewer"}


class ModelRegistered(Body):
    """A version of a model is in the register, with the digests of what it is made of."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["manifest"]},
                {
                    "properties": {"weights": {"required": ["unavailable"]}},
                    "required": ["weights"],
                },
            ]
        }
    )
    sealed: ClassVar = _APPROVED_BY
    subjects: ClassVar = _STAFF
    artifacts: ClassVar = frozenset({
        "manifest.digest", "weights.snapshot", "eval.report_digest", "model_card_digest",
    })  # fmt: skip

    model: Registered = must("The model.")
    manifest: Manifest = may("Its manifest; needed unless the weights are `unavailable`.")
    weights: ModelWeights = may("Its weights.")
    tokenizer: Tokenizer = may("Its tokenizer.")
    safety_filter: SafetyFilter = may("Its safety filter.")
    scheduler: Component = may("Its scheduler.")
    vae: Component = may("What turns its latents into pictures.")
    lora: Annotated[list[Component], Field(max_length=32)] = may("Adapters on top of it.")
    training_run: Id = may("Training run that made it.")
    training_data_snapshot: Id = may("Data set that it was trained on.")
    eval: Evaluation = may("What was tried before.")
    model_card_digest: Digest = may("Digest of its model card.")
    answers: Answers = may("By which names it answers.")
    approval: Approval = may("Who agreed, and when.")
    change_ticket: Code = may("Ticket of the change.")

    @model_validator(mode="after")
    def _says_what_it_is(self) -> Self:
        hosted = self.weights is not None and self.weights.unavailable is not None
        if self.manifest is None and not hosted:
            raise PydanticCustomError(
                "required", "manifest must be here, or weights that are unavailable"
            )
        return self


class InUse(Part):
    """Which version, and where."""

    version: Code = must("A version that is registered.")
    manifest: Digest = may("Digest of its manifest, as registered.")
    build_id: Line = may("Its build.")
    deployment_id: Line = may("The deployment.")
    environment: Code = may("Such as `production`.")


class ModelDeployed(Body):
    """A registered version went into use."""

    sealed: ClassVar = _APPROVED_BY
    subjects: ClassVar = _STAFF

    model: InUse = must("Which version, and where.")
    answers: Answers = may("By which names it answers there.")
    effective_from: Time = may("From when on, if not from now.")
    approval: Approval = may("Who agreed, and when.")
    change_ticket: Code = may("Ticket of the change.")


class ModelPinned(Body):
    """A deployment stays at one registered version until somebody changes it."""

    sealed: ClassVar = _APPROVED_BY
    subjects: ClassVar = _STAFF

    model: InUse = must("Which version, and where.")
    answers: Answers = may("By which names it answers there.")
    until: Time = may("Until when.")
    approval: Approval = may("Who agreed, and when.")
    change_ticket: Code = may("Ticket of the change.")


class Gone(Part):
    """Which version is retired; all of them if none is named."""

    version: Code = must("A version that is registered.")


class ModelRetired(Body):
    """A model, or one version of it, may not be called any more."""

    sealed: ClassVar = {**_APPROVED_BY, "reason": "Why, in words."}
    subjects: ClassVar = {**_STAFF, "reason": "tenant"}

    model: Gone = may("Which version; all that there are, if absent.")
    reason_code: Code = must("Why, such as `end-of-life`.")
    effective_at: Time = may("From when on, if not from now.")
    approval: Approval = may("Who agreed, and when.")
    change_ticket: Code = may("Ticket of the change.")
