# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulations and kills under load for as many minutes as one has: `scripts/soak 60`.

Everything follows from one seed, which is printed first. Progress goes to standard error, a line
for each round; the summary to standard output. It stops at the first thing that is wrong.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "simulation"), str(TESTS / "kills"), str(TESTS)]

import campaign  # noqa: E402
from simulation import Failed, simulation  # noqa: E402

from anchoring.authority import LocalAuthority, make_authority  # noqa: E402
from ledger.embedded import EmbeddedPostgres  # noqa: E402

STEPS, KILLS = 300, 40


def soak(minutes, seed, say=lambda _text: None):
    """Do rounds until the time is over; return the summary."""
    chance, began = random.Random(seed), time.monotonic()
    until = began + minutes * 60
    summary = {"seed": seed, "simulations": 0, "steps": 0, "entries": 0, "receipts": 0, "kills": 0,
               "kills_during_commit": 0, "acknowledged": 0, "problems": []}  # fmt: skip
    number = 0
    while not summary["problems"] and (number == 0 or time.monotonic() < until):
        number += 1
        (_kill, _simulate)[number % 2](chance.getrandbits(32), summary, until)
        left = max(0, int(until - time.monotonic()) // 60)
        numbers = ", ".join(f"{value} {name}" for name, value in summary.items() if value)
        say(f"round {number}: {numbers}; {left} minutes left")
    summary["seconds"] = round(time.monotonic() - began, 1)
    return summary


def _simulate(seed, summary, _until):
    with tempfile.TemporaryDirectory(prefix="soak-", dir="/tmp") as name:
        directory = Path(name)
        make_authority(directory / "tsa")
        with (
            LocalAuthority(directory / "tsa") as authority,
            EmbeddedPostgres(directory / "pg") as postgres,
            simulation(postgres, authority, directory, seed) as one,
        ):
            try:
                one.run(STEPS)
            except Failed as error:
                summary["problems"].append(str(error))
            summary["simulations"] += 1
            summary["steps"] += sum(one.counts.values())
            summary["entries"] += one.auditor.size
            summary["receipts"] += len(one.receipts)


def _kill(seed, summary, until):
    account = campaign.run(KILLS, seed, until=min(until, time.monotonic() + 300))
    summary["kills"] += sum(account.kills.values())
    summary["kills_during_commit"] += account.kills.get("PostgreSQL during COMMIT", 0)
    summary["acknowledged"] += account.acknowledged
    summary["entries"] += sum(account.entries.values())
    summary["problems"] += [f"kills with seed {seed}: {one}" for one in account.problems]


def main():
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("minutes", type=float)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    print(f"seed {asked.seed}", file=sys.stderr, flush=True)
    summary = soak(asked.minutes, asked.seed, lambda text: print(text, file=sys.stderr, flush=True))
    if asked.json:
        print(json.dumps(summary, indent=1))
    else:
        print("\n".join(f"{name}: {value}" for name, value in summary.items()))
    sys.exit(1 if summary["problems"] else 0)


if __name__ == "__main__":
    main()
