# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs simulations by hand: `python tests/simulation/run.py --seed 7 --steps 200`.

Without --seed it takes one new seed after the other, --count of them, and prints each.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[0]), str(Path(__file__).resolve().parents[1])]

from simulation import Failed, simulation  # noqa: E402

from anchoring.authority import LocalAuthority, make_authority  # noqa: E402
from ledger.embedded import EmbeddedPostgres  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--count", type=int, default=1)
    asked = parser.parse_args()
    seeds = [asked.seed] if asked.seed is not None else [fresh() for _ in range(asked.count)]
    with tempfile.TemporaryDirectory(prefix="simulation-", dir="/tmp") as name:
        directory = Path(name)
        make_authority(directory / "tsa")
        with (
            LocalAuthority(directory / "tsa") as authority,
            EmbeddedPostgres(directory / "pg") as postgres,
        ):
            done = [run(postgres, authority, directory, seed, asked.steps) for seed in seeds]
    sys.exit(0 if all(done) else 1)


def run(postgres, authority, directory, seed, steps):
    began, home = time.monotonic(), directory / f"seed-{seed}"
    home.mkdir(exist_ok=True)
    with simulation(postgres, authority, home, seed) as one:
        try:
            one.run(steps)
        except Failed as error:
            print(error)
            return False
        took = time.monotonic() - began
        print(f"seed {seed}: {steps} steps, {one.auditor.size} entries, "
              f"{len(one.receipts)} receipts, {took:.1f} s", flush=True)  # fmt: skip
    return True


def fresh():
    return random.SystemRandom().randrange(2**32)


if __name__ == "__main__":
    main()
