# SPDX-License-Identifier: Apache-2.0
"""Sealtrail's client: record events, keep receipts, verify proofs offline.

`sealtrail.verify` needs nothing but the standard library and stays importable alone, so the names
below, which bring an HTTP client with them, are loaded when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sealtrail.errors import (
        AuditUnavailable,
        OutcomeLate,
        ReceiptInvalid,
        RecorderError,
        Refused,
    )
    from sealtrail.receipt import Receipt
    from sealtrail.recorder import Recorder
    from sealtrail.trail import Trail

__all__ = [
    "AuditUnavailable",
    "OutcomeLate",
    "Receipt",
    "ReceiptInvalid",
    "Recorder",
    "RecorderError",
    "Refused",
    "Trail",
]

_HOME = {
    "AuditUnavailable": "sealtrail.errors",
    "OutcomeLate": "sealtrail.errors",
    "Receipt": "sealtrail.receipt",
    "ReceiptInvalid": "sealtrail.errors",
    "Recorder": "sealtrail.recorder",
    "RecorderError": "sealtrail.errors",
    "Refused": "sealtrail.errors",
    "Trail": "sealtrail.trail",
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
