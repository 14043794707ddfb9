# SPDX-License-Identifier: GPL-3.0-or-later
"""What a liar would do to a ledger, done to a scratch copy of it, and who notices."""
