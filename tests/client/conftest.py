# SPDX-License-Identifier: GPL-3.0-or-later
"""A small real ledger and a recorder that talks to it; a whole one, and a trail that does."""

from collections.abc import Iterator

import pytest
import served_house
from small_ledger import TOKEN, SmallLedger, serving

from sealtrail import Recorder, Trail
from sealtrail.journal import Journal
from sealtrail.verify.trust import Trust


@pytest.fixture
def ledger() -> SmallLedger:
    return SmallLedger()


@pytest.fixture
def url(ledger: SmallLedger) -> Iterator[str]:
    with serving(ledger) as address:
        yield address


@pytest.fixture
def recorder(ledger: SmallLedger, url: str) -> Iterator[Recorder]:
    with Recorder(url, TOKEN, trust=ledger.trust, timeout_s=5, attempts=4) as made:
        yield made


@pytest.fixture
def service(house):
    with served_house.serving(house) as running:
        yield running


@pytest.fixture
def journal(tmp_path):
    return Journal(root=tmp_path / "journals", user="tester", context="studio", durable=False)


@pytest.fixture
def trail(service, journal):
    trust = Trust.parse(service.house.trust().print())
    made = Trail(service.url, service.pipeline, trust=trust, application="studio", journal=journal)
    with made:
        yield made
