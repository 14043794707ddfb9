# SPDX-License-Identifier: GPL-3.0-or-later
"""Producers' own numbers: each of their sequences is without gaps, or it is seen that it is not.

state: one sequence, folded number by number. projection: reads all of them, and late outcomes, from
the log. listing: what is missing, for whoever asks.
"""
