# SPDX-License-Identifier: GPL-3.0-or-later
"""One installation for all commands; each test leaves it as sound as it was."""

import pytest
from installation import install


@pytest.fixture(scope="session")
def ledger(postgres, authority, tmp_path_factory):
    return install(postgres, authority, tmp_path_factory.mktemp("installation"))
