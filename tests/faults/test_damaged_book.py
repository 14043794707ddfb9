# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the fault matrix: one tenant's Book contradicts itself, and there are others."""

import contextlib
import json
from dataclasses import dataclass

import httpx2
import pytest
from administrator import administrator
from dev_ledger import _process
from house import AUDITOR, PASSPHRASE, X25519PrivateKey, attempt, house_in
from typer.testing import CliRunner

from ledger import access
from ledger.database import connect
from ledger.keys import AuditorKey
from scripts import cli
from scripts.assembly import make_keys, make_tenant

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

DEPENDENCY = "Books"

#: What `serve` does, but for its refusal of root, as whom the tests may run.
SERVE = """
from scripts.assembly import open_ledger
from scripts.configure import log_to_stderr, settings_from
from scripts.serve import bind, check_server, serve
settings = settings_from(None)
log_to_stderr(settings)
with open_ledger(settings) as ledger:
    check_server(ledger)
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    serve(ledger, listener, ready=lambda: print(f"http://127.0.0.1:{port}", flush=True))
"""


@dataclass
class Server:
    url: str
    tokens: dict[str, str]

    def post(self, tenant):
        headers = {"authorization": f"Bearer {self.tokens[tenant]}"}
        return httpx2.post(f"{self.url}/v1/events", json=attempt(), headers=headers, timeout=30)

    def get(self, path):
        return httpx2.get(self.url + path, timeout=30)


@pytest.fixture
def house(own_database, tmp_path):
    """Two tenants in one database, with one keystore and one checkpoint store."""
    with house_in(own_database, tmp_path) as made, connect(own_database.url()) as owner:
        key = X25519PrivateKey.from_private_bytes(AUDITOR).public_key().public_bytes_raw()
        make_keys(made.keys, "ledger.test/sound", AuditorKey(public_key=key))
        make_tenant(owner, made.keys, made.store, tenant="sound", origin="ledger.test/sound")
        made.post(attempt())
        yield made


def environment(house):
    """The settings of a server over all of a house's Books."""
    passphrase = house.directory / "passphrase"
    passphrase.write_bytes(PASSPHRASE)
    passphrase.chmod(0o600)
    return {
        "SEALTRAIL_DATABASE_URL": house.app_url,
        "SEALTRAIL_DATA_DIR": str(house.directory),
        "SEALTRAIL_KEYSTORE_PASSPHRASE_FILE": str(passphrase),
    }


@contextlib.contextmanager
def served(house, said):
    """Run a server process over all of a house's Books."""
    tokens = {house.tenant: house.token()}
    with connect(house.owner_url) as owner:
        tokens["sound"] = access.issue(
            owner, tenant="sound", role="pipeline", kind="pipeline", name="renderer"
        )
    with _process(["-c", SERVE], said, environment(house)) as (_, line):
        yield Server(url=line.strip(), tokens=tokens)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("UPDATE {b}.head SET tag = sha256('x')", "head-forged"),
        ("ALTER TABLE {b}.head RENAME TO elsewhere", "internal-error"),
    ],
)
def test_a_book_that_contradicts_itself_when_the_server_starts(house, tmp_path, damage, problem):
    """One tenant's head row was forged, or its table is gone, before the server starts.

    Kind: damage
    Ingest: stopped for this Book; goes on for every other tenant
    Lost: nothing
    Operator: CRITICAL in the log, `refused` in `/readyz`, `sealtrail_book_unopened`; its requests
        are answered with what is wrong, and recorded again as soon as it is put right
    """
    said = tmp_path / "said"
    with administrator(house) as admin:
        admin.do("CREATE TABLE public.kept AS SELECT tag FROM {b}.head")
        admin.do(damage)
        with served(house, said) as server:
            sound, harmed = server.post("sound"), server.post(house.tenant)
            ready, metrics = server.get("/readyz"), server.get("/metrics").text
            if problem == "head-forged":
                admin.do("UPDATE {b}.head SET tag = (SELECT tag FROM public.kept)")
            else:
                admin.do("ALTER TABLE {b}.elsewhere RENAME TO head")
            again, green = server.post(house.tenant), server.get("/readyz").json()

    assert (sound.status_code, harmed.status_code, again.status_code) == (201, 500, 201)
    assert harmed.json()["code"] == problem
    assert (ready.status_code, ready.json()["refused"]) == (200, {house.tenant: problem})
    assert green == {"status": "ready"}
    assert f'sealtrail_book_unopened{{book="{house.tenant}"}} 1' in metrics
    assert f"CRITICAL sealtrail.serve {house.tenant} is not served" in said.read_text()


def test_a_book_that_contradicts_itself_while_nobody_asks(house):
    """One tenant's head row was forged, and an operator looks whether all is well.

    Kind: damage
    Ingest: goes on for every other tenant
    Lost: nothing
    Operator: `doctor` names the Book and ends with 1
    """
    with administrator(house) as admin:
        admin.do("UPDATE {b}.head SET tag = sha256('x')")

    done = CliRunner().invoke(cli.app, ["doctor", "--json"], env=environment(house))

    found = {check["check"]: check for check in json.loads(done.stdout)["checks"]}
    assert (done.exit_code, found["books"]["ok"]) == (1, False)
    assert f"({house.tenant}: head-forged)" in found["books"]["found"]
