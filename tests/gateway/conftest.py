# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway in front of a provider on this machine, over a real ledger: one for all tests here.

Each test sees only what was recorded and called since it began.
"""

import contextlib
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "provider"))


@pytest.fixture(scope="package")
def running(postgres, tmp_path_factory):
    from gateway_world import World, gating, settings_for
    from house import house_in
    from provider_server import Provider, providing
    from served_house import serving

    provider = Provider()
    with (
        house_in(postgres, tmp_path_factory.mktemp("gateway")) as house,
        serving(house) as service,
        providing(provider) as address,
    ):
        settings = settings_for(service, address)
        with gating(settings) as url:
            yield World(service, provider, address, url, settings)


@pytest.fixture
def world(running):
    running.begin()
    return running


@pytest.fixture
def clients():
    """Closes the SDKs' clients that a test makes."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context
