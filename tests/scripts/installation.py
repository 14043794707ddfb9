# SPDX-License-Identifier: GPL-3.0-or-later
"""An installation for production: owner and application role, keys, a store, an authority."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from dev_ledger import command
from house import attempt, gen
from typer.testing import CliRunner

from ledger import clock
from ledger.request import Identity, prepare
from ledger.settings import Settings
from scripts import cli
from scripts.assembly import open_ledger

ORIGIN = "ledger.test/acme"
KEYS = (f"--origin={ORIGIN}", "--escrow-dir")


@dataclass
class Installation:
    """A ledger for production: its environment, and what the commands said that made it."""

    directory: Path
    administrator: str
    environment: dict[str, str]
    said: dict[str, dict] = field(default_factory=dict)
    receipts: list[dict] = field(default_factory=list)

    def run(self, *arguments, **changes):
        return command(*arguments, **{**self.environment, **changes})

    def json(self, *arguments, code=0, **changes):
        """Run a command with --json; its exit code must be `code`, its output one document."""
        done = self.run(*arguments, "--json", **changes)
        assert done.returncode == code, done.stdout[-500:] + done.stderr[-500:]
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout)

    def here(self, *arguments, code=0, **changes):
        """The same in this process, without a second of start-up."""
        environment = {**self.environment, **changes}
        done = CliRunner().invoke(cli.app, [*arguments, "--json"], env=environment)
        assert done.exit_code == code, done.output[-500:]
        return json.loads(done.stdout)


def install(postgres, authority, directory, *, pin=None, processes=False, **changes):
    """What docs/operations.md has an operator type, one command after the other.

    processes: whether each command is a process, as an operator's are; it takes two seconds more.
    """
    name = f"commands_{clock.random_bytes(4).hex()}"
    with psycopg.connect(postgres.url(), autocommit=True) as administrator:
        administrator.execute(f"CREATE ROLE {name} LOGIN CREATEROLE")
        administrator.execute(f"CREATE DATABASE {name} OWNER {name}")
        # Roles belong to the server: those that another installation here has made are shared.
        for (role,) in administrator.execute(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE 'book\\_acme%'"
        ).fetchall():
            administrator.execute(f"GRANT {role} TO {name} WITH ADMIN OPTION")
    for file in ("passphrase", "escrow-passphrase"):
        (directory / file).write_bytes(b"correct horse battery staple\n")
        (directory / file).chmod(0o600)
    if pin is not None:
        (directory / "passphrase").write_bytes(pin)
    (directory / "roots.pem").write_text(authority.root_pem, "ascii")
    made = Installation(
        directory=directory,
        administrator=postgres.url(dbname=name),
        environment={
            "SEALTRAIL_ENVIRONMENT": "production",
            "SEALTRAIL_DATABASE_URL": postgres.url(user="sealtrail_app", dbname=name),
            "SEALTRAIL_OWNER_DATABASE_URL": postgres.url(user=name, dbname=name),
            "SEALTRAIL_DATA_DIR": str(directory / "data"),
            "SEALTRAIL_CHECKPOINT_STORE": str(directory / "checkpoints"),
            "SEALTRAIL_KEYSTORE_PASSPHRASE_FILE": str(directory / "passphrase"),
            "SEALTRAIL_TSA_URLS": f"local={authority.url}",
            "SEALTRAIL_TSA_ROOTS": str(directory / "roots.pem"),
            "SEALTRAIL_PORT": "0",
            **changes,
        },
    )
    said = made.said
    run = made.json if processes else made.here
    said["too early"] = made.here("init", "--tenant=acme", f"--origin={ORIGIN}", code=2)
    said["keys init"] = run(
        "keys",
        "init",
        *KEYS,
        str(directory / "escrow"),
        "--escrow-passphrase-file",
        str(directory / "escrow-passphrase"),
    )
    said["migrate"] = run("migrate")
    said["init"] = run("init", "--tenant=acme", f"--origin={ORIGIN}")
    said["token"] = run("token", "issue", "--tenant=acme", "--role=pipeline", "--name=renderer")
    made.receipts = record(made)
    return made


def record(made, **changes):
    """Record an attempt and its outcome, as a server process does."""
    identity = Identity(
        credential="cred_test", tenant="acme", role="pipeline", kind="pipeline", name="renderer"
    )
    first = attempt(**changes)
    requests = [first, gen(first["aggregate_id"], **changes)]
    with open_ledger(Settings.from_environment(made.environment)) as opened:
        prepared = [
            prepare(one, identity, received_ms=clock.now_ms(), pipelines=frozenset())
            for one in requests
        ]
        opened.shelf.book("acme").record(prepared).result(timeout=30)
    return [{"event_id": one.event_id, "disclosures": dict(one.disclosures)} for one in prepared]
