# SPDX-License-Identifier: GPL-3.0-or-later
"""A provider on this machine, and a ledger that all tests here share."""

import pytest


@pytest.fixture(scope="package")
def shared(postgres, tmp_path_factory):
    from house import house_in
    from served_house import serving

    with (
        house_in(postgres, tmp_path_factory.mktemp("watched")) as house,
        serving(house) as service,
    ):
        yield service


class Log:
    """What was recorded since a test began."""

    def __init__(self, service):
        self.service, self.since = service, service.size

    @property
    def entries(self):
        reader = self.service.house.book.reader
        return [one.entry.value for one in reader.between(self.since, self.service.size)]

    @property
    def types(self):
        return [entry["type"] for entry in self.entries]


@pytest.fixture
def recorded(shared):
    return Log(shared)


@pytest.fixture
def provider():
    from provider_server import Provider

    return Provider()


@pytest.fixture
def address(provider):
    from provider_server import providing

    with providing(provider) as found:
        yield found


@pytest.fixture
def trail(shared):
    from sealtrail import Trail
    from sealtrail.verify.trust import Trust

    trust = Trust.parse(shared.house.trust().print())
    with Trail(shared.url, shared.pipeline, trust=trust, journal=False) as made:
        yield made
