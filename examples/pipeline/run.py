# SPDX-License-Identifier: Apache-2.0
r"""The whole life of a generated image, on record: photographs, training, pictures, a delivery.

    SEALTRAIL_TOKEN=... python -m examples.pipeline.run --url http://127.0.0.1:8400 \
        --person emp-7 --trust trust.json --out out/run --cache out/photographs

Each line printed is an entry of the ledger that was proved before the next step was taken. If one
cannot be recorded the run stops, and what it was about is not handed on. In out/run afterwards:

    run.json   the journal: events, positions, digests, and what opens the commitments
    receipts/  one proof per event           dataset/ model/ policy/   files behind the digests
    images/    the pictures                  export/  the one that was delivered

Exit codes: 0 all on record · 1 something was not · 2 usage.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from examples.pipeline import model, rules
from examples.pipeline.generation import Call, Made, export, generate
from examples.pipeline.journal import Journal
from examples.pipeline.photographs import PhotographsUnavailable, obtain
from examples.pipeline.pictures import digest
from examples.pipeline.steps import Ingested, Run, Trained, ingest, publish, register, train
from sealtrail import Recorder, RecorderError
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.trust import Trust

#: The prompts of the example. The fourth breaks a rule, the fifth asks for a size the model
#: cannot do; both leave an attempt and an outcome, and no picture.
COFFEE = Call(prompt="a coffee cup on a wood table", seed=2)
FLOWER = Call(prompt="a flower in a garden", seed=18_446_744_073_709_551_615)
TEMPLE = Call(prompt="a temple under the sky", seed=6)
REFUSED = Call(prompt="a passport portrait of the astronaut", seed=4)
TOO_LARGE = Call(prompt="galaxies in deep space", seed=5, edge=4096)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the pipeline once; the exit code."""
    options = _options(arguments)
    try:
        trust = Trust.parse(options.trust.read_bytes()) if options.trust else None
        paths = obtain(options.cache)
        with Recorder(options.url, options.token, trust=trust) as recorder:
            run = _new_run(recorder, options.out, options.person)
            _all(run, paths, model.Training(seed=options.seed, steps=options.steps))
    except (RecorderError, VerifyError, PhotographsUnavailable, OSError, ValueError) as problem:
        print(f"stopped: {problem}", file=sys.stderr)
        return 1
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.pipeline.run")
    parser.add_argument("--url", required=True, help="where the ledger answers")
    parser.add_argument(
        "--token",
        default=os.environ.get("SEALTRAIL_TOKEN"),
        help="a pipeline's token; better given as SEALTRAIL_TOKEN, where a list of processes "
        "does not show it",
    )
    parser.add_argument("--person", help="the person it acts for; not with a person's own token")
    parser.add_argument("--trust", type=Path, help="the keys to believe; without: unsigned")
    parser.add_argument("--out", type=Path, required=True, help="a directory for this run")
    parser.add_argument("--cache", type=Path, required=True, help="where the photographs are kept")
    parser.add_argument("--seed", type=int, default=7, help="of the training; default 7")
    parser.add_argument(
        "--steps", type=int, default=model.Training(seed=0).steps, help="of the training"
    )
    options = parser.parse_args(arguments)
    if not options.token:
        parser.error("no token: set SEALTRAIL_TOKEN, or give --token")
    return options


def _new_run(recorder: Recorder, out: Path, person: str | None) -> Run:
    journal = Journal(out)
    journal.file("policy/prompts.json", rules.policy())
    journal.file("policy/template.txt", rules.template())
    return Run(recorder=recorder, journal=journal, person=person)


def _all(run: Run, paths: dict[str, Path], choices: model.Training) -> None:
    publish(run)
    members = ingest(run, paths)
    trained = train(run, members, choices)
    register(run, trained)
    coffee = _must(generate(run, trained, COFFEE))
    flower = _must(generate(run, trained, FLOWER))
    generate(run, trained, TEMPLE)
    generate(run, trained, REFUSED)
    generate(run, trained, TOO_LARGE)
    child = Call(prompt="a blossom with petals", seed=8, parent=flower)
    generate(run, trained, child)
    delivered = export(run, coffee, members)
    run.journal.fact(
        "exported",
        {
            "asset_id": coffee.asset_id,
            "sha256": digest(coffee.data),
            "file": f"export/{coffee.asset_id}.png",
            "event_ids": [*_life(members, trained, coffee), delivered.event_id],
        },
    )


def _must(made: Made | None) -> Made:
    if made is None:
        raise ValueError("the model refused a prompt of the example")
    return made


def _life(members: list[Ingested], trained: Trained, made: Made) -> list[str]:
    """The events that a packet about the delivered picture is made of, in their order."""
    receipts = [one.receipt for one in members]
    receipts += [trained.started, trained.receipt, made.attempt, made.moderated, made.receipt]
    return [receipt.event_id for receipt in receipts]


if __name__ == "__main__":
    sys.exit(main())
