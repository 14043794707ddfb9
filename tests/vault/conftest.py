# SPDX-License-Identifier: GPL-3.0-or-later
"""A vault of its own for each test, in the run's database."""

import pytest


@pytest.fixture
def sealer(house):
    """The vault of a fresh Book, and a writer of nothing else."""
    from sealing import Sealer

    made = Sealer(house)
    yield made
    made.close()
