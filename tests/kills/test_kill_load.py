# SPDX-License-Identifier: GPL-3.0-or-later
"""Acceptance: twenty kills under load, and not one acknowledged event is missing or changed.

`scripts/soak` does the same for as long as it is told to.
"""

import random

from campaign import run

KILLS = 20


def test_kills_under_load_lose_nothing_that_was_acknowledged(record_property):
    """Servers and PostgreSQL in turn, some in the middle of COMMIT; what restarts needs no hand."""
    seed = random.SystemRandom().randrange(2**32)
    record_property("seed", f"kills {seed}")

    account = run(KILLS, seed)

    print(account.json())
    assert account.problems == []
    assert sum(account.kills.values()) == KILLS
    assert account.kills["server"] == KILLS // 2
    assert account.kills["PostgreSQL during COMMIT"] >= 1
    assert account.postgres_starts + account.failed_starts == KILLS // 2 + 1
    assert account.acknowledged > 200
    assert account.tried_again > 0
    assert set(account.entries) == {"north", "south"}
