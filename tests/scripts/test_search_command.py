# SPDX-License-Identifier: GPL-3.0-or-later
"""`sealtrail-server search` as an operator types it."""

import hashlib
import json

import pytest
from house import attempt

from ledger import clock
from ledger.request import Identity, prepare
from ledger.settings import Settings
from scripts.assembly import open_ledger

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

WHO = ("--book=acme", "--person=auditor-7", "--purpose=incident-42")


@pytest.fixture
def sent(ledger):
    """Three attempts of an installation; returns their ids."""
    identity = Identity(
        credential="cred_test", tenant="acme", role="pipeline", kind="pipeline", name="renderer"
    )
    events = [attempt() for _ in range(3)]
    with open_ledger(Settings.from_environment(ledger.environment)) as opened:
        batch = [
            prepare(one, identity, received_ms=clock.now_ms(), pipelines=frozenset())
            for one in events
        ]
        opened.shelf.book("acme").record(batch).result(timeout=30)
    return [one["event_id"] for one in events]


def test_a_query_needs_no_name_of_a_command(ledger, sent):
    """What is found, newest first, and the disclosure by which the look can be owned later."""
    told = ledger.here("search", "type:GEN_ATTEMPT actor:employee-7", *WHO)

    assert [one["event_id"] for one in told["found"]][:3] == sent[::-1]
    assert (told["behind"], told["more"]) == (0, False)
    assert told["access"]["disclosures"]["actor.subject_id"]


def test_all_that_is_found_becomes_a_csv_with_a_manifest(ledger, sent, tmp_path):
    """Both files are new, and the manifest has the digest of the other."""
    out = tmp_path / "found.csv"

    told = ledger.here("search", "type:GEN_ATTEMPT", *WHO, f"--csv={out}")
    again = ledger.here("search", "type:GEN_ATTEMPT", *WHO, f"--csv={out}", code=2)

    manifest = json.loads((tmp_path / "found.csv.manifest.json").read_text())
    assert told["count"] == manifest["count"] >= len(sent)
    assert manifest["file"]["sha256"] == f"sha256:{hashlib.sha256(out.read_bytes()).hexdigest()}"
    assert out.stat().st_mode & 0o777 == 0o600
    assert "exists already" in again["detail"]


def test_a_rebuild_ends_where_the_log_ends(ledger, sent):
    """Before it something may be behind, and the exit code says so; after it nothing is."""
    ledger.here("search", "rebuild", "--book=acme")

    told = ledger.here("search", "status", "--book=acme")["projections"]

    assert {one["projection"] for one in told} >= {"search"}
    assert all(one["position"] == one["size"] > len(sent) - 1 for one in told)


@pytest.mark.parametrize("arguments", [("erika:x", *WHO), ("rebuild", "--projection=none")])
def test_what_is_refused_is_told_in_a_sentence(ledger, arguments):
    told = ledger.here("search", *arguments, code=2)

    assert "at character 1: the keys are type, " in told["detail"] or "search" in told["detail"]
    assert "erika" not in json.dumps(told)
