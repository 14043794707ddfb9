# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hardware module costs: the same keys in an encrypted file and in SoftHSM2, one after the
other and from several threads.

    .venv/bin/python bench/hsm.py [--seconds N] [--json]        Debian: apt-get install softhsm2

    sign      a checkpoint of 200 bytes       each commit, once
    mac       an identifier of 40 bytes       each blind index
    chain     an entry's link, 72 bytes       each entry; outside of the module in both
    wrap      a data subject's key            each new subject
    unwrap    the same                        each subject that a process sees first

SoftHSM2 computes in this process: what is measured is PKCS#11 itself, which is a floor for what a
module over a bus or a network costs. Ratios are module against file.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ledger.keydrivers.held import HeldKeystore
from ledger.keydrivers.pkcs11 import Pkcs11Device
from ledger.keys import Keys, chain_key, log_key
from ledger.keystore import FileKeystore

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
ORIGIN, THREADS = "bench/keys", 4
KEK, INDEX = f"subjects/{ORIGIN}/1", f"index/{ORIGIN}/1"
CHECKPOINT, IDENTIFIER, LINK, SUBJECT = bytes(200), bytes(40), bytes(72), bytes(32)

Job = Callable[[], object]


def jobs_of(keys: Keys) -> Iterator[tuple[str, Job]]:
    """What is done to keys, by name."""
    for name, kind in ((log_key(ORIGIN), "ed25519"), (chain_key(ORIGIN, 0), "hmac"),
                       (KEK, "wrap"), (INDEX, "hmac")):  # fmt: skip
        keys.make(name, kind)
    wrapped = keys.wrap(KEK, SUBJECT, b"subject")
    yield "sign", lambda: keys.sign(log_key(ORIGIN), CHECKPOINT)
    yield "mac", lambda: keys.mac(INDEX, IDENTIFIER)
    yield "chain", lambda: keys.mac(chain_key(ORIGIN, 0), LINK)
    yield "wrap", lambda: keys.wrap(KEK, SUBJECT, b"subject")
    yield "unwrap", lambda: keys.unwrap(KEK, wrapped, b"subject")


def rate(job: Job, seconds: float, threads: int = 1) -> float:
    """How often a second `job` is done, by so many threads together."""
    counts = [0] * threads
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        while time.perf_counter() < end:
            for _ in range(16):
                job()
            counts[number] += 16

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - began)


def module_in(folder: Path) -> Pkcs11Device:
    """A token of its own in SoftHSM2."""
    tool = shutil.which("softhsm2-util")
    if tool is None or not MODULE.exists():
        raise SystemExit("Debian's softhsm2 is not installed")
    (folder / "tokens").mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    made = [tool, "--init-token", "--free", "--label=bench", "--pin=bench-pin", "--so-pin=bench-so"]
    subprocess.run(made, check=True, capture_output=True)
    return Pkcs11Device(MODULE, "bench", b"bench-pin")


def figures(seconds: float) -> Iterator[dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder:
        file = dict(jobs_of(FileKeystore(Path(folder) / "file", b"bench")))
        held = dict(jobs_of(HeldKeystore(Path(folder) / "held", module_in(Path(folder)))))
        for name, in_file in file.items():
            alone, beside = rate(in_file, seconds), rate(held[name], seconds)
            yield {
                "job": name,
                "file": round(alone),
                "module": round(beside),
                "ratio": round(beside / alone, 3),
                "module_threads": round(rate(held[name], seconds, THREADS)),
            }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = []
    for one in figures(options.seconds):
        found.append(one)
        if not options.json:
            print(
                f"{one['job']:8} file {one['file']:>9,}/s   module {one['module']:>9,}/s"
                f"   ratio {one['ratio']:.2f}   {THREADS} threads {one['module_threads']:>9,}/s"
            )
    if options.json:
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
