# SPDX-License-Identifier: Apache-2.0
"""How the command `sealtrail` says that it cannot do what it was asked for."""

import json
import sys
from typing import Final

from sealtrail.verify.report import EXIT, EXIT_UNREADABLE, EXIT_USAGE, visible

#: The word for each exit status in JSON, as `sealtrail-server` has it.
_WORDS: Final = {
    EXIT["refuted"]: "refuted",
    EXIT_USAGE: "refused",
    EXIT["incomplete"]: "unavailable",
    EXIT_UNREADABLE: "unreadable",
}


def complain(message: str, status: int, *, as_json: bool = False) -> int:
    """Say it: on standard error, or in JSON as the one document on standard output."""
    if as_json:
        print(json.dumps({"error": _WORDS[status], "detail": visible(message)}))  # noqa: T201  a command
    else:
        print(f"sealtrail: {visible(message)}", file=sys.stderr)  # noqa: T201  a command
    return status
