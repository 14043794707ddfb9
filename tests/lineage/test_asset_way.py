# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of an asset: from its INGEST to what was delivered, and back."""

import json

import pytest
from house import attempt, event_id, export, gen, ingest, record_key

from anchoring.dataset import By, Datasets
from anchoring.dataset_build import Order
from anchoring.dataset_members import read_members
from ledger.lineage import walk
from ledger.lineage.drawing import lineage_dot, lineage_json, lineage_mermaid, lineage_text
from ledger.lineage.found import occurrences
from ledger.readmodel.follower import catch_up

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

MODEL = "urn:cap:model:acme:painter"
MANIFEST = "sha256:" + "11" * 32
OTHER = "sha256:" + "22" * 32


def event(type_, aggregate_id, body, **changes):
    return {
        "event_id": event_id(),
        "type": type_,
        "schema": 1,
        "aggregate_id": aggregate_id,
        "on_behalf_of": "employee-7",
        "body": body,
        "record_key": record_key(),
        **changes,
    }


def plan(dataset="urn:cap:set:acme:one", manifest=MANIFEST, **changes):
    return {
        "type": "FINETUNE",
        "inputs": [{"dataset_id": dataset, "manifest_digest": manifest, "count": 2}],
        "output_model": MODEL,
        "code_digest": "sha256:" + "cc" * 32,
        **changes,
    }


def record(house, *requests):
    outcomes = [one for request in requests for one in house.post(request)]
    assert all(hasattr(one, "row") for one in outcomes), outcomes
    return outcomes


def way(house, *roots, **bounds):
    catch_up(house.database, house.schema, ["lineage"])
    return walk.lineage(house.database, house.schema, roots, walk.Bounds(**bounds))


def named(found, direction):
    return {one.name for one in found.things.values() if one.direction == direction}


@pytest.fixture
def picture(house):
    """An ingested picture that a model was given, what came of it, and where that went."""
    house.source, house.made = event_id(), event_id()
    house.start = attempt(
        body={
            "operation": "edit",
            "input_type": "text+image",
            "model": {"provider": "acme", "name": "painter", "version": "3", "id": MODEL},
            "inputs": [{"ref_asset": house.source, "type": "image", "role": "source"}],
        }
    )
    house.call = house.start["aggregate_id"]
    house.out = export(house.made)
    record(
        house,
        ingest(house.source),
        house.start,
        gen(house.call, house.made),
        house.out,
    )
    return house


def test_one_call_leads_from_the_source_to_the_delivery_and_back(picture):
    """INGEST, generation, output, export; and from the delivered picture to all of it."""
    forward = way(picture, f"Asset/{picture.source}")
    back = way(picture, f"Asset/{picture.made}")

    delivery = f"Export/{picture.out['aggregate_id']}"
    assert named(forward, "before") == set()
    assert named(forward, "after") == {
        f"Generation/{picture.call}",
        f"Asset/{picture.made}",
        delivery,
    }
    assert named(back, "after") == {delivery}
    assert named(back, "before") == {
        f"Generation/{picture.call}",
        f"Asset/{picture.source}",
        f"Model/{MODEL}@3",
    }


def test_each_thing_and_each_edge_names_event_position_and_leaf(picture):
    """So that everything that is shown can be proved; also a thing without events of its own."""
    shown = lineage_json(way(picture, f"Asset/{picture.made}"))

    things = {one["thing"]: one for one in shown["things"]}
    assert [one["type"] for one in things[f"Asset/{picture.source}"]["events"]] == ["INGEST"]
    assert things[f"Asset/{picture.made}"]["events"] == []
    assert things[f"Asset/{picture.made}"]["named_by"]["type"] == "GEN"
    events = [event for one in things.values() for event in one["events"]]
    for one in [*shown["edges"], *events, things[f"Asset/{picture.made}"]["named_by"]]:
        stored = picture.book.reader.find(one["event_id"])
        assert (stored.position, f"sha256:{stored.leaf.hex()}") == (one["position"], one["leaf"])
    assert shown["unfounded"] == 0


