# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole ledger on one machine with one command: NOT FOR PRODUCTION.

Database, keys, time-stamp authority, API and scheduler, all below one directory. It is the real
thing at every step but for its trust: keys, passphrase, escrow, database and checkpoint store lie
side by side, and the authority is a local one that nobody else has reason to believe.
"""

import contextlib
import json
import os
import signal
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from anchoring.authority import LocalAuthority, make_authority
from ledger import access, clock, durable
from ledger.database import Connection, connect
from ledger.embedded import EmbeddedPostgres
from ledger.keys import EscrowPassphrase
from ledger.migrate import migrate
from ledger.settings import Settings
from scripts.assembly import (
    authorities,
    confirm_clock,
    make_keys,
    make_tenant,
    open_keystore,
    open_ledger,
    open_store,
    origins_of,
    publish_trust,
    trust_of,
)
from scripts.beside import Beside
from scripts.configure import DEV_FILE, log_to_stderr
from scripts.serve import bind, check_server, serve, where

TENANT: Final = "dev"
ORIGIN: Final = "localhost/dev"
WARNING: Final = "NOT FOR PRODUCTION"
PERSON: Final = "auditor-1"
PIPELINE: Final = "dev-pipeline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Where a development ledger answers."""

    api: str
    tsa: str
    data: Path

    def json(self) -> dict[str, str]:
        return {
            "warning": WARNING,
            "api": self.api,
            "tsa": self.tsa,
            "data": str(self.data),
            "tokens": str(self.data / "tokens.json"),
            "trust": str(self.data / "trust.json"),
        }


def run(data: Path, *, host: str, port: int, announce: Callable[[Running], None]) -> None:
    """Run the ledger in `data` until told to stop; `announce(Running)` once it answers."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    data = data.resolve()
    # Told to stop while it starts, it still stops what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.ExitStack() as stack:
        scheduler = stack.enter_context(contextlib.closing(Beside()))  # First: it is forked.
        tsa = stack.enter_context(_authority(data))
        postgres = stack.enter_context(EmbeddedPostgres(data / "postgres"))
        variables = _variables(data, postgres, tsa, host=host, port=port)
        settings = Settings.from_environment(variables)
        log_to_stderr(settings)
        with connect(postgres.url()) as owner:
            _prepare(settings, owner, data)
        ledger = stack.enter_context(open_ledger(settings))
        check_server(ledger)
        listener = bind(host, port)
        stack.callback(listener.close)
        running = Running(api=where(host, listener), tsa=tsa.url, data=data)
        scheduler.start(variables)
        stack.callback(scheduler.stop)
        serve(ledger, listener, ready=lambda: announce(running))


@contextlib.contextmanager
def _authority(data: Path) -> Iterator[LocalAuthority]:
    directory = data / "tsa"
    if not (directory / "root.pem").exists():
        make_authority(directory)
    authority = LocalAuthority(directory)
    authority.start()
    try:
        yield authority
    finally:
        authority.stop()


def _variables(
    data: Path, postgres: EmbeddedPostgres, tsa: LocalAuthority, *, host: str, port: int
) -> dict[str, str]:
    """Make the settings, and leave them beside the data for the other commands."""
    passphrase = data / "passphrase"
    for path in (passphrase, data / "escrow" / "passphrase"):
        if not path.exists():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            durable.write_durably(path, urlsafe_b64encode(clock.random_bytes(32)), mode=0o600)
    variables = {
        "SEALTRAIL_ENVIRONMENT": "development",
        "SEALTRAIL_DATABASE_URL": postgres.url(user="sealtrail_app"),
        "SEALTRAIL_OWNER_DATABASE_URL": postgres.url(),
        "SEALTRAIL_DATA_DIR": str(data),
        "SEALTRAIL_KEYSTORE_PASSPHRASE_FILE": str(passphrase),
        "SEALTRAIL_CHAIN_ESCROW": str(data / "escrow"),
        "SEALTRAIL_TSA_URLS": f"local={tsa.url}",
        "SEALTRAIL_TSA_ROOTS": str(data / "tsa" / "root.pem"),
        "SEALTRAIL_HOST": host,
        "SEALTRAIL_PORT": str(port),
    }
    durable.write_durably(data / DEV_FILE, json.dumps(variables).encode(), mode=0o600)
    settable = (
        "SEALTRAIL_LOG_LEVEL",
        "SEALTRAIL_ATTEMPT_DEADLINE_S",
        "SEALTRAIL_EPOCH_ENTRIES",
        "SEALTRAIL_CHECKERS",
    )
    return variables | {name: os.environ[name] for name in settable if name in os.environ}


def _prepare(settings: Settings, owner: Connection, data: Path) -> None:
    """Make keys, escrow, trust file, Books and tokens: what is there already stays."""
    keys = open_keystore(settings)
    escrow = EscrowPassphrase(passphrase=(data / "escrow" / "passphrase").read_bytes().strip())
    for origin, sealed in make_keys(keys, ORIGIN, escrow).items():
        name = durable.safe_name(origin) + ".json"
        durable.write_durably(data / "escrow" / name, sealed, mode=0o600)
    roots = [root for authority in authorities(settings) for root in authority.roots]
    publish_trust(settings.trust_file, trust_of(keys, origins_of(ORIGIN), roots))
    for _ in migrate(owner):
        pass
    store = open_store(settings, keys)
    for row in make_tenant(owner, keys, store, tenant=TENANT, origin=ORIGIN):
        confirm_clock(owner, row.name, clock.now_ms() + clock.DAY_MS)
    tokens = data / "tokens.json"
    if not tokens.exists():
        made = {
            "warning": WARNING,
            "pipeline": access.issue(
                owner, tenant=TENANT, role="pipeline", kind="pipeline", name=PIPELINE
            ),
            "auditor": access.issue(
                owner, tenant=TENANT, role="auditor", kind="person", name=PERSON
            ),
        }
        durable.write_durably(tokens, json.dumps(made, indent=1).encode() + b"\n", mode=0o600)
