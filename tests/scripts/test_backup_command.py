# SPDX-License-Identifier: GPL-3.0-or-later
"""`sealtrail-server backup` as an operator types it: made, proved good, brought back."""

import json
import os
import shutil
import stat
from pathlib import Path

import psycopg
import pytest
from installation import ORIGIN, record

from ledger import clock

SECRET = "a password that nobody may read"


@pytest.fixture(scope="module")
def backed_up(ledger):
    """The installation with one backup, and two entries that were recorded after it."""
    ledger.backups = ledger.directory / "backups"
    ledger.made = ledger.here("backup", "make", str(ledger.backups))
    ledger.backup = Path(ledger.made["backup"])
    ledger.backed_up = ledger.made["books"][0]["size"]
    record(ledger)
    return ledger


def fresh_database(ledger):
    """The environment of the same installation with an empty database, same owner."""
    name = f"restored_{clock.random_bytes(4).hex()}"
    owner = ledger.environment["SEALTRAIL_OWNER_DATABASE_URL"]
    role = owner.partition("//")[2].partition("@")[0]
    with psycopg.connect(ledger.administrator, autocommit=True) as administrator:
        administrator.execute(f"CREATE DATABASE {name} OWNER {role}")
    database = owner.partition("?")[0].rpartition("/")[2]
    return {
        variable: ledger.environment[variable].replace(f"/{database}?", f"/{name}?")
        for variable in ("SEALTRAIL_OWNER_DATABASE_URL", "SEALTRAIL_DATABASE_URL")
    }


def test_a_backup_is_a_directory_of_its_own_that_only_its_maker_reads(backed_up):
    """Registry, entries, tiles; a manifest and its note; nothing that others may open."""
    names = {path.name for path in backed_up.backup.iterdir()}
    modes = {
        path.stat().st_mode & 0o077 for path in [backed_up.backup, *backed_up.backup.rglob("*")]
    }

    assert names == {"database", "manifest.json", "manifest.sig"}
    assert modes == {0}
    assert [one["book"] for one in backed_up.made["books"]] == ["acme", "acme-access"]
    assert backed_up.backed_up >= 2
    assert [path for path in backed_up.backups.iterdir() if path.name.endswith("partial")] == []


def test_verify_derives_every_root_again_and_says_how_old_the_backup_is(backed_up):
    """In a scratch server; and the present log is shown to begin with the same entries."""
    found = backed_up.here("backup", "verify", str(backed_up.backup))

    main = found["books"][0]
    assert (main["book"], main["size"], main["damage"]) == ("acme", backed_up.backed_up, [])
    assert main["root"] == backed_up.made["books"][0]["root"]
    assert main["signed"] >= backed_up.backed_up
    assert main["present"].endswith(
        " entries behind the newest checkpoint; the present log begins with the same entries"
    )
    assert int(main["present"].partition(" ")[0]) >= 2


def test_a_backup_comes_back_into_an_empty_database_and_the_ledger_goes_on(backed_up, tmp_path):
    """What was recorded since is named as lost, and only `restore --accept` opens the log again.

    The keystore is a copy: this installation goes on beside it.
    """
    here = fresh_database(backed_up) | copied_places(backed_up, tmp_path)
    passphrase = f"--escrow-passphrase-file={backed_up.directory / 'escrow-passphrase'}"

    back = backed_up.here("backup", "restore", str(backed_up.backup), code=3, **here)
    twice = backed_up.here("backup", "restore", str(backed_up.backup), code=2, **here)
    opened = backed_up.here(
        "restore", "--accept", f"--escrow-dir={tmp_path / 'escrow'}", passphrase, **here
    )["opened"]
    sound = backed_up.here("fsck", code=3, **here)["books"]

    assert {one["book"]: one["verdict"] for one in back["books"]} == {
        "acme": "behind", "acme-access": "extends",
    }  # fmt: skip
    assert all(one["damage"] == [] for one in back["books"])
    assert "empty" in twice["detail"]
    assert [(one["book"], one["origin"]) for one in opened] == [("acme", f"{ORIGIN}/i2")]
    assert [one["damage"] for one in sound] == [[], []]


def copied_places(ledger, directory):
    """Keystore, store and trust file of their own, as they are at this moment."""
    data = Path(ledger.environment["SEALTRAIL_DATA_DIR"])
    shutil.copytree(data, directory / "data", symlinks=True)
    store = Path(ledger.environment["SEALTRAIL_CHECKPOINT_STORE"])
    shutil.copytree(store, directory / "checkpoints")
    return {
        "SEALTRAIL_DATA_DIR": str(directory / "data"),
        "SEALTRAIL_CHECKPOINT_STORE": str(directory / "checkpoints"),
    }


def test_a_backup_is_not_made_beside_keys_or_checkpoints(backed_up):
    """What copies one would copy the other: keys into backups, or checkpoints back from them."""
    store = backed_up.environment["SEALTRAIL_CHECKPOINT_STORE"]
    keystore = Path(backed_up.environment["SEALTRAIL_DATA_DIR"]) / "keystore"

    for place in (store, f"{keystore}/backups", str(keystore.parent)):
        refused = backed_up.here("backup", "make", place, code=2)
        assert "must not share a directory" in refused["detail"]


