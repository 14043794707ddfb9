# SPDX-License-Identifier: GPL-3.0-or-later
"""The lives that an image leaves behind, as state machines without input or output.

    Asset        ─ INGEST ─► present ─ ASSET_WITHDRAWN ─► withdrawn    rights, class at any time
                   (or born as an output of a GEN)
    TrainingRun  ─ TRAIN_STARTED ─► running ─ TRAIN | TRAIN_FAILED ─► ended
    Generation   ─ GEN_ATTEMPT ─► open ─ GEN | GEN_DENY | GEN_ERROR ─► closed   MODERATION, reviews
                                    └─ the ledger's own timeout ─► timed out ─ an outcome comes ─►
                                       recorded as OUTCOME_LATE, once
                   a quarantined output ─ OUTPUT_RELEASED | OUTPUT_DESTROYED ─► free | gone
    Dataset      ─ DATASET_SEALED ─► sealed     one version after the other; DATASET_SUPERSEDED
    OutputPeriod ─ OUTPUTS_ROLLED ─► rolled
    Export       ─ EXPORT ─► done     of an asset that is present
                   ─ EXPORT_REVOKED ─► revoked     each request ─ TAKEDOWN … ─► copies removed
    Model        ─ MODEL_REGISTERED ─► a version ─ MODEL_DEPLOYED, _PINNED ─ _RETIRED ─► retired
    Policy, PromptTemplate, ConsentText, TransparencyTemplate
                 ─ …_PUBLISHED ─► a version, above the last ─ …_RETIRED ─► retired
    Consent      ─ CONSENT_GRANTED ─► granted ─ CONSENT_EXPIRED, CONSENT_REVOKED ─► over, for good
    Writer       ─ WRITER_STARTED ─► running, HEARTBEAT … ─ WRITER_STOPPED ─► stopped ─ STARTED …
    RedTeamSuite RED_TEAM_RUN, FORENSIC_DRY_RUN any time
    AnchorDay    ─ COMPLETENESS_REPORT ─► reported ─ ANCHOR (day) ─► anchored     interim any time
                   its final COMPLETENESS_REPORT once, any time after the first
    Log          EPOCH_SEALED, one epoch after the other; ACCESS any time

`decide` says if one event may follow, `after` folds it in; nothing else is state. Every refusal
says what the stream is and what was sent, by names of ours: no id or value of the request.
"""

from collections.abc import Mapping
from typing import Final

from ledger.lifecycle.aggregate import JSON, Aggregate, Others, OutOfOrder, Rewritten
from ledger.lifecycle.anchor_day import AnchorDay
from ledger.lifecycle.asset import Asset, AssetExists, AssetUnknown, AssetWithdrawn
from ledger.lifecycle.consent import (
    Consent,
    ConsentExpired,
    ConsentRevoked,
    ConsentUnknown,
    ConsentWithheld,
)
from ledger.lifecycle.dataset import Dataset, DatasetCurrent, DatasetSealed, SealedVersion
from ledger.lifecycle.export import Export, ExportUnknown, TakedownDiffers
from ledger.lifecycle.generation import OUTCOMES, UNATTEMPTED, Generation, NotQuarantined
from ledger.lifecycle.log import Log
from ledger.lifecycle.model import Model
from ledger.lifecycle.output_period import OutputPeriod
from ledger.lifecycle.red_team import RedTeamSuite
from ledger.lifecycle.register import (
    ConsentText,
    DigestDiffers,
    Policy,
    PromptTemplate,
    Register,
    TransparencyTemplate,
    VersionExists,
    VersionNotNewer,
    VersionRetired,
    VersionUnknown,
)
from ledger.lifecycle.training_run import TrainingDiffers, TrainingRun
from ledger.lifecycle.writer import Writer

__all__ = [
    "AGGREGATES", "OUTCOMES", "UNREAD", "Aggregate", "AnchorDay", "Asset", "AssetExists",
    "AssetUnknown", "AssetWithdrawn", "Consent", "ConsentExpired", "ConsentRevoked", "ConsentText",
    "ConsentUnknown", "ConsentWithheld", "Dataset", "DatasetCurrent", "DatasetSealed",
    "DigestDiffers", "Export", "ExportUnknown", "Generation", "Log", "Model", "NotQuarantined",
    "Others", "OutOfOrder", "OutputPeriod", "Policy", "PromptTemplate", "RedTeamSuite", "Register",
    "Rewritten", "SealedVersion", "TakedownDiffers", "TrainingDiffers", "TrainingRun",
    "TransparencyTemplate", "VersionExists", "VersionNotNewer", "VersionRetired", "VersionUnknown",
    "Writer", "decide", "fresh", "is_tail",
]  # fmt: skip

#: Events whose body decides nothing here; it need not be at hand.
UNREAD: Final = frozenset({"GEN_ATTEMPT", "MODERATION"})

AGGREGATES: Final[Mapping[str, type[Aggregate]]] = {
    one.kind: one
    for one in (
        Asset,
        Dataset,
        TrainingRun,
        Generation,
        OutputPeriod,
        Export,
        AnchorDay,
        Log,
        Model,
        Policy,
        PromptTemplate,
        ConsentText,
        TransparencyTemplate,
        Consent,
        Writer,
        RedTeamSuite,
    )
}


def fresh(aggregate: str, id_: str) -> Aggregate:
    """Return the state of a stream before its first event."""
    return UNATTEMPTED if aggregate == "Generation" else AGGREGATES[aggregate](id_)


def is_tail(stream: str) -> bool:
    """Say if a stream's newest entry alone tells its state."""
    return AGGREGATES[stream.partition("/")[0]].tail


def decide(
    state: Aggregate,
    type_: str,
    schema: int,
    body: JSON,
    others: Others,
    *,
    by_ledger: bool = False,
) -> Rewritten | None:
    """Return None if the event may be recorded as it is, or what it is recorded as.

    others: the states of the streams that `catalog.consulted` named. Raises OutOfOrder.
    """
    rewritten = state.rewrite(type_, schema, body, by_ledger=by_ledger)
    if rewritten is None:
        state.check(type_, body, others, by_ledger=by_ledger)
    return rewritten
