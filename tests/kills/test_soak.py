# SPDX-License-Identifier: GPL-3.0-or-later
"""The long run: `scripts/soak`, or `pytest -m soak` with SEALTRAIL_TEST_SOAK_MINUTES (10)."""

import os
import random

import pytest
from soak import soak


@pytest.mark.soak
def test_nothing_is_wrong_however_long_it_takes(record_property):
    """Simulations and kills with new seeds, until the time is over."""
    seed = random.SystemRandom().randrange(2**32)
    record_property("seed", f"soak {seed}")

    summary = soak(float(os.environ.get("SEALTRAIL_TEST_SOAK_MINUTES", "10")), seed)

    assert summary["problems"] == []
