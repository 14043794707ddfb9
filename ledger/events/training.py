# SPDX-License-Identifier: GPL-3.0-or-later
"""Training runs: what goes in is committed before anybody knows what comes out."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ledger.events.values import (
    Body,
    Code,
    Count,
    Decimal,
    Digest,
    Failure,
    Id,
    Line,
    Part,
    Small,
    Text,
    Time,
    U64,
)


class Input(Part):
    """A sealed set of training members."""

    dataset_id: Id
    manifest_digest: Digest
    count: Count
    smt_root: Digest | None = None


class Config(Part):
    """The run's parameters."""

    epochs: Small | None = None
    batch_size: Small | None = None
    learning_rate: Decimal | None = None
    parameters: (
        Annotated[dict[Code, Line | bool | Small], Field(max_length=64)] | None
    ) = None


class Jp304(Part):
    """The conditions of Article 30-4 of Japan's Copyright Act."""

    non_enjoyment_purpose: bool
    information_analysis: bool
    necessary_extent: bool
    no_undue_prejudice: bool


class Context(Part):
    """What the run is for."""

    purpose: Text
    jp_30_4: Jp304 | None = None


class WeightFile(Part):
    """One file of weights."""

    path: Line
    sha256: Digest
    size: U64 | None = None


class Weights(Part):
    """What the run produced."""

    files: Annotated[list[WeightFile], Field(min_length=1, max_length=64)]


class Plan(Part):
    """What is fixed when the run starts."""

    type: Literal["PRETRAIN", "FINETUNE", "LORA", "RLHF", "OTHER"]
    inputs: Annotated[list[Input], Field(min_length=1, max_length=64)]
    base_model: Id | None = None
    output_model: Id
    code_digest: Digest
    container_digest: Digest | None = None
    env_digest: Digest | None = None
    seed: U64 | None = None
    hardware: Line | None = None
    config: Config | None = None
    context: Context | None = None
    started_at: Time | None = None


class Result(Plan):
    """The plan again, and what came of it."""

    weights: Weights | None = None
    manifest_digest: Digest | None = None
    metrics_digest: Digest | None = None
    ended_at: Time | None = None


class TrainStarted(Body):
    """A training run began, over exactly these sets and this code."""

    sealed: ClassVar = ("train.operator",)

    train: Plan


class Train(Body):
    """A training run was completed; it names again what its start named."""

    sealed: ClassVar = ("train.operator",)

    train: Result


class TrainFailed(Body):
    """A training run ended without a model."""

    sealed: ClassVar = ("error.message",)

    error: Failure
