# SPDX-License-Identifier: GPL-3.0-or-later
"""Training runs: what goes in is committed before anybody knows what comes out."""

from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from ledger.events.values import (
    U64,
    Body,
    Code,
    Count,
    Decimal,
    Digest,
    Failure,
    Id,
    Ids,
    Line,
    Part,
    Rule,
    Small,
    Text,
    Time,
    may,
    must,
)

PLAIN = Rule("plain", "one line of up to 256 characters, a whole number, true or false")


def _plain(value: Any) -> Any:
    """Refuse what is not one plain value; a union's errors would not point at the member."""
    if isinstance(value, str):
        fits = 1 <= len(value) <= 256 and value.isprintable()
    else:
        fits = isinstance(value, int) and abs(value) <= 2**53 - 1
    if not fits:
        raise PydanticCustomError("plain", "this must be " + PLAIN.text)
    return value


#: For schemas, which cannot say `str.isprintable`: controls, spaces but the plain one, formats.
_UNPRINTABLE: Final = r"\x00-\x1f\x7f-\xa0\xad\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000"

#: The value of a parameter that the schema does not know.
Plain = Annotated[
    Any,
    AfterValidator(_plain),
    WithJsonSchema(
        {
            "type": ["string", "integer", "boolean"],
            "pattern": f"^[^{_UNPRINTABLE}]{{1,256}}$",
            "minimum": -(2**53 - 1),
            "maximum": 2**53 - 1,
        }
    ),
    PLAIN,
]


class Input(Part):
    """One sealed set of training members."""

    dataset_id: Id = must("The data set.")
    manifest_digest: Digest = must("Digest of its manifest: a line for each member.")
    count: Count = must("Number of members.")
    smt_root: Digest = may("Root of its sparse Merkle tree, for proofs of absence.")


class Config(Part):
    """The run's parameters."""

    epochs: Small = may("Passes over the data.")
    batch_size: Small = may("Members in a step.")
    learning_rate: Decimal = may("Learning rate.")
    parameters: Annotated[dict[Code, Plain], Field(max_length=64)] = may("Further parameters.")


class Jp304(Part):
    """The conditions of Article 30-4 of Japan's Copyright Act."""

    non_enjoyment_purpose: bool = must("The purpose is not to enjoy the works.")
    information_analysis: bool = must("It is information analysis.")
    necessary_extent: bool = must("It stays within what is necessary.")
    no_undue_prejudice: bool = must("It does not unduly harm the holders.")


class Context(Part):
    """What the run is for."""

    purpose: Text = must("Purpose.")
    jp_30_4: Jp304 = may("Japan's exception.")


class WeightFile(Part):
    """One file of weights."""

    path: Line = must("Path inside the model.")
    sha256: Digest = must("Digest of the file.")
    size: U64 = may("Bytes.")


class Weights(Part):
    """What the run produced; with more than 64 files, `manifest_digest` names them."""

    files: Annotated[list[WeightFile], Field(min_length=1, max_length=64)] = may("The files.")
    unavailable: Literal["hosted"] = may("The provider keeps the weights and shows no digest.")


class Plan(Part):
    """What is fixed when the run starts."""

    type: Literal["PRETRAIN", "FINETUNE", "LORA", "RLHF", "OTHER"] = must("Kind of training.")
    inputs: Annotated[list[Input], Field(min_length=1, max_length=64)] = must("All that goes in.")
    output_model: Id = must("The model that comes out.")
    code_digest: Digest = must("Digest of the training code.")
    input_asset_ids: Ids = may("The members themselves, where they are few.")
    base_model: Id = may("The model from which it starts.")
    container_digest: Digest = may("Digest of the container image.")
    env_digest: Digest = may("Digest of what else decides the result.")
    seed: U64 = may("Seed of all chance.")
    hardware: Line = may("On what it runs.")
    config: Config = may("Parameters.")
    context: Context = may("Purpose.")
    started_at: Time = may("When it started.")

    @model_validator(mode="after")
    def _names_each_set_once(self) -> Self:
        if len({one.dataset_id for one in self.inputs}) != len(self.inputs):
            raise PydanticCustomError("distinct", "two inputs have one dataset_id")
        return self


class Result(Plan):
    """What its start named, again, and what came of it."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["weights"]}, {"required": ["manifest_digest"]}]}
    )

    weights: Weights = may("The weights; needed if there is no `manifest_digest`.")
    manifest_digest: Digest = may("Digest of the model's manifest.")
    metrics_digest: Digest = may("Digest of the run's metrics.")
    ended_at: Time = may("When it ended.")

    @model_validator(mode="after")
    def _says_what_came_of_it(self) -> Self:
        if self.weights is None and self.manifest_digest is None:
            raise PydanticCustomError("required", "weights or manifest_digest must be here")
        return self


class TrainStarted(Body):
    """A training run began, over exactly these sets and this code."""

    train: Plan = must("The plan.")


class Train(Body):
    """A training run was completed; it names again what its start named."""

    artifacts: ClassVar = frozenset({"train.metrics_digest", "train.manifest_digest"})

    train: Result = must("The plan and its result.")


class TrainFailed(Body):
    """A training run ended without a model."""

    sealed: ClassVar = {"error.message": "What the program said."}
    subjects: ClassVar = {"error.message": "tenant"}

    error: Failure = must("What went wrong.")
    ended_at: Time = may("When it ended.")