def test_a_training_run_is_on_the_way_of_the_sets_it_was_trained_on(house):
    """By the manifest: what was in another version of the set went into another run."""
    run, other = event_id(), event_id()
    trained = {**plan(), "manifest_digest": "sha256:" + "dd" * 32}
    record(
        house,
        event("TRAIN_STARTED", run, {"train": plan()}),
        event("TRAIN_STARTED", other, {"train": plan(manifest=OTHER)}),
        event("TRAIN", run, {"train": trained}),
        attempt(
            body={
                "operation": "generate",
                "input_type": "text",
                "model": {"provider": "acme", "name": "painter", "version": "3", "id": MODEL},
            }
        ),
    )

    after = named(way(house, f"Dataset/urn:cap:set:acme:one@{MANIFEST}"), "after")
    before = named(way(house, f"Model/{MODEL}"), "before")

    assert after == {f"TrainingRun/{run}", f"Model/{MODEL}"}
    assert before == {f"TrainingRun/{run}", f"Dataset/urn:cap:set:acme:one@{MANIFEST}"}


def test_a_sealed_set_leads_to_its_members_and_back(house):
    """No link says it: the set does. One version is not the other, nor are their runs."""
    first, second, run = event_id(), event_id(), event_id()
    record(house, ingest(first), ingest(second))

    def seal(version, *members):
        order = Order(id="acme/faces", version=version)
        text = "".join(json.dumps({"asset_id": one}) + "\n" for one in members).encode()
        by = By(actor={"kind": "service", "credential": "cred_test"}, person="employee-7")
        return Datasets(house.book).seal(order, read_members([text]), by).body["manifest_digest"]

    both, one = seal("1", first, second), seal("2", second)
    record(house, event("TRAIN_STARTED", run, {"train": plan("acme/faces", one)}))

    of_first = way(house, f"Asset/{first}")
    of_second = way(house, f"Asset/{second}")
    of_run = way(house, f"TrainingRun/{run}")

    assert named(of_first, "after") == {f"Dataset/acme/faces@{both}"}
    assert named(of_second, "after") == {
        f"Dataset/acme/faces@{both}",
        f"Dataset/acme/faces@{one}",
        f"TrainingRun/{run}",
    }
    assert named(of_run, "before") == {
        f"Dataset/acme/faces@{one}",
        f"Asset/{second}",
        "Dataset/acme/faces",
    }
    sealed = of_second.things[f"Dataset/acme/faces@{both}"]
    assert [event.type for event in sealed.events] == ["DATASET_SEALED", "DATASET_SUPERSEDED"]
    assert of_first.unfounded == of_run.unfounded == 0


def test_a_link_may_name_a_thing_or_an_event_of_it(house):
    """`derived-from` with an asset's id, or with its INGEST and leaf, which binds it."""
    source, child, grandchild = event_id(), event_id(), event_id()
    first = ingest(source)
    (recorded,) = record(house, first)
    leaf = f"sha256:{recorded.row.link.leaf.hex()}"
    links = [{"rel": "derived-from", "id": first["event_id"], "leaf": leaf}]
    record(house, ingest(child, links=links))
    links = [{"rel": "derived-from", "id": child, "leaf": "sha256:" + "00" * 32}]
    record(house, ingest(grandchild, links=links))

    found = way(house, f"Asset/{source}")

    assert named(found, "after") == {f"Asset/{child}", f"Asset/{grandchild}"}
    assert {(one.target, one.bound) for one in found.ways} == {
        (f"Asset/{child}", True),
        (f"Asset/{grandchild}", False),
    }


