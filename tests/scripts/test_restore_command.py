# SPDX-License-Identifier: GPL-3.0-or-later
"""`sealtrail-server restore` as an operator types it after a backup was brought back."""

import json
from pathlib import Path

import psycopg
import pytest
from house import attempt
from installation import ORIGIN, install
from restoring import Backup

from anchoring.receipt import receipt_of
from ledger import clock
from ledger.embedded import EmbeddedPostgres
from ledger.request import Identity, prepare
from ledger.settings import Settings
from scripts.assembly import open_ledger
from sealtrail.verify.trust import Trust


@pytest.fixture(scope="module")
def restored(authority, tmp_path_factory):
    """An installation whose main Book lost its last two entries, and receipts on file.

    In a server of its own: the roles of a Book named acme belong to another installation's owner.
    """
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres") / "data") as postgres:
        ledger = install(postgres, authority, tmp_path_factory.mktemp("restored"))
        with psycopg.connect(ledger.administrator, autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            kept = record(ledger, 1)
            backup = Backup(connection, "book_acme", "acme")
            lost = record(ledger, 2)
            backup.restore()
        ledger.files = []
        for number, receipt in enumerate([*kept, *lost]):
            path = ledger.directory / f"receipt-{number}.json"
            path.write_text(json.dumps(receipt.json()))
            ledger.files.append(path)
        yield ledger


def record(ledger, count):
    identity = Identity(
        credential="cred_test", tenant="acme", role="pipeline", kind="pipeline", name="renderer"
    )
    with open_ledger(Settings.from_environment(ledger.environment)) as opened:
        book = opened.shelf.book("acme")
        prepared = [
            prepare(attempt(), identity, received_ms=clock.now_ms(), pipelines=frozenset())
            for _ in range(count)
        ]
        outcomes = book.record(prepared).result(timeout=30)
        return [receipt_of(book, outcome, {}) for outcome in outcomes]


def test_an_operator_looks_accepts_and_answers_for_old_receipts(restored):
    """Four steps: what is wrong, what would have to be said, the restore, and each receipt. The
    escrow of the new chain key and the trust file lie where the old ones are.
    """
    escrow = restored.directory / "escrow"
    passphrase = f"--escrow-passphrase-file={restored.directory / 'escrow-passphrase'}"
    sealing = (f"--escrow-dir={escrow}", passphrase)

    found = restored.here("restore", code=3)["books"]
    served = restored.here("doctor", code=1)
    incomplete = restored.here("restore", "--accept", code=2)
    opened = restored.here("restore", "--accept", "--reason=incident-42", *sealing)
    again = restored.here("restore", "--accept", "--book=acme", *sealing, code=2)
    receipts = restored.here(
        "restore", *(f"--check-receipt={path}" for path in restored.files), code=3
    )["receipts"]
    fsck = restored.here("fsck", f"--chain-escrow={escrow}", passphrase)["books"]

    assert [(one["book"], one["verdict"]) for one in found] == [
        ("acme", "behind"), ("acme-access", "extends"),
    ]  # fmt: skip
    assert (found[0]["orphaned"], found[0]["next_origin"]) == ([3, 5], f"{ORIGIN}/i2")
    assert "restore --accept" in json.dumps(served)
    assert "--escrow" in incomplete["detail"]
    (one,) = opened["opened"]
    assert (one["book"], one["origin"], one["old_origin"]) == ("acme", f"{ORIGIN}/i2", ORIGIN)
    assert one["checkpoint_now"].startswith(f"{ORIGIN}/i2\n4\n")
    assert again["error"] == "nothing-wrong"
    assert [one["verdict"] for one in receipts] == [
        "in the log", "orphaned by restore", "orphaned by restore",
    ]  # fmt: skip
    assert receipts[1]["signed"].startswith(f"{ORIGIN}\n")
    assert receipts[1]["present"].startswith(f"{ORIGIN}/i2\n4\n")
    assert {(one["origin"], len(one["damage"]), len(one["not_checked"])) for one in fsck} == {
        (f"{ORIGIN}/i2", 0, 0), (f"{ORIGIN}/access", 0, 0),
    }  # fmt: skip
    trust = Trust.parse(Path(opened["trust"]).read_bytes())
    assert set(trust.origins) == {ORIGIN, f"{ORIGIN}/access", f"{ORIGIN}/i2"}
    assert len(list(escrow.glob("*.json"))) == 3


def test_what_made_the_ledger_may_be_repeated_after_a_restore(restored):
    """`keys init` and `init` name the first origin, as they did before; nothing is made again."""
    escrow = restored.directory / "escrow"
    before = restored.here("keys", "list")["keys"]

    again = restored.here(
        "keys", "init", f"--origin={ORIGIN}", f"--escrow-dir={escrow}",
        f"--escrow-passphrase-file={restored.directory / 'escrow-passphrase'}",
    )  # fmt: skip
    made = restored.here("init", "--tenant=acme", f"--origin={ORIGIN}")

    assert again["escrow"] == []
    assert f"{ORIGIN}/i2" in again["origins"]
    assert made["books"][0]["origin"] == f"{ORIGIN}/i2"
    assert restored.here("keys", "list")["keys"] == before