def test_the_database_password_is_in_no_argument(backed_up, tmp_path, monkeypatch):
    """Every user of the machine reads arguments; a file of mode 0600 is read by its owner only."""
    seen = tmp_path / "seen"
    with psycopg.connect(backed_up.administrator) as connection:
        major = connection.info.server_version // 10_000
    (tmp_path / "bin").mkdir()
    for name in ("pg_dump", "pg_restore"):
        program = tmp_path / "bin" / name
        program.write_text(
            "#!/bin/sh\n"
            f'if [ "$1" = --version ]; then echo "{name} (PostgreSQL) {major}.0"; exit; fi\n'
            f'echo "$@" >> {seen}; stat -c %a "$PGSERVICEFILE" >> {seen}\n'
            f'grep -c "{SECRET}" "$PGSERVICEFILE" >> {seen}; exit 7\n'
        )
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    url = backed_up.environment["SEALTRAIL_OWNER_DATABASE_URL"]
    with_password = f"{url}&password={SECRET.replace(' ', '%20')}"

    failed = backed_up.here(
        "backup", "make", str(tmp_path / "out"), code=3, SEALTRAIL_OWNER_DATABASE_URL=with_password
    )

    arguments, mode, count = seen.read_text().splitlines()
    assert (mode, count) == ("600", "1")
    assert SECRET not in arguments
    assert failed["error"] == "dump-failed"
    assert SECRET not in json.dumps(failed)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]


def test_a_half_made_backup_is_none_and_the_next_one_clears_it_away(backed_up):
    """Killed while pg_dump wrote: the name says so, there is no manifest, nothing restores it."""
    left = backed_up.backups / ".2026-01-01T00-00-00.000Z.partial"
    (left / "database").mkdir(parents=True)

    refused = backed_up.here("backup", "verify", str(left), code=2)
    again = backed_up.here("backup", "make", str(backed_up.backups), "--jobs=2")

    assert refused["error"] == "backup-incomplete"
    assert not left.exists()
    assert Path(again["backup"]).exists()
    assert stat.S_IMODE(Path(again["backup"]).stat().st_mode) == 0o700


def storage(url):
    """How each table of the product keeps its large values."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT a.attrelid::regclass::text, a.attname, a.attstorage, a.attcompression"
            " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
            " WHERE c.relnamespace::regnamespace::text ~ '^(book_|sealtrail$)' AND a.attnum > 0"
            " AND c.relkind IN ('r', 'p')"
        )
        return sorted(rows.fetchall())


def test_a_restored_database_keeps_its_values_as_before(backed_up):
    """Where PostgreSQL has lz4 it is used again, though the dump also loads where it has none."""
    here = fresh_database(backed_up)

    backed_up.here("backup", "restore", str(backed_up.backup), code=3, **here)

    there = backed_up.environment["SEALTRAIL_OWNER_DATABASE_URL"]
    assert storage(here["SEALTRAIL_OWNER_DATABASE_URL"]) == storage(there)


def test_after_the_keys_moved_on_a_backup_needs_the_newest_sheet(backed_up, tmp_path):
    """Without it nothing is restored at all; beside the backups it is found by itself, and the
    vault takes it when the Book is opened anew.
    """
    backed_up.here("keys", "rotate", "wrapping", "--book=acme")
    here = fresh_database(backed_up) | copied_places(backed_up, tmp_path)
    passphrase = f"--escrow-passphrase-file={backed_up.directory / 'escrow-passphrase'}"
    accept = ("restore", "--accept", f"--escrow-dir={tmp_path / 'escrow'}", passphrase)

    hollow = backed_up.here("backup", "verify", str(backed_up.backup), code=3)["books"][0]
    refused = backed_up.here("backup", "restore", str(backed_up.backup), code=2, **here)
    with psycopg.connect(here["SEALTRAIL_OWNER_DATABASE_URL"]) as connection:
        left = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname ~ '^book'")
        empty = left.fetchone() == (0,)
    sheet = backed_up.here("backup", "keys", str(backed_up.backups))["sheet"]
    whole = backed_up.here("backup", "verify", str(backed_up.backup))["books"][0]
    restored = backed_up.here("backup", "restore", str(backed_up.backup), code=3, **here)
    without = backed_up.here(*accept, code=2, **here)
    backed_up.here(*accept, f"--key-sheet={sheet}", **here)
    sound = backed_up.here("fsck", "--full", code=3, **here)["books"]

    assert (hollow["damage"], hollow["lost_contents"] > 0) == ([], True)
    assert (refused["error"], empty) == ("sheet-missing", True)
    assert whole["lost_contents"] == 0
    assert (restored["key_sheet"], Path(sheet).parent) == (sheet, backed_up.backups)
    assert all(one["damage"] == [] for one in restored["books"])
    assert without["error"] == "sheet-missing"
    assert subjects(here) == subjects(backed_up.environment)
    assert [one["damage"] for one in sound] == [[], []]


def subjects(environment):
    """How each data subject of the main Book stands, and which generation wraps its key."""
    with psycopg.connect(environment["SEALTRAIL_OWNER_DATABASE_URL"]) as connection:
        query = "SELECT ref, state, generation, wrapped_key FROM book_acme.subject ORDER BY ref"
        return connection.execute(query).fetchall()
