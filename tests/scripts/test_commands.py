# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command of `sealtrail-server` as an operator runs it, in an installation for production.

The database has an owner that is no superuser, and the application role that owns nothing; keys,
passphrases, checkpoint store and authority are configured as docs/settings.md says.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from dev_ledger import HOUSE
from installation import KEYS, ORIGIN, install

from ledger import clock
from sealtrail.verify.trust import Trust

#: What these do in the database is asked of other servers by tests/anchoring, in this process.
once = pytest.mark.once
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be refused as root")


@pytest.fixture(scope="module")
def ledger(postgres, authority, tmp_path_factory):
    """An installation that was made by processes, each with nothing but its environment."""
    return install(postgres, authority, tmp_path_factory.mktemp("made"), processes=True)


def test_an_installation_is_made_by_four_commands(ledger):
    """Keys first, then the database, then the tenant's two Books, then a token for its pipeline."""
    said = ledger.said

    assert said["keys init"]["origins"] == [ORIGIN, f"{ORIGIN}/access"]
    assert len(said["migrate"]["applied"]) >= 1
    assert [book["name"] for book in said["init"]["books"]] == ["acme", "acme-access"]
    assert said["token"]["token"].startswith("st_pipeline_")
    assert said["token"]["credential"].startswith("cred_")


def test_keys_init_leaves_an_escrow_for_each_book_and_a_trust_file(ledger):
    for file in ledger.said["keys init"]["escrow"]:
        assert Path(file).stat().st_mode & 0o777 == 0o600
        assert Path(file).parent == ledger.directory / "escrow"
    trust = Trust.parse(Path(ledger.said["keys init"]["trust"]).read_bytes())
    assert set(trust.origins) == {ORIGIN, f"{ORIGIN}/access"}
    assert len(trust.tsa_roots) == 1


def test_out_of_order_a_command_says_what_comes_first(ledger):
    """`init` before `migrate`, and for a tenant whose keys nobody made."""
    assert ledger.said["too early"]["error"] == "refused"
    assert "migrate" in ledger.said["too early"]["detail"]

    keyless = ledger.here("init", "--tenant=other", "--origin=ledger.test/other", code=2)

    assert "keys init" in keyless["detail"]


def test_every_step_may_be_repeated(ledger):
    """Nothing is made twice: not a key, not an escrow, not a Book."""
    listed = ledger.here("keys", "list")["keys"]

    passphrase = ["--escrow-passphrase-file", str(ledger.directory / "escrow-passphrase")]
    again = ledger.here("keys", "init", *KEYS, str(ledger.directory / "escrow"), *passphrase)
    assert again["escrow"] == []
    assert ledger.here("migrate")["applied"] == []
    assert ledger.here("init", "--tenant=acme", f"--origin={ORIGIN}") == ledger.said["init"]
    assert ledger.here("keys", "list")["keys"] == listed
    moved = ledger.here("init", "--tenant=acme", "--origin=ledger.test/moved", code=2)
    assert moved["error"] in ("refused", "conflict")


def test_keys_are_listed_without_what_is_secret_in_them(ledger):
    keys = ledger.here("keys", "list")["keys"]

    logs = [key["name"] for key in keys if key["name"].startswith(("chain/", "log/"))]
    assert sorted(logs) == [
        f"chain/{ORIGIN}/0", f"chain/{ORIGIN}/access/0", f"log/{ORIGIN}", f"log/{ORIGIN}/access",
    ]  # fmt: skip
    for key in keys:
        assert set(key) == {"name", "kind", "driver", "exportable", "created", "note"}


