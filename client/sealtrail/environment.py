# SPDX-License-Identifier: Apache-2.0
"""Address, tokens and keys to believe, from the environment. No message repeats a value."""

import os
from pathlib import Path
from typing import Literal

from sealtrail.verify.trust import Trust


def named_setting(*names: str) -> str:
    for name in names:
        if os.environ.get(name):
            return os.environ[name]
    raise ValueError(f"set {names[0]}, or say it when you make the Trail")


def token_setting(name: str) -> str:
    file = os.environ.get(f"{name}_FILE")
    if file and not os.environ.get(name):
        return Path(file).read_text(encoding="ascii").strip()
    return named_setting(name)


def trusted(given: Trust | str | os.PathLike[str] | Literal[False] | None) -> Trust | None:
    if given is False or isinstance(given, Trust):
        return given or None
    path = given or os.environ.get("SEALTRAIL_TRUST")
    if not path:
        raise ValueError(
            "set SEALTRAIL_TRUST to the file with the ledger's keys, which came to you by another "
            "way than its answers; trust=False goes without and believes whoever answers"
        )
    return Trust.parse(Path(path).read_bytes())
