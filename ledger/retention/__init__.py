# SPDX-License-Identifier: GPL-3.0-or-later
"""How long what is kept, where it lies by then, and when it may go.

classes    retention classes with their legal floors, and calendar months
policy     published policies: which floors an entry has, and so when it is due
members    which of 256 positions are meant, as 32 bytes
bundle     256 bodies at most, compressed and sealed, for the archive
cold       the bundles of one Book: written down, put, read back, read again
remains    what a stream's state needs of a body that is in the database no more
manifest   the permanent list of what is announced to expire
bodies     partitions of bodies, and dropping what may go
retrieval  cold bodies brought back for a while, by a job

Three tiers: hot for 30 days, warm for 90, cold after that, in the archive under lock. Proofs need
leaf hashes only, which stay for ever, so they are instant in every tier.
"""
