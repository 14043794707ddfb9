# SPDX-License-Identifier: Apache-2.0
"""Checks that need nothing but Python's standard library: bytes, hashes, proofs."""
