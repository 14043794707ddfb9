# SPDX-License-Identifier: GPL-3.0-or-later
"""Keepers of keys that never hand a key out: a hardware module, a key management service."""