def test_an_escrow_that_cannot_be_written_makes_no_key(ledger, tmp_path):
    """A chain key is escrowed once, when it is made: first it is seen that there is a place."""
    (tmp_path / "file").write_text("")
    environment = {"SEALTRAIL_DATA_DIR": str(tmp_path / "data")}
    passphrase = ["--escrow-passphrase-file", str(ledger.directory / "escrow-passphrase")]

    refused = ledger.here(
        "keys", "init", *KEYS, str(tmp_path / "file" / "escrow"), *passphrase, code=2, **environment
    )
    both = ledger.here(
        "keys", "init", *KEYS, str(tmp_path), *passphrase, "--auditor-key", "00" * 32, code=2,
        **environment,
    )  # fmt: skip

    assert refused["error"] == "file-refused"
    assert both["error"] == "refused"
    assert ledger.here("keys", "list", **environment)["keys"] == []


def test_a_token_is_shown_once_listed_by_its_id_and_revoked(ledger):
    issue = ["token", "issue", "--tenant=acme", "--role=auditor", "--name=auditor-2", "--person"]

    issued = ledger.here(*issue)
    before = ledger.here("token", "list", "--tenant=acme")["credentials"]
    ledger.here("token", "revoke", "--credential", issued["credential"])
    after = ledger.here("token", "list", "--tenant=acme")["credentials"]

    (row,) = [one for one in before if one["credential"] == issued["credential"]]
    assert (row["role"], row["kind"], row["name"]) == ("auditor", "person", "auditor-2")
    assert "revoked_at" not in row
    (row,) = [one for one in after if one["credential"] == issued["credential"]]
    assert row["revoked_at"].endswith("Z")
    assert issued["token"] not in json.dumps(before + after)


def test_the_name_of_a_revoked_credential_can_be_erased(ledger):
    """For one who asked for erasure: what stays is the random id, and no page has the name."""
    name = "dorothea-1871-at-the-desk"
    issue = ["token", "issue", "--tenant=acme", "--role=auditor", f"--name={name}", "--person"]
    of = ["--credential", ledger.here(*issue)["credential"]]

    used = ledger.here("token", "forget", *of, code=2)
    ledger.here("token", "revoke", *of)
    told = [ledger.here("token", "forget", *of) for _ in range(2)]
    after = ledger.here("token", "list", "--tenant=acme")["credentials"]

    assert used["error"] == "credential-in-use"
    assert told == [{"forgotten": of[1]}] * 2
    (row,) = [one for one in after if one["credential"] == of[1]]
    assert "name" not in row
    assert name not in json.dumps(after)


