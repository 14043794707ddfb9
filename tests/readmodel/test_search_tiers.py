# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be found of an old entry: less with each tier, unless a hold keeps it."""

import pytest
from house import attempt, deny, event_id
from retention_world import RUN, aged, world_in

from ledger.holds import Holds
from ledger.readmodel.follower import rebuild
from ledger.readmodel.query import parse
from ledger.readmodel.search import Search
from ledger.readmodel.searching import Searching

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def find(world, query, limit=RUN * 2):
    search = Search(world.house.database, world.book.vault, world.house.schema)
    page = search.page(parse(query), limit=limit, descending=False)
    assert page.as_of.behind == 0
    return [one.position for one in page.found]


def rows(house):
    with house.owner() as owner:
        return {
            table: sorted(map(repr, owner.execute(f"SELECT * FROM {house.schema}.{table}")))
            for table in Searching.tables
        }


def test_an_old_entry_is_found_by_less_and_less(pattern, tmp_path, authority):
    """Thirty days by every key, ninety by model and outcome, then by type and date; held: all."""
    with world_in(pattern, tmp_path, authority) as world:
        world.publish()  # 0
        ids, held = [event_id() for _ in range(2)], attempt()
        world.house.post(attempt(ids[0]), attempt(ids[1]), deny(ids[0]), held)  # 1 to 4
        world.fill(RUN)
        scope = {"event_ids": [held["event_id"]]}
        Holds.of(world.book).apply(scope, matter="m-1", authority="court-1")
        assert find(world, "operation:generate outcome:denied") == [1, 3]

        aged(world, 40)
        world.sweep()
        warm = [find(world, one) for one in ("operation:generate", "outcome:denied", "hold:any")]
        aged(world, 60)
        world.sweep()
        cold = find(world, "tier:cold")
        written = rows(world.house)
        rebuild(world.house.database, world.house.schema, [Searching()])

        assert warm[0][0] == 4 < RUN < warm[0][1]
        assert warm[1:] == [[1, 3], [4]]
        assert cold == [1, 2, 3, *range(5, RUN)]
        assert find(world, "outcome:denied") == find(world, "model:painter tier:cold") == []
        assert find(world, "outcome:open operation:generate")[0] == 4
        assert find(world, "type:GEN_DENY") == [3]
        assert find(world, "type:GEN_DENY tier:database") == []
        assert find(world, f"event:{world.book.reader.locate_at(3).event_id}") == [3]
        assert rows(world.house) == written
