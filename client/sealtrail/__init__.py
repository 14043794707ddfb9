# SPDX-License-Identifier: Apache-2.0
"""Sealtrail's client: record events, keep receipts, verify proofs offline."""
