# SPDX-License-Identifier: GPL-3.0-or-later
"""Keystores of every driver."""

from keepers import (  # noqa: F401
    file_keeper,
    held,
    keeper,
    kms,
    kms_client,
    kms_keeper,
    module,
    pkcs11_keeper,
)
