# SPDX-License-Identifier: GPL-3.0-or-later
"""A small real ledger and a recorder that talks to it."""

from collections.abc import Iterator

import pytest
from small_ledger import TOKEN, SmallLedger, serving

from sealtrail import Recorder


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
