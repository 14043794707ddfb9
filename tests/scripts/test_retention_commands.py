# SPDX-License-Identifier: GPL-3.0-or-later
"""`retention` as an operator types it: an owner that is no superuser, a login that owns nothing."""

import json

import pytest
from retention_world import policy


@pytest.fixture
def document(tmp_path):
    """A policy in a file."""

    def write(**changes):
        path = tmp_path / "policy.json"
        path.write_text(json.dumps(policy(**changes), indent=2), "utf-8")
        return str(path)

    return write


def test_a_policy_is_published_planned_swept_and_shown(ledger, document):
    """Every step says what it did; partitions are made by a login that owns no table."""
    published = ledger.here("retention", "publish", document())["published"]
    plan = ledger.here("retention", "plan", "--book=acme")["books"]
    steps = ledger.here("retention", "sweep")["steps"]
    again = ledger.here("retention", "sweep")["steps"]
    status = {row["book"]: row for row in ledger.here("retention", "status")["books"]}

    assert {row["book"] for row in published} == {"acme", "acme-access"}
    assert [row["policy"] for row in plan] == ["acme-retention/1"]
    assert {step["what"] for step in steps} == {"partition"}
    assert again == []
    assert status["acme"]["policy"] == "acme-retention/1"
    assert (status["acme"]["cold"], status["acme"]["expired"]) == (0, 0)


def test_a_policy_below_the_law_is_refused_and_so_is_one_out_of_turn(ledger, document):
    """Exit code 2, the rule by name, and nothing recorded."""
    below = ledger.here("retention", "publish", document(version=2, months=5), code=2)
    turn = ledger.here("retention", "publish", document(version=7), code=2)

    assert below["error"] == "malformed-event"
    assert turn["error"] == "policy-conflict"


def test_what_is_not_cold_costs_a_retrieval_nothing(ledger):
    """It is done at once, and an entry that is not there is refused."""
    done = ledger.here("retention", "retrieve", "0", "2", "--book=acme")
    beyond = ledger.here("retention", "retrieve", "0", "99999", "--book=acme", code=2)

    assert (done["state"], done["done"], done["total"]) == ("done", 2, 2)
    assert beyond["error"] in {"not-found", "malformed-event"}


def test_fsck_with_the_archive_finds_nothing_wrong(ledger):
    """`--cold` on a ledger without cold entries is fsck."""
    said = ledger.here(
        "fsck", "--cold", f"--chain-escrow={ledger.directory / 'escrow'}",
        f"--escrow-passphrase-file={ledger.directory / 'escrow-passphrase'}",
    )  # fmt: skip

    assert [(book["damage"], book["cold"], book["expired"]) for book in said["books"]] == [
        ([], 0, 0)
    ] * 2
