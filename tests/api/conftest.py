# SPDX-License-Identifier: GPL-3.0-or-later
"""One server for most tests of the API, and one whole `dev` ledger with its own database."""

import pytest
from dev_ledger import running
from house import house_in
from served_house import serving


@pytest.fixture(scope="session")
def service(postgres, tmp_path_factory):
    """The API of one tenant, among others in the same database."""
    with house_in(postgres, tmp_path_factory.mktemp("service")) as house, serving(house) as made:
        yield made


@pytest.fixture(scope="session")
def dev(tmp_path_factory):
    """`sealtrail-server dev` as its users start it: a process of its own, with one tenant."""
    with running(tmp_path_factory.mktemp("dev")) as made:
        yield made
