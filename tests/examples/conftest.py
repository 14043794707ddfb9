# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples are in no distribution; they are found from the root of the repository."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
