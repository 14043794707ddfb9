# SPDX-License-Identifier: GPL-3.0-or-later
"""A development ledger of its own for a bench: started, measured, stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psycopg
from load import Address

REPOSITORY = Path(__file__).resolve().parent.parent
SERVER = os.environ.get("SEALTRAIL_BENCH_SERVER", "-m scripts.cli").split()


@dataclass
class Server:
    """A running `sealtrail-server dev`."""

    data: Path
    process: subprocess.Popen[bytes]
    address: Address
    token: str
    auditor: str
    owner_url: str

    @classmethod
    def start(cls, host: str | None = None) -> Self:
        """Start one; it listens on a Unix socket unless a host is named."""
        root = "/var/lib/sealtrail" if os.geteuid() == 0 else None
        if root:
            Path(root).mkdir(parents=True, exist_ok=True)
        data = Path(tempfile.mkdtemp(prefix="bench-", dir=root))
        return cls.start_in(data, host)

    @classmethod
    def start_in(cls, data: Path, host: str | None = None) -> Self:
        out = data / "ready.json"
        with out.open("wb") as ready, (data / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *SERVER, "dev", "--data", str(data / "ledger"),
                 "--host", host or f"unix:{data}/api", "--port", "0", "--json"],
                stdout=ready, stderr=log, cwd=REPOSITORY,
            )  # fmt: skip
        for _ in range(300):
            if out.stat().st_size or process.poll() is not None:
                break
            time.sleep(0.1)
        told = json.loads(out.read_text())
        tokens = json.loads((data / "ledger" / "tokens.json").read_text())
        variables = json.loads((data / "ledger" / "environment.json").read_text())
        return cls(
            data=data,
            process=process,
            address=told["api"].removeprefix("unix:"),
            token=tokens["pipeline"],
            auditor=tokens["auditor"],
            owner_url=variables["SEALTRAIL_OWNER_DATABASE_URL"],
        )

    def owner(self) -> psycopg.Connection:
        return psycopg.connect(self.owner_url, autocommit=True)

    def memory_mib(self) -> float:
        """Return the server's resident memory."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def stop(self, *, keep: bool = False) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        if not keep:
            shutil.rmtree(self.data, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
