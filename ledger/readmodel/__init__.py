# SPDX-License-Identifier: GPL-3.0-or-later
"""The read model: tables made from the entries, for questions that a log cannot answer quickly.

    log ──► follower ──► projection, projection, …      a position each
                             └─► tables                 dropped and made again at any time

Nothing here is evidence and nothing is decided by it: an answer leads to entries, and those prove
themselves. What it says is as old as the position up to which it has read, and it says which.
"""
