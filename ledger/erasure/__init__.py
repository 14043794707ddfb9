# SPDX-License-Identifier: GPL-3.0-or-later
"""Erasure: a person asks, two others decide, and then nobody can read that person's values again.

    requested ──► approved ──► pending ──► complete        pending    no reader gets them any more
        │            │ ▲          │                        complete   no copy of a key opens them
        ▼            ▼ └─ released │
    withdrawn     deferred ◄───────┘  while a legal hold keeps the subject

Entries, leaves, proofs and receipts stay: what they commit to can no longer be opened or guessed.
"""
