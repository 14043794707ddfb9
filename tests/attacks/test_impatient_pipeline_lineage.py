# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever may append may also claim: to be called by somebody, to be made of something, to have
been answered by whom it likes. Claims are recorded as such, and cost a reader no more than bounds.
"""

import time

import pytest
from house import attempt, event_id, gen, ingest

from anchoring.upgrade_watch import watch_answers
from ledger.lineage import walk
from ledger.lineage.shown import tree_json, tree_text
from ledger.lineage.tree import call_tree
from ledger.readmodel.follower import catch_up

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def below(parent, leaf, trace=TRACE):
    """An attempt that says it was made by an event."""
    return attempt(
        trace={"trace_id": trace, "parent_event": parent},
        links=[{"rel": "parent-call", "id": parent, "leaf": leaf}],
    )


def tree(house, id_=TRACE, **options):
    catch_up(house.database, house.schema, ["lineage"])
    return call_tree(house.database, house.schema, id_, **options)


def test_hangs_a_call_below_another_s(house):
    """Who: a pipeline that wants its call to look like part of somebody else's request.
    Tries: names an event as its parent before that is recorded, with a leaf that it made up.
    Caught by: the leaf: the tree shows the edge as not bound, in JSON and in the drawing.
    Not caught: whoever has the parent's receipt may bind a call to it; the parent is not asked.
    """
    victim = attempt(trace={"trace_id": TRACE})
    claim = below(victim["event_id"], "sha256:" + "00" * 32)
    house.post(claim)
    (recorded,) = house.post(victim)
    honest = below(victim["event_id"], f"sha256:{recorded.row.link.leaf.hex()}")
    house.post(honest)

    found = tree(house)

    nodes = {one["generation"]: one for one in tree_json(found)["roots"]}
    forged = nodes[claim["aggregate_id"]]
    assert forged["parents"][0]["bound"] is False
    (child,) = nodes[victim["aggregate_id"]]["calls"]
    assert (child["generation"], child["parents"][0]["bound"]) == (honest["aggregate_id"], True)
    assert tree_text(found).count("NOT BOUND") == 1


def test_makes_a_circle_of_calls(house):
    """Who: a pipeline that wants readers of the tree to run for ever.
    Tries: two calls that name each other as parents, and one that names itself.
    Caught by: order: a call stands below one that was recorded before it, or below none. Of two
    that name each other only one can know the other's leaf.
    Not caught: nothing is lost; the claims stay in the record, and are shown as not bound.
    """
    first, second, alone = event_id(), event_id(), event_id()
    leaf = "sha256:" + "00" * 32
    (recorded,) = house.post({**below(second, leaf), "event_id": first})
    known = f"sha256:{recorded.row.link.leaf.hex()}"
    house.post({**below(first, known), "event_id": second})
    house.post({**below(alone, leaf), "event_id": alone})

    shown = tree_json(tree(house))

    assert shown["calls"] == 3
    assert [one["below"] for one in shown["roots"]] == [1, 0]
    assert all(one["parents"][0]["bound"] is False for one in shown["roots"])
    assert shown["roots"][0]["calls"][0]["parents"][0]["bound"] is True


def test_makes_one_asset_the_source_of_everything(house):
    """Who: a pipeline that wants one question to read the whole log.
    Tries: a hundred thousand things that say they come from one asset, and outputs by the dozen.
    Caught by: bounds of the walk: the newest of a relation, so many things, and a note of the rest.
    Not caught: what was cut is not shown; whoever needs it asks on from one of the things.
    """
    source = event_id()
    house.post(ingest(source))
    for _ in range(6):
        start = attempt()
        start["body"]["inputs"] = [{"ref_asset": source, "type": "image", "role": "source"}]
        done = gen(start["aggregate_id"])
        one = done["body"]["outputs"][0]
        done["body"]["outputs"] = [{**one, "asset_id": event_id()} for _ in range(64)]
        house.post(start)
        house.post(done)
    catch_up(house.database, house.schema, ["lineage"])
    with house.owner() as owner:
        owner.execute(
            f"INSERT INTO {house.schema}.lineage_edge"
            " SELECT %s, 'Asset/' || n, 'derived-from', 0, NULL FROM generate_series(1, 100000) n",
            (f"Asset/{source}",),
        )
        owner.execute(f"ANALYZE {house.schema}.lineage_edge")

    begin = time.monotonic()
    found = walk.lineage(house.database, house.schema, [f"Asset/{source}"])
    took_s = time.monotonic() - begin

    assert len(found.things) <= walk.THINGS + 1
    assert walk.Fan(f"Asset/{source}", "derived-from", "after") in found.fans
    assert sum(one.startswith("Generation/") for one in found.things) == 6
    assert took_s < 2


def test_answers_as_a_model_that_nobody_registered(house):
    """Who: a provider that puts another model behind the same name, and a pipeline that says so.
    Tries: to go on under the name that was agreed upon.
    Caught by: what the answer itself says: a name or fingerprint that no entry of the register
    declares is an alert, once.
    Not caught: a provider that lies about its own name and fingerprint, or says none.
    """
    start = attempt()
    done = gen(start["aggregate_id"])
    done["body"]["provider"] = {"model_returned": "painter-cheaper", "system_fingerprint": "fp_2"}
    house.post(start)
    house.post(done)

    assert watch_answers(house.book) == 1
    assert watch_answers(house.book) == 0
