# SPDX-License-Identifier: GPL-3.0-or-later
"""A ledger that all tests of adapters share, a trail to it, and one whose ledger is away."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "provider"))


@pytest.fixture(scope="package")
def shared(postgres, tmp_path_factory):
    from house import house_in
    from served_house import serving

    with (
        house_in(postgres, tmp_path_factory.mktemp("adapters")) as house,
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

    def values(self, entry):
        return self.service.house.book.vault.open(entry["event_id"]).values


@pytest.fixture
def recorded(shared):
    return Log(shared)


@pytest.fixture
def trail(shared):
    from sealtrail import Trail
    from sealtrail.verify.trust import Trust

    trust = Trust.parse(shared.house.trust().print())
    with Trail(shared.url, shared.pipeline, trust=trust, journal=False) as made:
        yield made


@pytest.fixture
def nobody():
    """A trail whose ledger is away."""
    from sealtrail import Trail

    with Trail("http://127.0.0.1:9", "t", trust=False, journal=False, attempts=1) as made:
        yield made
