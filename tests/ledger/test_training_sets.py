# SPDX-License-Identifier: GPL-3.0-or-later
"""A training run is bound to a sealed set: manifest, count and root of one and the same version."""

import json

import pytest
from house import House, event_id, ingest, record_key

from anchoring.dataset import By, Datasets
from anchoring.dataset_build import Order
from anchoring.dataset_members import read_members
from ledger import clock
from ledger.lifecycle import TrainingDiffers
from ledger.outcome import Recorded
from ledger.request import prepare

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


class StrictHouse:
    """A house that refuses what it does not know."""

    def __init__(self, house: House) -> None:
        self.house = house

    def post(self, request):
        prepared = prepare(
            request,
            self.house.identity,
            received_ms=clock.now_ms(),
            pipelines=frozenset({"test-pipeline"}),
            strict=True,
        )
        (outcome,) = self.house.book.record([prepared]).result(timeout=30)
        return outcome

    def seal(self, version, *names):
        lines = "".join(json.dumps({"asset_id": name}) + "\n" for name in names)
        by = By(actor={"kind": "service", "credential": "cred_test"})
        order = Order(id="photos", version=version)
        return Datasets(self.house.book).seal(order, read_members([lines.encode()]), by).body


@pytest.fixture
def strict(house):
    house.post(ingest("one"), ingest("two"))
    return StrictHouse(house)


def run(type_, run_id, **input_):
    train = {
        "type": "LORA",
        "inputs": [{"dataset_id": "photos", **input_}],
        "output_model": "m/2",
        "code_digest": f"sha256:{'0' * 64}",
    }
    return {
        "event_id": event_id(),
        "type": type_,
        "schema": 1,
        "aggregate_id": run_id,
        "on_behalf_of": "employee-7",
        "body": {"train": train},
        "record_key": record_key(),
    }


def of(sealed, *names):
    known = {
        "manifest_digest": sealed["manifest_digest"],
        "smt_root": sealed["smt_root"],
        "count": sealed["member_count"],
    }
    return {name: known[name] for name in names or known}


def test_a_run_names_a_sealed_version_whole(strict):
    """Each member of the input is that of one version; a mixture of two is neither."""
    first, second = strict.seal("1", "one", "two"), strict.seal("2", "one")

    mixed = of(first) | of(second, "smt_root")
    wrong = of(second) | {"count": 2}
    refused = [strict.post(run("TRAIN_STARTED", event_id(), **one)) for one in (mixed, wrong)]

    assert [one.problem for one in refused] == ["link-differs", "link-differs"]
    for sealed in (first, second):  # A run over an older version is what it is.
        assert isinstance(strict.post(run("TRAIN_STARTED", event_id(), **of(sealed))), Recorded)
    partly = of(second, "manifest_digest", "count")
    assert isinstance(strict.post(run("TRAIN_STARTED", event_id(), **partly)), Recorded)


def test_a_set_that_nobody_sealed_is_refused(strict):
    """Sealed first, trained on later: the order is the proof."""
    sealed = {"manifest_digest": f"sha256:{'1' * 64}", "count": 2}

    refused = strict.post(run("TRAIN_STARTED", event_id(), **sealed))

    assert refused.problem == "link-unknown"
    assert refused.errors[0].pointer == "/body/train/inputs/0/dataset_id"


def test_the_completed_run_names_the_same_roots_again(strict):
    """What it was trained on is not chosen when the result is known."""
    first, second = strict.seal("1", "one", "two"), strict.seal("2", "one")
    run_id = event_id()
    strict.post(run("TRAIN_STARTED", run_id, **of(first)))

    ended = run("TRAIN", run_id, **of(second))
    ended["body"]["train"]["manifest_digest"] = f"sha256:{'2' * 64}"

    assert isinstance(strict.post(ended), TrainingDiffers)
