# SPDX-License-Identifier: GPL-3.0-or-later
"""What can happen, each event defined once: used by HTTP, the lifecycles, the docs and JSON Schema.

    values       the kinds of values that fields are made of
    envelope     what every event may say besides its body
    asset        INGEST, ASSET_WITHDRAWN
    training     TRAIN_STARTED, TRAIN, TRAIN_FAILED
    generation   GEN_ATTEMPT, GEN, GEN_DENY, GEN_ERROR, OUTCOME_LATE, MODERATION
    export       EXPORT
    log          what the ledger itself records
"""
