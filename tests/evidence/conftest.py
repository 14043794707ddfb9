# SPDX-License-Identifier: GPL-3.0-or-later
"""One ledger for all tests of a file that can share it, and a fresh one for those that cannot."""

import pytest


@pytest.fixture(scope="module")
def world(pattern, authority, tmp_path_factory):
    """A ledger that other tests of this file have written to: only what is new is known."""
    from packet_world import world_in

    with world_in(pattern, authority, tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture
def fresh(pattern, authority, tmp_path):
    """An empty ledger that this test may damage."""
    from packet_world import world_in

    with world_in(pattern, authority, tmp_path) as made:
        yield made
