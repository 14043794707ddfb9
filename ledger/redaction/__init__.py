# SPDX-License-Identifier: GPL-3.0-or-later
"""Redacted, searchable copies of prompts, beside the sealed originals and never instead of them."""
