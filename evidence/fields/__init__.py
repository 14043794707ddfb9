# SPDX-License-Identifier: GPL-3.0-or-later
"""Every field that the sources ask a record to hold, and where this ledger holds it.

homes          what a pointer leads to: looked up in the catalogue, never written by hand
table          the lists of the sources, read from the text files beside this one
page           docs/fields.md (`python -m evidence.fields`)

checklist.txt  the first of two articles that this ledger began from
howto.txt      the second
cap.txt        the Content/Creative AI Profile
record.txt     everything together, law included, by this ledger's own names
"""
