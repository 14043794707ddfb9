# SPDX-License-Identifier: Apache-2.0
"""`python -m sealtrail.verify`, and what verify.pyz runs."""

import sys

from sealtrail.verify.command import main

if __name__ == "__main__":
    sys.exit(main())
