# SPDX-License-Identifier: GPL-3.0-or-later
"""What can happen, each event defined once: used by HTTP, the lifecycles, the docs and JSON Schema.

values       the kinds of values that fields are made of
envelope     what every event may say besides its body
asset        INGEST, ASSET_RIGHTS_CHANGED, ASSET_CLASSIFIED, ASSET_WITHDRAWN
dataset      DATASET_SEALED and what follows; OUTPUTS_ROLLED
training     TRAIN_STARTED, TRAIN, TRAIN_FAILED
model        MODEL_REGISTERED, _DEPLOYED, _PINNED, _RETIRED; which model a call names
register     policies, prompt templates, consent texts and labels: published, retired
consent      CONSENT_GRANTED, _REVOKED, _EXPIRED
generation   GEN_ATTEMPT, GEN, GEN_DENY, GEN_ERROR, OUTCOME_LATE
moderation   MODERATION
review       what people decide: escalations, reviews, overrides, quarantine; REPLAY_RUN
patch        what was changed, as a JSON Patch
export       EXPORT, EXPORT_REVOKED, TAKEDOWN
gateway      what a producer's process says of itself: WRITER_*, CONFIG_CHANGED
red_team     RED_TEAM_RUN, FORENSIC_DRY_RUN
log          what the ledger itself records
retention    what it records of keeping: policies, tiers, expiry

client_made  which of these a client makes, and of which aggregate each is
kind         an event class as the catalogue lists it, and the names that it seals
complaints   what is wrong with a request, by pointer and rule, without its values
page         docs/events.md
"""
