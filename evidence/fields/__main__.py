# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m evidence.fields` prints docs/fields.md."""

import sys

from evidence.fields.page import describe

if __name__ == "__main__":
    sys.stdout.write(describe())
