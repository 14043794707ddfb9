# SPDX-License-Identifier: GPL-3.0-or-later
"""A house whose log key can be rotated, and its trust file."""

import pytest
from rotating import Rotating


@pytest.fixture
def rotating(house) -> Rotating:
    return Rotating(house)
