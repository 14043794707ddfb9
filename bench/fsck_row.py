# SPDX-License-Identifier: GPL-3.0-or-later
"""fsck as a command, timed from start to end, beside hashlib alone over the same bytes."""

import hashlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from server import REPOSITORY, SERVER, Server


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One run over the whole log."""

    size: int
    rate: float  #: Entries a second.
    cpu_us: float  #: Of an entry, in all processes of the command; PostgreSQL's is not in it.


def hashing(bodies: Sequence[bytes]) -> float:
    """Return how many of these hashlib hashes in a second on one core: the best of three."""
    best = 0.0
    for _ in range(3):
        began = time.perf_counter()
        for body in bodies:
            hashlib.sha256(b"\x00" + body).digest()
        best = max(best, len(bodies) / (time.perf_counter() - began))
    return best


def run(server: Server, jobs: int) -> Checked:
    """Check the main Book; raises RuntimeError if anything is wrong with it."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *SERVER, "fsck", "--data", str(server.data / "ledger"),
         "--book", "dev", "--json", "--jobs", str(jobs)],
        capture_output=True, text=True, cwd=REPOSITORY, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads(done.stdout)["books"][0]
    if report["damage"]:
        raise RuntimeError(f"fsck found damage: {report['first']}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    size = report["size"]
    return Checked(size=size, rate=size / seconds, cpu_us=cpu / size * 1e6)
