# SPDX-License-Identifier: GPL-3.0-or-later
"""`sealtrail-server dataset` as an operator types it."""

import json

import pytest
from house import event_id, ingest

from ledger import clock
from ledger.request import Identity, prepare
from ledger.settings import Settings
from scripts.assembly import open_ledger

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

ON = ("--book=acme",)


@pytest.fixture(scope="module")
def members(ledger, tmp_path_factory):
    """Three ingested assets, in a file as `seal` takes it."""
    identity = Identity(
        credential="cred_test", tenant="acme", role="pipeline", kind="pipeline", name="renderer"
    )
    names = [event_id() for _ in range(3)]
    with open_ledger(Settings.from_environment(ledger.environment)) as opened:
        batch = [
            prepare(ingest(one), identity, received_ms=clock.now_ms(), pipelines=frozenset())
            for one in names
        ]
        opened.shelf.book("acme").record(batch).result(timeout=30)
    file = tmp_path_factory.mktemp("members") / "members.ndjson"
    file.write_text("".join(json.dumps({"asset_id": one}) + "\n" for one in names))
    return file


def test_a_set_is_sealed_listed_and_shown(ledger, members):
    """With its manifest in the archive; a second time it is the same set."""
    sealing = ("seal", str(members), "--id=cats", "--version=1", "--person=curator-3", *ON)
    sealed = ledger.here("dataset", *sealing)
    again = ledger.here("dataset", *sealing)
    shown = ledger.here("dataset", "show", "--id=cats", *ON)

    assert (sealed["repeat"], again["repeat"]) == (False, True)
    assert sealed["dataset"]["member_count"] == 3
    assert sealed["artifacts"] == [{"name": "dataset.manifest_digest", "state": "stored"}]
    assert again["dataset"] == shown["dataset"] == sealed["dataset"]
    assert shown["superseded_by"] is None
    assert sealed["dataset"]["id"] in [
        one["id"] for one in ledger.here("dataset", "list", *ON)["datasets"]
    ]


def test_what_is_wrong_is_told_and_nothing_is_sealed(ledger, members):
    """A line that names nothing, a person who is a pipeline, a set that is not there."""
    bad = members.with_name("bad.ndjson")
    bad.write_text(members.read_text() + '{"asset_id":"nobody"}\n')

    sealing = ("--id=dogs", "--version=1", *ON)
    unknown = ledger.here("dataset", "seal", str(bad), *sealing, "--person=curator-3", code=2)
    missing = ledger.here("dataset", "show", "--id=dogs", *ON, code=2)

    assert unknown["error"] == "malformed-event"
    assert "line 4" in unknown["detail"]
    assert missing["error"] == "not-found"
