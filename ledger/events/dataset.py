# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ledger records of sealed sets: training snapshots, and the outputs of closed ranges.

Each holds the root of a tree in which every digest has one place (sealtrail.verify.sparse): so it
can be proved later that a file is in the set, or that it is not.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from ledger.events.values import Body, Code, Count, Digest, Id, Part, may, must, spelled

_PERIOD = spelled("period", r"[0-9]{4}(-(0[1-9]|1[0-2]))?", "a month, such as `2026-01`, or a year")
Period = Annotated[str, *_PERIOD]


class Tagged(Part):
    """How many distinct digests of each kind the tree holds."""

    bytes_sha256: Count = must("Of files, byte by byte.", name="bytes-sha256")
    pixel_sha256: Count = must("Of pictures, as decoded RGB8 rows.", name="pixel-sha256")


class Snapshot(Part):
    """One version of a training set."""

    id: Id = must("The set; its stream.")
    version: Code = must("Which version of it.")
    member_count: Annotated[int, Field(ge=1, le=2**53 - 1)] = must("Assets in it.")
    as_of: Count = must("Log size up to which the members were looked up.")
    manifest_digest: Digest = must("SHA-256 over the manifest: a line for each member.")
    smt_root: Digest = must("Root of the sparse Merkle tree over the members' digests.")
    smt_salt_commit: Digest = must("Commitment to the tree's salt.")
    digests: Tagged = must("What the tree holds.")
    perceptual_manifest_digest: Digest = may("SHA-256 over the members' perceptual hashes, sorted.")
    perceptual_count: Count = may("How many of them there are.")
    exclusions_digest: Digest = may("Digest of the list of opt-outs that were honoured.")
    cyclonedx_digest: Digest = may("Digest of the set's CycloneDX data component.")
    supersedes: Code = may("The version that this one takes the place of.")

    @model_validator(mode="after")
    def _follows_another(self) -> Self:
        if self.supersedes == self.version:
            raise PydanticCustomError("version", "a version cannot take its own place")
        if (self.perceptual_manifest_digest is None) != (self.perceptual_count is None):
            raise PydanticCustomError("required", "perceptual hashes need their digest and count")
        return self


class DatasetSealed(Body):
    """A training set was closed: from now on nobody can put a file in or take one out unseen."""

    door: ClassVar = "POST /v1/datasets"
    artifacts: ClassVar = frozenset(
        {
            "dataset.manifest_digest",
            "dataset.perceptual_manifest_digest",
            "dataset.exclusions_digest",
            "dataset.cyclonedx_digest",
        }
    )

    dataset: Snapshot = must("The version.")


class Replaced(Part):
    """A version, and the one that took its place."""

    id: Id = must("The set.")
    version: Code = must("The version that is current no more.")
    by: Code = must("The version that is.")


class DatasetSuperseded(Body):
    """A sealed version is current no more; what was proved about it stays true."""

    door: ClassVar = "POST /v1/datasets"

    dataset: Replaced = must("Both versions.")


class OutputMap(Part):
    """The tree over the digests of all that a range of the log says was put out."""

    root: Digest = must("Root of the sparse Merkle tree.")
    salt_commit: Digest = must("Commitment to the tree's salt.")
    count: Count = must("Distinct digests in it, of bytes and of pixels.")
    missing: Count = may("Outputs whose digests nobody could read, and that are not in it.")


class OutputsRolled(Body):
    """The output maps of a month or year as one, so that an answer over years stays short."""

    period: Period = must("The UTC month or year.")
    from_size: Count = must("First position of the range.")
    to_size: Count = must("Position after the range.")
    outputs: OutputMap = must("The tree.")


_NAMED: Final[dict[str, TypeAdapter[Any]]] = {
    "dataset": TypeAdapter(Id),
    "version": TypeAdapter(Code),
    "supersedes": TypeAdapter(Code),
    "exclusions_digest": TypeAdapter(Digest),
    "cyclonedx_digest": TypeAdapter(Digest),
}


def unfit_names(named: Mapping[str, str | None]) -> list[str]:
    """Name what could not stand in a DATASET_SEALED; known before a million members are read."""
    wrong = []
    for name, value in named.items():
        try:
            if value is not None:
                _NAMED[name].validate_python(value, strict=True)
        except ValidationError:
            wrong.append(name)
    return wrong
