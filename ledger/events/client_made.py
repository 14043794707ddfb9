# SPDX-License-Identifier: GPL-3.0-or-later
"""Which events a client makes, and of which aggregate each is; `ledger.catalog` has the whole."""

from typing import Final

from ledger.events import (
    asset,
    consent,
    export,
    gateway,
    generation,
    model,
    moderation,
    red_team,
    register,
    review,
    training,
)
from ledger.events.values import Body

#: Type, class of its body, aggregate.
CLIENT_MADE: Final[tuple[tuple[str, type[Body], str], ...]] = (
    ("INGEST", asset.Ingest, "Asset"),
    ("ASSET_WITHDRAWN", asset.AssetWithdrawn, "Asset"),
    ("TRAIN_STARTED", training.TrainStarted, "TrainingRun"),
    ("TRAIN", training.Train, "TrainingRun"),
    ("TRAIN_FAILED", training.TrainFailed, "TrainingRun"),
    ("GEN_ATTEMPT", generation.GenAttempt, "Generation"),
    ("GEN", generation.Gen, "Generation"),
    ("GEN_DENY", generation.GenDeny, "Generation"),
    ("GEN_ERROR", generation.GenError, "Generation"),
    ("MODERATION", moderation.Moderation, "Generation"),
    ("EXPORT", export.Export, "Export"),
    ("ASSET_RIGHTS_CHANGED", asset.AssetRightsChanged, "Asset"),
    ("ASSET_CLASSIFIED", asset.AssetClassified, "Asset"),
    ("GEN_ESCALATED", review.GenEscalated, "Generation"),
    ("HUMAN_REVIEW", review.HumanReview, "Generation"),
    ("HUMAN_OVERRIDE", review.HumanOverride, "Generation"),
    ("OUTPUT_RELEASED", review.OutputReleased, "Generation"),
    ("OUTPUT_DESTROYED", review.OutputDestroyed, "Generation"),
    ("REPLAY_RUN", review.ReplayRun, "Generation"),
    ("EXPORT_REVOKED", export.ExportRevoked, "Export"),
    ("TAKEDOWN", export.Takedown, "Export"),
    ("MODEL_REGISTERED", model.ModelRegistered, "Model"),
    ("MODEL_DEPLOYED", model.ModelDeployed, "Model"),
    ("MODEL_PINNED", model.ModelPinned, "Model"),
    ("MODEL_RETIRED", model.ModelRetired, "Model"),
    ("POLICY_PUBLISHED", register.PolicyPublished, "Policy"),
    ("POLICY_RETIRED", register.PolicyRetired, "Policy"),
    ("PROMPT_TEMPLATE_PUBLISHED", register.PromptTemplatePublished, "PromptTemplate"),
    ("PROMPT_TEMPLATE_RETIRED", register.PromptTemplateRetired, "PromptTemplate"),
    ("CONSENT_TEXT_PUBLISHED", register.ConsentTextPublished, "ConsentText"),
    ("CONSENT_TEXT_RETIRED", register.ConsentTextRetired, "ConsentText"),
    (
        "TRANSPARENCY_TEMPLATE_PUBLISHED",
        register.TransparencyTemplatePublished,
        "TransparencyTemplate",
    ),
    ("TRANSPARENCY_TEMPLATE_RETIRED", register.TransparencyTemplateRetired, "TransparencyTemplate"),
    ("CONSENT_GRANTED", consent.ConsentGranted, "Consent"),
    ("CONSENT_REVOKED", consent.ConsentRevoked, "Consent"),
    ("CONSENT_EXPIRED", consent.ConsentExpired, "Consent"),
    ("WRITER_STARTED", gateway.WriterStarted, "Writer"),
    ("WRITER_HEARTBEAT", gateway.WriterHeartbeat, "Writer"),
    ("WRITER_STOPPED", gateway.WriterStopped, "Writer"),
    ("CONFIG_CHANGED", gateway.ConfigChanged, "Writer"),
    ("RED_TEAM_RUN", red_team.RedTeamRun, "RedTeamSuite"),
    ("FORENSIC_DRY_RUN", red_team.ForensicDryRun, "RedTeamSuite"),
)
