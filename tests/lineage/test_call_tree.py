# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree of a request's calls: who made whom, and which of these ties are bound by a leaf."""

import pytest
from house import attempt, deny, event_id, export, gen

from ledger.errors import NotFound
from ledger.lineage.shown import tree_json, tree_text
from ledger.lineage.tree import call_tree
from ledger.readmodel.follower import catch_up

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def leaf_of(outcome):
    return f"sha256:{outcome.row.link.leaf.hex()}"


def call(house, parent=None, *, trace=TRACE, leaf=None, links=(), **changes):
    """Record an attempt under a parent's outcome of `house.post`; returns request and outcome."""
    request = attempt(**changes)
    if trace is not None:
        request["trace"] = {"trace_id": trace}
    if parent is not None:
        id_ = parent.row.event_id
        request.setdefault("trace", {"trace_id": trace or TRACE})["parent_event"] = id_
        links = [{"rel": "parent-call", "id": id_, "leaf": leaf or leaf_of(parent)}, *links]
    if links:
        request["links"] = list(links)
    (outcome,) = house.post(request)
    return request, outcome


def tree(house, id_, **options):
    catch_up(house.database, house.schema, ["lineage"])
    return tree_json(call_tree(house.database, house.schema, id_, **options))


def generations(node):
    return {node["generation"]: [generations(one) for one in node["calls"]]}


def test_a_request_shows_every_call_with_what_happened_to_it(house):
    """Attempt, moderation, outcome, cost, time and delivery, each call under its maker."""
    root, recorded = call(house)
    child, under = call(house, recorded)
    asset = event_id()
    done = gen(child["aggregate_id"], asset)
    done["body"]["usage"] = {"cost": "0.04", "currency": "EUR", "latency_ms": 812}
    judged = {
        **attempt(child["aggregate_id"]),
        "type": "MODERATION",
        "body": {
            "mod": {
                "stage": "pre_prompt",
                "classifier": {"id": "guard", "version": "2"},
                "filter_action": "allow",
            }
        },
        "sealed": {},
    }
    house.post(judged, done, deny(root["aggregate_id"]))
    house.post(export(asset))

    found = tree(house, TRACE)

    assert (found["trace_id"], found["calls"], found["more"]) == (TRACE, 2, False)
    (top,) = found["roots"]
    assert top["generation"] == root["aggregate_id"]
    assert top["attempt"]["position"] == recorded.row.link.position
    assert top["attempt"]["leaf"] == leaf_of(recorded)
    assert top["outcome"]["type"] == "GEN_DENY"
    (below,) = top["calls"]
    assert below["parents"] == [
        {
            "event_id": root["event_id"],
            "bound": True,
            "position": recorded.row.link.position,
            "generation": root["aggregate_id"],
        }
    ]
    assert below["attempt"]["event_id"] == under.row.event_id == child["event_id"]
    assert [one["mod"]["stage"] for one in below["moderations"]] == ["pre_prompt"]
    assert below["usage"] == {"cost": "0.04", "currency": "EUR", "latency_ms": 812}
    assert below["outcome"]["outputs"][0]["asset_id"] == asset
    assert below["took_ms"] >= 0
    assert [[one["type"] for one in each] for each in below["exports"]] == [["EXPORT"]]


def test_what_people_did_about_a_call_stands_beside_it(house):
    """Escalation and review, the release of what was held back, and what else happened."""
    start, _ = call(house)
    id_, asset = start["aggregate_id"], event_id()
    done = gen(id_, asset)
    done["body"]["outputs"][0] |= {"disposition": "quarantined"}

    def about(type_, body, **changes):
        return {**attempt(id_), "type": type_, "body": body, "sealed": {}, **changes}

    case = {"escalation": {"id": "case-1", "queue": "desk"}, "reason_code": "risk"}
    opened = {"review": {"queue": "desk", "state": "opened"}}
    release = {"asset_id": asset, "reason_code": "harmless"}
    for one in (
        about("GEN_ESCALATED", case),
        about("HUMAN_REVIEW", opened),
        done,
        about("OUTPUT_RELEASED", release),
    ):
        (outcome,) = house.post(one)
        assert hasattr(outcome, "row"), outcome

    (node,) = tree(house, TRACE)["roots"]
    text = tree_text(call_tree(house.database, house.schema, TRACE))

    assert [one["type"] for one in node["reviews"]] == ["GEN_ESCALATED", "HUMAN_REVIEW"]
    assert node["reviews"][0]["escalation"] == case["escalation"]
    assert [one["asset_id"] for one in node["outputs"]] == [asset]
    assert node["outcome"]["outputs"][0]["disposition"] == "quarantined"
    assert [line.split()[1] for line in text.splitlines()[2:]] == [
        "GEN_ESCALATED",
        "HUMAN_REVIEW",
        "OUTPUT_RELEASED",
    ]


