# SPDX-License-Identifier: GPL-3.0-or-later
"""What can happen, each event defined once: used by HTTP, the lifecycles, the docs and JSON Schema.

values       the kinds of values that fields are made of
envelope     what every event may say besides its body
asset        INGEST, ASSET_WITHDRAWN
training     TRAIN_STARTED, TRAIN, TRAIN_FAILED
generation   GEN_ATTEMPT, GEN, GEN_DENY, GEN_ERROR, OUTCOME_LATE
moderation   MODERATION
export       EXPORT
log          what the ledger itself records
retention    what it records of keeping: policies, tiers, expiry

kind         an event class as the catalogue lists it, and the names that it seals
complaints   what is wrong with a request, by pointer and rule, without its values
page         docs/events.md
"""
