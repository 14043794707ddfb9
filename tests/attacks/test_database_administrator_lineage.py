# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees and lineages are found through tables that the administrator can write; and then read
from entries.
"""

import pytest
from house import attempt, event_id, ingest

from ledger.errors import EntryDamaged
from ledger.lineage import walk
from ledger.lineage.tree import call_tree
from ledger.readmodel.follower import catch_up, rebuild
from ledger.readmodel.projections import PROJECTIONS

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def recorded(house):
    """Two assets, one made of the other, and a call."""
    house.source, house.child = event_id(), event_id()
    link = {"rel": "derived-from", "id": house.source, "type": "Asset"}
    house.post(ingest(house.source))
    house.post(ingest(house.child, links=[link]))
    house.post(attempt(trace={"trace_id": TRACE}))
    catch_up(house.database, house.schema, ["lineage"])
    return house


def relatives(house):
    return walk.lineage(house.database, house.schema, [f"Asset/{house.source}"])


def test_invents_a_relative_in_the_read_model(recorded):
    """Who: an administrator who wants a picture to look like a copy of another.
    Tries: writes an edge between them into the table.
    Caught by: the entry that the edge names: it says no such thing, so the edge is left out and
    counted.
    Not caught: an edge whose entry's bytes are in the archive is believed until they are back.
    """
    with recorded.owner() as owner:
        owner.execute(
            f"INSERT INTO {recorded.schema}.lineage_edge VALUES (%s, %s, 'derived-from', 1, true)",
            (f"Asset/{recorded.source}", "Asset/somebody-else-s"),
        )

    found = relatives(recorded)

    assert set(found.things) == {f"Asset/{recorded.source}", f"Asset/{recorded.child}"}
    assert found.unfounded == 1


def test_takes_a_relative_out_of_the_read_model(recorded):
    """Who: an administrator who wants nobody to see what a picture was used for.
    Tries: deletes the edge, and the call, from the tables.
    Caught by: a rebuild from the entries, which anybody may ask for, brings both back.
    Not caught: until then they are not shown; fsck looks at entries and not at this table.
    """
    with recorded.owner() as owner:
        owner.execute(f"DELETE FROM {recorded.schema}.lineage_edge")
        owner.execute(f"DELETE FROM {recorded.schema}.model_call")
    assert len(relatives(recorded).things) == 1

    mine = [one for one in PROJECTIONS if one.name == "lineage"]
    rebuild(recorded.database, recorded.schema, mine)

    assert f"Asset/{recorded.child}" in relatives(recorded).things
    assert call_tree(recorded.database, recorded.schema, TRACE).calls == 1


def test_changes_what_a_call_says(recorded):
    """Who: an administrator who wants another model to have been called.
    Tries: writes other bytes for the attempt.
    Caught by: the leaf: what a tree shows is read from the entry, and this one is refused.
    Not caught: one who changes the leaf, too, is caught by fsck and by every proof.
    """
    with recorded.owner() as owner:
        table = f"{recorded.schema}.entry_body"
        owner.execute(f"ALTER TABLE {table}_rest DISABLE TRIGGER ALL")
        owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        owner.execute(
            f"UPDATE {table} SET bytes = convert_to(replace(convert_from(bytes, 'UTF8'),"
            " 'painter', 'printer'), 'UTF8') WHERE position = 2"
        )

    with pytest.raises(EntryDamaged):
        call_tree(recorded.database, recorded.schema, TRACE)