def test_any_event_of_a_tree_leads_to_all_of_it(house):
    """An attempt, an outcome, a delivery: the whole tree, or only what is below."""
    root, recorded = call(house)
    child, _ = call(house, recorded)
    asset = event_id()
    done, out = gen(child["aggregate_id"], asset), export(asset)
    house.post(done)
    house.post(out)

    whole = generations(tree(house, TRACE)["roots"][0])

    assert whole == {root["aggregate_id"]: [{child["aggregate_id"]: []}]}
    for id_ in (root["event_id"], child["event_id"], done["event_id"], out["event_id"]):
        assert generations(tree(house, id_)["roots"][0]) == whole
    (below,) = tree(house, child["event_id"], below=True)["roots"]
    assert generations(below) == {child["aggregate_id"]: []}


def test_calls_without_a_trace_id_are_found_by_their_links(house):
    """Up to the first of them, and down again; a child may name its parent's outcome, too."""
    root, _ = call(house, trace=None)
    (answered,) = house.post(gen(root["aggregate_id"]))
    link = {"rel": "parent-call", "id": answered.row.event_id, "leaf": leaf_of(answered)}
    child, under = call(house, trace=None, links=[link])
    link = {"rel": "parent-call", "id": under.row.event_id, "leaf": leaf_of(under)}
    grandchild, _ = call(house, trace=None, links=[link])

    found = tree(house, child["event_id"])

    assert "trace_id" not in found
    assert generations(found["roots"][0]) == {
        root["aggregate_id"]: [{child["aggregate_id"]: [{grandchild["aggregate_id"]: []}]}]
    }


def test_a_parent_that_nobody_recorded_is_missing(house):
    """The call stands alone and says whom it names; so does one whose parent came later."""
    nobody = event_id()
    link = {"rel": "parent-call", "id": nobody, "leaf": "sha256:" + "00" * 32}
    first, _ = call(house, links=[link])
    later = attempt()
    link = {"rel": "parent-call", "id": later["event_id"], "leaf": "sha256:" + "00" * 32}
    second, outcome = call(house, links=[link])
    link = {"rel": "parent-call", "id": second["event_id"], "leaf": leaf_of(outcome)}
    house.post({**later, "trace": {"trace_id": TRACE}, "links": [link]})

    roots = tree(house, TRACE)["roots"]

    assert [one["generation"] for one in roots] == [first["aggregate_id"], second["aggregate_id"]]
    assert roots[0]["parents"] == [{"event_id": nobody, "bound": "missing"}]
    assert roots[1]["parents"][0]["bound"] is False
    assert [one["generation"] for one in roots[1]["calls"]] == [later["aggregate_id"]]


def test_a_deep_tree_is_cut_and_says_so(house):
    """A chain of two hundred: what is below is counted, and can be asked for."""
    chain = []
    _, outcome = call(house)
    for _ in range(199):
        request, outcome = call(house, outcome)
        chain.append(request)
    catch_up(house.database, house.schema, ["lineage"])
    found = call_tree(house.database, house.schema, TRACE)

    shown = tree_json(found, depth=3)

    assert found.calls == 200
    (node,) = shown["roots"]
    assert node["below"] == 199
    assert node["calls"][0]["calls"][0]["calls"] == []
    assert node["calls"][0]["calls"][0]["below"] == 197
    below = tree(house, chain[-1]["event_id"], below=True)
    assert below["calls"] == 1
    assert "… 197 more below" in tree_text(found, depth=3)


def test_a_wide_tree_is_cut_and_says_so(house):
    """The earliest calls are shown, each below its parent."""
    _, outcome = call(house)
    batch = []
    for _ in range(30):
        request = attempt()
        request["trace"] = {"trace_id": TRACE, "parent_event": outcome.row.event_id}
        request["links"] = [
            {"rel": "parent-call", "id": outcome.row.event_id, "leaf": leaf_of(outcome)}
        ]
        batch.append(request)
    house.post(*batch)

    found = tree(house, TRACE, limit=10)

    assert (found["calls"], found["more"]) == (10, True)
    assert len(found["roots"][0]["calls"]) == 9


def test_the_drawing_shows_calls_costs_and_open_ends(house):
    """One line for each call, indented below the one that made it."""
    root, recorded = call(house)
    child, _ = call(house, recorded)
    done = gen(child["aggregate_id"])
    done["body"]["usage"] = {"cost": "0.04", "currency": "EUR"}
    house.post(done)
    catch_up(house.database, house.schema, ["lineage"])

    text = tree_text(call_tree(house.database, house.schema, TRACE))

    first, second, third = text.splitlines()
    assert first == f"trace {TRACE}: 2 calls"
    assert second.startswith("└─ generate acme/painter 3 · open  [")
    assert third.startswith("   └─ generate acme/painter 3 · GEN · ")
    assert "· 0.04 EUR  [" in third
    assert root["event_id"] in second


@pytest.mark.parametrize("id_", ["0" * 32, "nothing", "018f7b4e-0000-7000-8000-000000000000"])
def test_what_is_no_call_is_not_found(house, id_):
    """An unknown trace, an unknown event, and what is neither."""
    with pytest.raises(NotFound):
        tree(house, id_)
