# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that stand in the bodies of many events."""

D = "sha256:" + "ab" * 32
ID = "018f3e9a-7c10-7d31-8a2b-0123456789ab"
SUBJECT = "0b9d3a52-7f11-4c0e-9a44-6d2f0c1e8b77"
AT = "2026-01-14T18:23:45.123Z"
