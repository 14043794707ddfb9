# SPDX-License-Identifier: GPL-3.0-or-later
"""Near duplicates: pictures that look alike, found by their perceptual hashes.

    INGEST, GEN: fingerprints[] ──► projection ──┐
    archived pictures: our own hash ─────────────┴─► table `similar` ──► bands ──► distance

It points to likely copies and proves nothing; the entries that it leads to prove themselves. Sealed
fingerprints, and pictures whose digest is sealed, are personal: they are in no index, so whoever
has the database cannot ask whether somebody's picture is in it.
"""