def test_a_digest_is_found_in_clear_and_sealed(house):
    """As its bytes, its pixels, as delivered; and sealed, through the vault's blind index."""
    clear, sealed, made = event_id(), event_id(), event_id()
    digest = {n: f"sha256:{n * 32}" for n in ("a1", "a2", "a3", "a4")}
    hidden = ingest(sealed, sealed={"asset.sha256": digest["a2"]})
    del hidden["body"]["asset"]["sha256"]
    start = attempt()
    done = gen(start["aggregate_id"], made, sealed={"outputs[0].sha256": digest["a3"]})
    del done["body"]["outputs"][0]["sha256"]
    shown = ingest(clear)
    shown["body"]["asset"] |= {"sha256": digest["a1"], "pixel_sha256": digest["a4"]}
    record(house, shown, hidden, start, done, export(made))
    catch_up(house.database, house.schema, ["lineage"])

    def found(value):
        answer = occurrences(house.database, house.schema, house.book.vault, value)
        return [(one.thing, one.what, one.field) for one in answer.found]

    assert found(digest["a1"]) == [(f"Asset/{clear}", "bytes", None)]
    assert found(digest["a4"]) == [(f"Asset/{clear}", "pixels", None)]
    assert found(digest["a2"]) == [(f"Asset/{sealed}", "bytes", "asset.sha256")]
    assert found(digest["a3"]) == [(f"Asset/{made}", "bytes", "outputs[*].sha256")]
    assert found("sha256:" + "ab" * 32) == [(f"Asset/{made}", "delivered", None)]
    assert found("sha256:" + "ff" * 32) == []


def test_a_long_stream_shows_its_ends_and_its_length(house):
    """The first and the last events of a thing, and how many there are."""
    source = event_id()
    change = {"rights": {"basis": "LICENSED"}, "reason_code": "renewed"}
    record(house, ingest(source))
    for _ in range(9):
        record(house, event("ASSET_RIGHTS_CHANGED", source, change))

    (thing,) = lineage_json(way(house, f"Asset/{source}"))["things"]

    positions = [one["position"] for one in thing["events"]]
    assert positions == [0, 1, 2, 7, 8, 9]
    assert thing["events_in_all"] == 10


def test_bounds_cut_and_say_so(house):
    """By depth, by things, and by the relations of one thing, of which the newest are followed."""
    source = event_id()
    children = [event_id() for _ in range(8)]
    record(house, ingest(source))
    for child in children:
        record(house, ingest(child, links=[{"rel": "derived-from", "id": source, "type": "Asset"}]))
    below = ingest(event_id(), links=[{"rel": "derived-from", "id": children[7], "type": "Asset"}])
    record(house, below)

    fan = way(house, f"Asset/{source}", fan=3)
    few = way(house, f"Asset/{source}", things=2)
    flat = way(house, f"Asset/{source}", depth=1)

    newest = {f"Asset/{child}" for child in children[5:]}
    assert named(fan, "after") == newest | {f"Asset/{below['aggregate_id']}"}
    assert fan.fans == [walk.Fan(f"Asset/{source}", "derived-from", "after")]
    assert len(named(few, "after")) == 2
    assert few.cut == ["things-after"]
    assert flat.cut == ["depth-after"]


def test_an_edge_that_no_entry_says_is_left_out_and_counted(picture):
    """The read model only says where to look; whoever writes into it invents no relatives."""
    with picture.owner() as owner:
        owner.execute(
            f"INSERT INTO {picture.schema}.lineage_edge VALUES (%s, %s, 'derived-from', 1, NULL)",
            (f"Asset/{picture.source}", "Asset/an-invention"),
        )

    found = way(picture, f"Asset/{picture.source}")

    assert "Asset/an-invention" not in found.things
    assert found.unfounded == 1


def test_the_pictures_show_things_and_relations(picture):
    """Text, Graphviz and Mermaid; a withdrawn asset says so."""
    record(picture, event("ASSET_WITHDRAWN", picture.source, {"reason_code": "rights"}))
    found = way(picture, f"Asset/{picture.made}")

    text, dot, mermaid = lineage_text(found), lineage_dot(found), lineage_mermaid(found)

    assert text.startswith(f"Asset/{picture.made}\n")
    assert f"  Generation/{picture.call}  ← output-asset Asset/{picture.made}" in text
    assert dot.startswith("digraph lineage {")
    assert dot.count(" -> ") == len(found.ways) == 4
    assert '[label="output-asset"]' in dot
    assert mermaid.startswith("flowchart LR")
    assert "-->|exports|" in mermaid
    assert all("withdrawn" in each for each in (text, dot, mermaid))
