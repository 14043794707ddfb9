# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings for one command: from the environment, or from what `dev` wrote beside its data."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Final

from ledger.errors import Refused
from ledger.settings import PREFIX, Settings

#: What `dev` writes into its data directory for the other commands, mode 0600.
DEV_FILE: Final = "environment.json"


def settings_from(data: Path | None = None) -> Settings:
    """Read the settings; `data` is the directory of a ledger that `dev` made and runs."""
    if data is None:
        return Settings.from_environment(os.environ)
    try:
        variables = json.loads((data / DEV_FILE).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Refused("this directory holds no ledger of `sealtrail-server dev`") from error
    mine = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return Settings.from_environment({**mine, **variables})


def log_to_stderr(settings: Settings) -> None:
    """Set up logging: one line an event on standard error, no values of requests anywhere."""
    logging.basicConfig(
        stream=sys.stderr,
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
