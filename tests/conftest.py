# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests share lies beside this file, which puts its folder on the path.

The server is imported inside the fixtures: tests of the verifier alone must run without it.
"""

import pytest


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """One real PostgreSQL for the whole run; every test has its own tenant in it."""
    from ledger.embedded import EmbeddedPostgres

    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres") / "data") as running:
        yield running


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """One real time-stamping authority for the whole run."""
    from anchoring.authority import LocalAuthority, make_authority

    directory = tmp_path_factory.mktemp("authority") / "tsa"
    make_authority(directory)
    with LocalAuthority(directory) as running:
        yield running


@pytest.fixture
def house(postgres, tmp_path):
    """A fresh tenant with both of its Books."""
    from house import house_in

    with house_in(postgres, tmp_path) as made:
        yield made
