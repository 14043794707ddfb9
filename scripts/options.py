# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that many commands share."""

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path | None, typer.Option("--data", help="A ledger that `dev` made; else the environment.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
BookName = Annotated[
    str | None, typer.Option("--book", help="One Book, such as acme or acme-access; else all.")
]
