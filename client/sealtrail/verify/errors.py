# SPDX-License-Identifier: Apache-2.0
"""Every way a check can end other than well.

VerifyError
├── Unreadable     the bytes do not parse: damaged, or never of this format        exit 4
├── Refuted        a check failed: what was shown is not what was recorded         exit 1
└── Incomplete     a trust input, a tool or a later proof is missing               exit 3

The message of each is a full sentence for a reader who is not a programmer. It never holds a
value of the thing checked: that may be somebody's personal data.
"""


class VerifyError(Exception):
    """A check did not end well."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or type(self).__doc__)


class Unreadable(VerifyError):  # noqa: N818 - a verdict, not an accident
    """The bytes do not parse; they are damaged or of another format."""


class Refuted(VerifyError):  # noqa: N818 - a verdict, not an accident
    """A check failed: what was shown is not what was recorded."""


class Incomplete(VerifyError):  # noqa: N818 - a verdict, not an accident
    """A trust input, a tool or a later proof is missing, so nothing can be concluded."""
