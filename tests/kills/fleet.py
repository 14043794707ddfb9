# SPDX-License-Identifier: GPL-3.0-or-later
"""A ledger of two tenants under a supervisor: PostgreSQL, two servers, and whoever kills them.

The supervisor does what systemd does with `Restart=always`: what dies is started again by the same
command, and nothing else is done. Kills are SIGKILL: nobody is asked, nothing is cleaned up.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg

from ledger import access
from ledger.database import connect
from ledger.embedded import EmbeddedPostgres
from ledger.embedded_user import EmbeddedUnavailable
from ledger.escrow import open_with_passphrase
from ledger.keys import EscrowPassphrase
from ledger.migrate import migrate
from ledger.settings import Settings
from scripts.assembly import make_keys, make_tenant, open_keystore, open_store, origins_of, trust_of

ROOT = Path(__file__).resolve().parents[2]
TENANTS = ("north", "south")
ESCROW = b"what opens the escrow of the kill test"

#: What `serve` does, but for its refusal of root, as whom the tests may run.
SERVE = """
import os, sys
from ledger.settings import Settings
from scripts.assembly import open_ledger
from scripts.configure import log_to_stderr
from scripts.serve import bind, serve
settings = Settings.from_environment(os.environ)
log_to_stderr(settings)
with open_ledger(settings) as ledger:
    serve(ledger, bind("127.0.0.1", int(sys.argv[1])))
"""

#: Writers that wait for their commit record to reach the disk, and what they execute.
COMMITTING = """
SELECT pid FROM pg_stat_activity
 WHERE application_name LIKE 'sealtrail writer%' AND state = 'active'
   AND lower(wait_event) = 'walsync' AND query ILIKE '%insert into%'
"""


class Server:
    """One server process on a fixed port, started again whenever it ends."""

    def __init__(self, directory, number, environment):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.starts = 0
        self._said = directory / f"server-{number}.log"
        self._environment, self._stopping = environment, threading.Event()
        self._process = None
        self._thread = threading.Thread(target=self._supervise)
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def kill(self):
        """Kill the process that runs now; False if none does."""
        process = self._process
        if process is None or process.poll() is not None:
            return False
        process.kill()
        return True

    def stop(self):
        self._stopping.set()
        if self._process is not None:
            self._process.terminate()
        self._thread.join()

    def said(self):
        return self._said.read_text("utf-8", "replace")

    def _supervise(self):
        with self._said.open("a") as said:
            while not self._stopping.is_set():
                self.starts += 1
                self._process = subprocess.Popen(
                    [sys.executable, "-c", SERVE, str(self.port)],
                    stderr=said,
                    cwd=ROOT,
                    env={**os.environ, **self._environment},
                )
                if self._stopping.is_set():
                    self._process.terminate()
                self._process.wait()
                self._stopping.wait(0.1)


class Fleet:
    """PostgreSQL, keys, store, two tenants and two servers in one directory."""

    def __init__(self, directory, servers=2):
        self.directory = directory
        self.postgres = EmbeddedPostgres(directory / "pg")
        self.postgres.start()
        self._administrator = self.postgres.url()
        (directory / "passphrase").write_bytes(b"for the kill test\n")
        (directory / "passphrase").chmod(0o600)
        self.environment = {
            "SEALTRAIL_ENVIRONMENT": "development",
            "SEALTRAIL_DATABASE_URL": self.postgres.url(user="sealtrail_app"),
            "SEALTRAIL_DATA_DIR": str(directory / "data"),
            "SEALTRAIL_KEYSTORE_PASSPHRASE_FILE": str(directory / "passphrase"),
            "SEALTRAIL_CHECKPOINT_STORE": str(directory / "checkpoints"),
        }
        self.settings = Settings.from_environment(self.environment)
        self._escrows, self.tokens = {}, {}
        self._make_tenants()
        self.servers = [Server(directory, n, self.environment) for n in range(servers)]
        self._stopping = threading.Event()
        self._supervisor = threading.Thread(target=self._keep_postgres)
        self.postgres_starts = 1
        self.complaints = []  #: Of starts of PostgreSQL that failed: killed, too, and tried again.
        self._supervisor.start()

    def _make_tenants(self):
        keys = open_keystore(self.settings)
        store = open_store(self.settings, keys)
        with connect(self.postgres.url()) as owner:
            list(migrate(owner))
            for tenant in TENANTS:
                origin = f"ledger.test/{tenant}"
                self._escrows |= make_keys(keys, origin, EscrowPassphrase(passphrase=ESCROW))
                make_tenant(owner, keys, store, tenant=tenant, origin=origin)
                self.tokens[tenant] = access.issue(
                    owner, tenant=tenant, role="pipeline", kind="pipeline", name="load"
                )
        origins = [each for tenant in TENANTS for each in origins_of(f"ledger.test/{tenant}")]
        self.trust = trust_of(keys, origins, [])
        self.settings.trust_file.parent.mkdir(parents=True, exist_ok=True)
        self.settings.trust_file.write_bytes(self.trust.print())

    def first_key(self, origin):
        return open_with_passphrase(self._escrows[origin], origin=origin, passphrase=ESCROW)

    def last_words(self):
        """What servers and PostgreSQL said last, for whoever has to find out."""
        said = [server.said()[-1500:] for server in self.servers]
        return "\n".join([*said, *self.complaints[-1:], str(self.postgres._running())])

    def stop(self):
        """Stop everything in good order."""
        for server in self.servers:
            server.stop()
        self._stopping.set()
        self._supervisor.join()
        self.postgres.stop()

    def _keep_postgres(self):
        while not self._stopping.wait(0.05):
            if self.postgres._running() is None:
                try:
                    self.postgres.stop()  # Our hold on a server that is gone.
                    self.postgres.start()
                    self.postgres_starts += 1
                except EmbeddedUnavailable as error:
                    self.complaints.append(str(error))

    # Kills

    def kill_postgres(self, *, whole):
        """Kill the postmaster alone, whose children then end, or all of its processes at once."""
        running = self.postgres._running()
        if running is None:
            return False
        others = self.postgres._processes() if whole else []
        for pid in (running.pid, *others):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return True

    def kill_during_commit(self, *, seconds=15):
        """Kill PostgreSQL while a writer's COMMIT waits for the disk; False if none was caught.

        The backend is stopped first and looked at again: it stands in the flush of its commit
        record, has answered nobody, and never will.
        """
        until = time.monotonic() + seconds
        with (
            contextlib.suppress(psycopg.OperationalError),  # It is starting.
            psycopg.connect(self._administrator, autocommit=True) as administrator,
        ):
            while time.monotonic() < until:
                for (pid,) in administrator.execute(COMMITTING).fetchall():
                    os.kill(pid, signal.SIGSTOP)
                    if (pid,) in administrator.execute(COMMITTING).fetchall():
                        return self.kill_postgres(whole=True)
                    os.kill(pid, signal.SIGCONT)
        return False


def write_plan(fleet, directory):
    """Leave for the load processes where the servers are and what lets them in."""
    plan = {"urls": [server.url for server in fleet.servers], "tokens": fleet.tokens}
    (directory / "plan.json").write_text(json.dumps(plan))
    return directory / "plan.json"
