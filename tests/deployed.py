# SPDX-License-Identifier: GPL-3.0-or-later
"""The containers of compose.yaml as processes: same words, same environment, no Docker.

Only paths are moved below a directory of the test, and the database's address is that of a real
PostgreSQL there. They run as the containers' user; where the test is root's, that user may pass
through closed directories (a capability), because the interpreter may lie below root's home.
"""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from ledger.embedded_user import _bundled

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = ROOT / "compose.yaml"
TEXT = COMPOSE.read_text("utf-8")
SERVER = "sealtrail-server"
USER = 10001  #: Of the containers.
START_S = 60
VARIABLE = re.compile(r"\$\{([A-Z_]+)(:\?[^}]*|:-[^}]*)?\}")

#: What an operator puts into the environment.
GIVEN = {
    "SEALTRAIL_OWNER_PASSWORD": "owner7secret",
    "SEALTRAIL_APP_PASSWORD": "app8secret",
    "SEALTRAIL_PASSPHRASE_PATH": "/given/passphrase",
    "SEALTRAIL_CHECKPOINT_PATH": "/given/checkpoints",
    "SEALTRAIL_TSA_ROOTS_PATH": "/given/roots.pem",
    "SEALTRAIL_TSA_URLS": "one=https://tsa.example/one,two=https://tsa.example/two",
}


def filled(value, given=GIVEN):
    """What Compose makes of a value: variables put in, `$$` read as `$`."""
    if isinstance(value, dict):
        return {key: filled(item, given) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, given) for item in value]
    if not isinstance(value, str):
        return value
    parts = [VARIABLE.sub(lambda found: given[found[1]], part) for part in value.split("$$")]
    return "$".join(parts)


class Deployed:
    """Runs what the containers would run."""

    def __init__(self, directory, postgres, authority, compose):
        self.directory, self._postgres = directory, postgres
        self._authority, self._compose = authority, compose

    def make_login(self):
        """Run the script that the PostgreSQL image runs when it makes the database."""
        socket = parse_qs(urlsplit(self._postgres.url()).query)["host"][0]
        script = self._compose["configs"]["application_login"]["content"]
        environment = {
            **self._compose["services"]["postgres"]["environment"],
            "PATH": f"{_bundled()}:{os.defpath}",
            "PGHOST": socket,
            "PGPORT": "5432",
        }
        self._admin("CREATE ROLE sealtrail_owner SUPERUSER LOGIN")
        self._admin("CREATE DATABASE sealtrail OWNER sealtrail_owner")
        subprocess.run(["sh", "-c", script], check=True, env=environment, cwd="/")

    def environment(self, service, **changes):
        """A service's environment, with paths and the database's address moved to this test."""
        moved = {}
        for name, value in self._compose["services"][service]["environment"].items():
            moved[name] = self._moved(value)
        moved["SEALTRAIL_TSA_URLS"] = f"one={self._authority.url}"
        moved["SEALTRAIL_PORT"] = "0"
        moved["SEALTRAIL_HOST"] = "127.0.0.1"
        beside = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONSAFEPATH": "1",
                  "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip
        return {**beside, **moved, **changes}

    def command(self, service, *arguments):
        """The container's exact command line: the image's entry point, and the service's words."""
        words = arguments or self._compose["services"][service]["command"]
        program = Path(sys.executable).parent / SERVER
        if not program.exists():
            pytest.skip(f"{SERVER} is not installed beside this Python")
        return [str(program), *words]

    def run(self, service, *arguments, as_root=False, **changes):
        return subprocess.run(
            [*([] if as_root else self._as_user()), *self.command(service, *arguments)],
            check=False,
            env=self.environment(service, **changes),
            cwd=self.directory,
            capture_output=True,
            text=True,
        )

    @contextmanager
    def running(self, service):
        """Start a service; yields it and what it says first, as JSON. Ends as Docker ends it."""
        with (self.directory / f"{service}.log").open("w+") as log:
            process = subprocess.Popen(
                [*self._as_user(), *self.command(service), "--json"],
                env=self.environment(service),
                cwd=self.directory,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
            try:
                ready, _, _ = select.select([process.stdout], [], [], START_S)
                said = process.stdout.readline() if ready else ""
                log.seek(0)
                assert said, f"{service} said nothing: {log.read()}"
                yield process, json.loads(said)
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=START_S)

    def own(self, *names):
        """Give what the containers write to the user that they run as."""
        if os.geteuid() == 0:
            for name in names:
                os.chown(self.directory / name, USER, USER)

    def _as_user(self):
        if os.geteuid() != 0:
            return []
        if shutil.which("setpriv") is None:
            pytest.skip("root needs setpriv to run a server as somebody else")
        return [
            *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"),
            *("--inh-caps=+dac_override", "--ambient-caps=+dac_override"),
        ]

    def _admin(self, statement):
        with psycopg.connect(self._postgres.url(), autocommit=True) as connection:
            connection.execute(statement)

    def _moved(self, value):
        if value.startswith("postgresql://"):
            url = urlsplit(value)
            assert (url.hostname, url.port) == ("postgres", 5432)
            return self._postgres.url(user=url.username, dbname=url.path[1:])
        here = str(self.directory)
        for there, moved in (
            ("/run/secrets/keystore_passphrase", f"{here}/passphrase"),
            ("/etc/sealtrail/tsa-roots.pem", f"{here}/roots.pem"),
            ("/var/lib/sealtrail", here),
        ):
            value = value.replace(there, moved)
        return value
