# SPDX-License-Identifier: GPL-3.0-or-later
"""`sealtrail-server dev` in a process of its own, and further servers beside it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

HOUSE = Path(__file__).resolve().parents[1]

#: What `serve` does, but for its refusal of root, as whom the tests may run.
_SERVE = """
import sys
from pathlib import Path
from scripts.assembly import open_ledger
from scripts.configure import log_to_stderr, settings_from
from scripts.serve import bind, serve
settings = settings_from(Path(sys.argv[1]))
log_to_stderr(settings)
with open_ledger(settings) as ledger:
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    serve(ledger, listener, ready=lambda: print(f"http://127.0.0.1:{port}", flush=True))
"""


@dataclass
class Dev:
    """A development ledger that runs."""

    data: Path
    url: str
    pipeline: str
    auditor: str
    said: Path  #: What the process wrote on standard error.
    process: subprocess.Popen[str]

    def ask(self, method: str, path: str, *, token: str | None = None, **options: Any) -> Any:
        headers = {**options.pop("headers", {})}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        return httpx2.request(method, self.url + path, headers=headers, timeout=60, **options)

    def post(self, request: Any, path: str = "/v1/events", **options: Any) -> Any:
        return self.ask("POST", path, token=self.pipeline, json=request, **options)

    def get(self, path: str, **options: Any) -> Any:
        return self.ask("GET", path, token=self.auditor, **options)

    @property
    def trust(self) -> bytes:
        return (self.data / "trust.json").read_bytes()


@dataclass
class Server:
    """A server process without a database of its own."""

    url: str
    process: subprocess.Popen[str]


def command(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one command of `sealtrail-server` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "scripts.cli", *map(str, arguments)],
        check=False,
        capture_output=True,
        cwd=HOUSE,
        env={**os.environ, **environment},
        text=True,
        timeout=120,
    )


@contextlib.contextmanager
def running(directory: Path, **environment: str) -> Iterator[Dev]:
    """Run `dev` with its data in `directory`; yields once it answers."""
    data, said = directory / "data", directory / "stderr"
    arguments = ["-m", "scripts.cli", "dev", "--data", str(data), "--port", "0", "--json"]
    with _process(arguments, said, environment) as (process, line):
        tokens = json.loads((data / "tokens.json").read_text())
        yield Dev(
            data=data,
            url=json.loads(line)["api"],
            pipeline=tokens["pipeline"],
            auditor=tokens["auditor"],
            said=said,
            process=process,
        )


@contextlib.contextmanager
def second_server(dev: Dev, directory: Path) -> Iterator[Server]:
    """Run another server process on the same database, keystore and checkpoint store."""
    with _process(["-c", _SERVE, str(dev.data)], directory / "second", {}) as (process, line):
        yield Server(url=line.strip(), process=process)


@contextlib.contextmanager
def _process(
    arguments: list[str], said: Path, environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run Python until the context ends; yields the process and the first line it printed."""
    with said.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=HOUSE,
            env={**os.environ, **environment},
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.strip(), said.read_text()
        yield process, line
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=40)
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()


def eventually(holds: Any, *, seconds: float = 20) -> None:
    """Return as soon as `holds()` is true; fail after that many seconds."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.05)