@once
def test_a_clock_is_confirmed_for_one_book_and_time(ledger):
    until = clock.rfc3339(clock.now_ms() + 86_400_000)

    confirmed = ledger.json("clock", "--book=acme", f"--until={until}")

    assert confirmed == {"book": "acme", "until": until}


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["clock", "--book=acme", "--until=tomorrow"], 2, "refused"),
        (["clock", "--book=nobody", "--until=2026-01-14T00:00:00.000Z"], 2, "not-found"),
        (["token", "revoke", "--credential=cred_none"], 2, "not-found"),
        (["token", "forget", "--credential=cred_none"], 2, "not-found"),
        (["token", "list", "--tenant=nobody"], 2, "not-found"),
        (["token", "issue", "--tenant=nobody", "--role=pipeline", "--name=x"], 2, "not-found"),
        (["token", "issue", "--tenant=acme", "--role=pipeline", "--name="], 2, "refused"),
        (["init", "--tenant=UPPER", f"--origin={ORIGIN}"], 2, "refused"),
        (["fsck", "--book=nobody"], 2, "not-found"),
        (["anchor", "now", "--book=nobody"], 2, "not-found"),
        (["fsck", "--data=/nonexistent"], 2, "refused"),
        (["packet", "build", "--book=acme", "--event=x", "--person=p", "--purpose=x", "--out=/x/y"],
         2, "malformed-event"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_a_sentence(ledger, arguments, code, error):
    said = ledger.here(*arguments, code=code)

    assert said["error"] == error
    assert said["detail"]


@pytest.mark.parametrize(
    ("changes", "code", "error"),
    [
        ({"SEALTRAIL_OWNER_DATABASE_URL": ""}, 2, "refused"),
        ({"SEALTRAIL_DATABASE_URL": ""}, 2, "setting-refused"),
        ({"SEALTRAIL_TSA_QOURUM": "1"}, 2, "setting-refused"),
        ({"SEALTRAIL_OWNER_DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}, 3, "ledger-unavailable"),
        ({"SEALTRAIL_ENVIRONMENT": "development", "SEALTRAIL_OWNER_DATABASE_URL": "app"}, 2,
         "database-refused"),
    ],
)  # fmt: skip
def test_a_bad_environment_is_told_by_name_and_never_by_value(ledger, changes, code, error):
    app = ledger.environment["SEALTRAIL_DATABASE_URL"]
    changes = {name: app if value == "app" else value for name, value in changes.items()}

    said = ledger.here("migrate", code=code, **changes)

    assert said["error"] == error
    assert "127.0.0.1" not in said["detail"]
    if error == "setting-refused":
        assert "SEALTRAIL_" in said["detail"]


@once
def test_anchor_stamps_tells_and_catches_up(ledger):
    now = ledger.json("anchor", "now", "--book=acme")
    status = ledger.here("anchor", "status")
    caught_up = ledger.here("anchor", "catch-up")

    (anchor,) = now["anchors"]
    assert (anchor["tokens"], anchor["missing"], anchor["recorded"]) == (["local"], [], True)
    rows = {row["book"]: row for row in status["books"]}
    assert rows["acme"]["anchored_size"] == anchor["size"]
    assert rows["acme"]["stamped"].endswith("Z")
    assert rows["acme-access"]["stamped"] is None
    assert caught_up == {"anchors": []}


def test_without_its_authority_an_anchor_waits(ledger):
    """Exit code 3: nothing is wrong, and something is missing. Ingest goes on meanwhile."""
    waiting = ledger.here(
        "anchor",
        "now",
        "--book=acme-access",
        code=3,
        SEALTRAIL_TSA_URLS="local=http://127.0.0.1:1/",
    )

    (anchor,) = waiting["anchors"]
    assert (anchor["tokens"], anchor["missing"], anchor["recorded"]) == ([], ["local"], False)


def test_doctor_finds_a_sound_installation_sound(ledger):
    checks = ledger.json("doctor")["checks"]

    assert {check["ok"] for check in checks} == {True}
    assert {check["check"] for check in checks} == {
        "packages", "database", "books", "archive", "trust", "separation", "authorities",
        "anchors",
    }  # fmt: skip


def test_doctor_refuses_the_owners_login_and_an_authority_that_is_silent(ledger):
    """What a server must not be: able to change its own tables; and a night that would fail."""
    owner = ledger.environment["SEALTRAIL_OWNER_DATABASE_URL"]
    checks = ledger.here(
        "doctor", code=3, SEALTRAIL_ENVIRONMENT="development", SEALTRAIL_DATABASE_URL=owner,
        SEALTRAIL_TSA_URLS="local=http://127.0.0.1:1/",
    )["checks"]  # fmt: skip

    failed = {check["check"]: check["found"] for check in checks if not check["ok"]}
    assert set(failed) >= {"database", "authorities"}
    assert {check["check"] for check in checks if check["ok"]} >= {"packages", "trust"}
    assert "owner" in failed["database"]


def test_doctor_ends_with_refuted_when_the_checkpoint_store_is_another_one(ledger, tmp_path):
    """An empty store is not a new one: somebody mounted the wrong directory, or cleared it."""
    checks = ledger.here("doctor", code=1, SEALTRAIL_CHECKPOINT_STORE=str(tmp_path))["checks"]

    failed = {check["check"]: check["found"] for check in checks if not check["ok"]}
    assert failed["books"].startswith("checkpoint-missing")


@once
def test_fsck_finds_sound_what_is_sound(ledger):
    """With the escrowed first keys every epoch is checked, and nothing is left unchecked."""
    found = ledger.json(
        "fsck", "--full", "--chain-escrow", str(ledger.directory / "escrow"),
        "--escrow-passphrase-file", str(ledger.directory / "escrow-passphrase"),
    )  # fmt: skip

    books = {book["book"]: book for book in found["books"]}
    assert set(books) == {"acme", "acme-access"}
    assert all(book["damage"] == [] and book["not_checked"] == [] for book in books.values())
    assert books["acme"]["size"] >= 2


@once
def test_fsck_ends_with_refuted_and_names_the_position(ledger):
    """An administrator of the database changed a byte of the first entry."""
    with psycopg.connect(ledger.administrator, autocommit=True) as administrator:
        administrator.execute("SET session_replication_role = replica")
        change = (
            "UPDATE book_acme.entry_body SET bytes = set_byte(bytes, 40, %s) WHERE position = 0"
        )
        before = administrator.execute(
            "SELECT get_byte(bytes, 40) FROM book_acme.entry_body WHERE position = 0"
        ).fetchone()[0]
        administrator.execute(change, (before ^ 1,))
        try:
            found = ledger.here("fsck", "--book=acme", code=1)
            plain = ledger.run("fsck", "--book=acme")
        finally:
            administrator.execute(change, (before,))

    assert found["books"][0]["first"]["position"] == 0
    assert plain.returncode == 1
    assert "position 0" in plain.stdout


@once
def test_a_packet_is_built_and_verified(ledger):
    """By one who says who they are and why; the trust file comes from outside the packet."""
    directory, receipts = ledger.directory, ledger.receipts
    shown = {one["event_id"]: one["disclosures"] for one in receipts}
    (directory / "shown.json").write_text(json.dumps(shown))
    events = [part for one in receipts for part in ("--event", one["event_id"])]
    packet, trust = directory / "packet.zip", ledger.said["keys init"]["trust"]
    ledger.here("anchor", "now", "--book=acme")

    built = ledger.json(
        "packet", "build", "--book=acme", *events, "--disclosures", str(directory / "shown.json"),
        "--person=auditor-1", "--purpose=incident-42", "--out", str(packet),
    )  # fmt: skip
    verified = ledger.run("packet", "verify", str(packet), "--trust", trust, "--json")
    alone = ledger.run("packet", "verify", str(packet))

    assert built["records"] == 2
    assert packet.stat().st_mode & 0o777 == 0o600
    assert (verified.returncode, json.loads(verified.stdout)["verdict"]) == (0, "verified")
    assert alone.returncode == 3
    assert "incomplete" in alone.stdout


@as_root
@pytest.mark.parametrize("process", ["serve", "scheduler"])
def test_no_server_of_production_runs_as_root(ledger, process):
    refused = ledger.here(process, code=2)

    assert "root" in refused["detail"]


@as_root
def test_serve_never_runs_as_root_not_even_in_development(ledger):
    refused = ledger.here("serve", code=2, SEALTRAIL_ENVIRONMENT="development")

    assert "root" in refused["detail"]


@pytest.mark.skipif(os.geteuid() == 0, reason="serve refuses root")
def test_serve_prints_its_address_and_ends_when_told(ledger):
    assert lines_until_told(ledger, "serve", "--json")[0]["api"].startswith("http://127.0.0.1:")


@once
def test_the_scheduler_starts_and_ends_when_told(ledger):
    environment = {"SEALTRAIL_ENVIRONMENT": "development"}

    assert lines_until_told(ledger, "scheduler", "--json", **environment) == [
        {"scheduler": "started"}
    ]


def lines_until_told(ledger, *arguments, **changes):
    """Start a process, read the first line it prints, tell it to stop; it must end with 0."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.cli", *arguments],
        cwd=HOUSE, env={**os.environ, **ledger.environment, **changes},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    first = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    rest, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return [json.loads(line) for line in (first + rest).splitlines()]
