# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of what: the tree of a request's calls, and an asset's way in both directions.

    entries ──► projection ──► where to look ──► entries again ──► tree, lineage ──► drawing

The tables of the read model only say where to look. Whatever is shown of an event is read from
its entry, whose bytes hash to its leaf.
"""
