# SPDX-License-Identifier: GPL-3.0-or-later
"""`sealtrail-server attack`: the corpus against a scratch copy; the ledger stays as it is."""

import json
import os
import subprocess
import sys
from hashlib import sha256

import pytest
from administrator import TABLES, administrator
from attack_story import story
from house import PASSPHRASE, attempt
from repository import HOUSE
from typer.testing import CliRunner

from anchoring.night import Night
from evidence.attack.campaign import CORPUS
from scripts import cli

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

#: `sealtrail-server` with a fsck that looks at no MAC any more.
SABOTAGED = """
from anchoring.chain_walk import ChainWalk
def step(self, position, leaf, stored_mac):
    self.mac = stored_mac
    return True
ChainWalk.step = step
from scripts.cli import main
main()
"""


@pytest.fixture
def ledger(noon, authority):
    """Two days with something of everything but a full tile; the first day's key is destroyed."""
    house = noon
    night = Night(house.book, [authority.authority()])
    house.post(*story())
    night.interim()
    house.now_ms.move(days=1)
    house.post(attempt(), *story("another"))
    night.interim()
    passphrase = house.directory / "passphrase"
    passphrase.write_bytes(PASSPHRASE)
    passphrase.chmod(0o600)
    (house.directory / "roots.pem").write_text(authority.root_pem, "ascii")
    house.environment = {
        "SEALTRAIL_ENVIRONMENT": "production",
        "SEALTRAIL_DATABASE_URL": house.app_url,
        "SEALTRAIL_DATA_DIR": str(house.directory),
        "SEALTRAIL_KEYSTORE": str(house.directory / "keystore"),
        "SEALTRAIL_CHECKPOINT_STORE": str(house.directory / "checkpoints"),
        "SEALTRAIL_KEYSTORE_PASSPHRASE_FILE": str(passphrase),
        "SEALTRAIL_TSA_URLS": f"local={authority.url}",
        "SEALTRAIL_TSA_ROOTS": str(house.directory / "roots.pem"),
    }
    return house


def run(ledger, *arguments, code=0):
    done = CliRunner().invoke(cli.app, ["attack", *arguments], env=ledger.environment)
    assert done.exit_code == code, done.output[-2000:]
    return done


def everything(ledger):
    """A digest of every row of both Books, and of every file beside them."""
    found = {}
    with ledger.owner() as owner:
        for schema in (ledger.schema, f"{ledger.schema}_access"):
            for table in TABLES:
                text = owner.execute(f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text))"
                                     f" FROM {schema}.{table} t").fetchone()  # fmt: skip
                found[schema, table] = text
    for path in ledger.directory.rglob("*"):
        if path.is_file():
            found[path] = sha256(path.read_bytes()).digest()
    return found


def test_every_attack_on_a_sound_ledger_is_caught_and_it_stays_as_it_is(ledger):
    """All of the corpus; what cannot be tried says why; no row and no file of it changes."""
    before = everything(ledger)

    done = run(ledger, f"--book={ledger.tenant}", "--json")

    said = json.loads(done.stdout)
    (book,) = said["books"]
    states = {one["attack"]: one["state"] for one in book["attacks"]}
    assert states.keys() == {one.name for one in CORPUS}
    assert {name for name, state in states.items() if state != "caught"} == {"tile-rewritten"}
    assert (said["caught"], said["missed"], said["not_applicable"]) == (len(CORPUS) - 1, 0, 1)
    (tile,) = [one for one in book["attacks"] if one["attack"] == "tile-rewritten"]
    assert tile["not_applicable"] == "the log has no full tile of 256 entries yet"
    assert everything(ledger) == before


def test_a_defence_that_was_taken_away_is_missed(ledger):
    """A fsck that believes every MAC: what only the chain shows is reported, and ends with 1."""
    names = ("mac-changed", "signatures-stripped", "topic-names-a-module")
    done = subprocess.run(
        [sys.executable, "-c", SABOTAGED, "attack", f"--book={ledger.tenant}",
         *(f"--only={name}" for name in names)],
        check=False, capture_output=True, cwd=HOUSE, env={**os.environ, **ledger.environment},
        text=True, timeout=120,
    )  # fmt: skip

    assert done.returncode == 1, done.stdout + done.stderr
    lines = {line.split()[1]: line for line in done.stdout.splitlines() if line.startswith("  ")}
    assert "MISSED" in lines["mac-changed"]
    assert "NOT by fsck:mac" in lines["mac-changed"]
    assert "MISSED" in lines["signatures-stripped"]
    assert "caught" in lines["topic-names-a-module"]
    assert "1 caught, 2 missed, 0 not applicable" in done.stdout


def test_a_ledger_that_is_damaged_already_is_refuted_before_any_attack(ledger):
    """Whatever complains before proves nothing about attacks."""
    with administrator(ledger) as admin:
        admin.do("UPDATE {b}.entry SET topic = 'GEN/1' WHERE position = 1")

    done = run(ledger, f"--book={ledger.tenant}", "--json", code=1)

    said = json.loads(done.stdout)
    assert said["error"] == "integrity-violation"
    assert "before any attack, fsck:column says: at position 1" in said["detail"]


def test_fsck_examines_a_book_that_cannot_be_opened(ledger):
    """Whoever finds `head-forged` in the log is sent to fsck, and has to hear more than that."""
    with administrator(ledger) as admin:
        admin.forge(lambda at, value: value["actor"].pop("credential") if at == 1 else None,
                    chain=None)  # fmt: skip

    done = CliRunner().invoke(
        cli.app, ["fsck", f"--book={ledger.tenant}", "--json"], env=ledger.environment
    )

    (report,) = json.loads(done.stdout)["books"]
    assert done.exit_code == 1
    assert {"head", "anchor"} <= {one["what"] for one in report["damage"]}
    assert "cannot be opened: head-forged" in done.stderr


def test_what_does_not_exist_is_refused(ledger):
    """A typing error must not look like a ledger on which nothing was missed."""
    assert "no attack" in run(ledger, "--only=everything", code=2).stderr
    assert "no Book" in run(ledger, "--book=nobody", code=2).stderr
