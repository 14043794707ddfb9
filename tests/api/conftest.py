# SPDX-License-Identifier: GPL-3.0-or-later
"""One server for most tests of the API, and one whole `dev` ledger with its own database."""

import pytest
from dev_ledger import running
from house import attempt, house_in
from served_house import serving


@pytest.fixture(scope="session")
def one_service(postgres, tmp_path_factory):
    with house_in(postgres, tmp_path_factory.mktemp("service")) as house, serving(house) as made:
        yield made


@pytest.fixture(scope="module")
def service(one_service):
    """The API of one tenant, among others in the same database.

    Tests of other files cut connections of that database, also those that lie idle here; each is
    answered with one 503, which is not what the next file asks about.
    """
    for _ in range(16):
        recorded = one_service.post(attempt())
        entry = one_service.get(f"/v1/events/{recorded.json().get('event_id')}")
        if (recorded.status_code, entry.status_code) == (201, 200):
            break
    return one_service


@pytest.fixture(scope="session")
def dev(tmp_path_factory):
    """`sealtrail-server dev` as its users start it: a process of its own, with one tenant."""
    with running(tmp_path_factory.mktemp("dev")) as made:
        yield made
