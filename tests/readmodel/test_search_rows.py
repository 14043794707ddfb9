# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of search are what the log says, however and whenever they were written."""

import pytest
from house import attempt, deny, error, event_id, gen, ingest

from ledger.readmodel import bits
from ledger.readmodel.follower import Follower, rebuild
from ledger.readmodel.searching import Searching

TABLES = Searching.tables

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def rows(house):
    """Every row of the projection's tables."""
    with house.owner() as owner:
        return {
            table: sorted(map(repr, owner.execute(f"SELECT * FROM {house.schema}.{table}")))
            for table in TABLES
        }


def follow(house, *, batch=4096):
    return Follower(house.database, house.schema, [Searching()], batch=batch).run()


def positions(house, key, value):
    """The positions that fit a term."""
    with house.owner() as owner:
        found = owner.execute(
            f"SELECT block, bits FROM {house.schema}.search_term WHERE key = %s AND value = %s"
            " ORDER BY block",
            (key, value),
        ).fetchall()
    return [b * bits.BLOCK + at for b, data in found for at in bits.offsets_of(bits.unpack(data))]


def test_an_outcome_has_the_model_of_its_attempt_and_closes_it(house):
    """A refusal is found by the model that was asked, and the attempt by how it ended."""
    first, second, third = event_id(), event_id(), event_id()
    house.post(attempt(first), attempt(second), attempt(third))
    follow(house)
    house.post(deny(second), gen(first))
    follow(house)

    assert positions(house, "model", "acme/painter@3") == [0, 1, 2, 3, 4]
    assert positions(house, "outcome", "denied") == [1, 3]
    assert positions(house, "outcome", "generated") == [0, 4]
    assert positions(house, "outcome", "open") == [2]


@pytest.mark.parametrize("batch", [1, 3])
def test_rows_are_the_same_whatever_the_batches_were(house, batch):
    """Entry by entry, in threes; and at once by a rebuild."""
    ids = [event_id() for _ in range(6)]
    house.post(*[attempt(one) for one in ids[:4]], ingest())
    follow(house, batch=batch)
    house.post(deny(ids[0]), gen(ids[1]), *[attempt(one) for one in ids[4:]], error(ids[4]))
    follow(house, batch=batch)
    written = rows(house)

    rebuild(house.database, house.schema, [Searching()])

    assert rows(house) == written
    assert any("'open'" in row for row in written["search_term"])
