# SPDX-License-Identifier: GPL-3.0-or-later
"""A desk of its own for each test."""

import pytest


@pytest.fixture
def desk(house):
    from custody_desk import Desk

    return Desk(house)
