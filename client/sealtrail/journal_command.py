# SPDX-License-Identifier: Apache-2.0
"""`sealtrail journal`: what this machine was promised, and whether the ledger has kept it."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sealtrail import journal
from sealtrail.complaint import complain
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.report import EXIT, EXIT_UNREADABLE, EXIT_USAGE, visible
from sealtrail.verify.trust import Trust

if TYPE_CHECKING:
    from sealtrail.recorder import Recorder

#: Makes a recorder of the options `--ledger` and `--token-file`, or None where there are none.
MakeRecorder = Callable[[argparse.Namespace, Trust], "Recorder | None"]

_DIRECTORY: Final = "folder with journals (default: ~/.sealtrail/sessions)"


def add_arguments(
    parser: argparse.ArgumentParser,
    add_ledger: Callable[[argparse.ArgumentParser], None],
    make: MakeRecorder,
) -> None:
    """Add `check` and `list` to the command."""
    kinds = parser.add_subparsers(required=True, metavar="COMMAND")
    check = kinds.add_parser("check", help="hold all receipts against the ledger of today")
    check.add_argument("directory", nargs="?", metavar="DIR", help=_DIRECTORY)
    named = os.environ.get("SEALTRAIL_TRUST") or None
    about = "keys to believe (or SEALTRAIL_TRUST)"
    check.add_argument("--trust", metavar="FILE", default=named, required=not named, help=about)
    add_ledger(check)
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    check.set_defaults(run=lambda options: _check(options, make))
    listing = kinds.add_parser("list", help="the receipts that this machine keeps")
    listing.add_argument("directory", nargs="?", metavar="DIR", help=_DIRECTORY)
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    listing.set_defaults(run=_list)


def _check(options: argparse.Namespace, make: MakeRecorder) -> int:
    """Ends with 0 verified, 1 refuted, 3 incomplete, 4 unreadable."""
    from sealtrail.journal_check import check  # noqa: PLC0415  brings the HTTP client

    try:
        trust = Trust.parse(Path(options.trust).read_bytes())
        paths = journal.files(options.directory)
        recorder = make(options, trust)
    except VerifyError as error:
        return complain(str(error), EXIT_UNREADABLE, as_json=options.json)
    except (OSError, ValueError) as error:
        return complain(str(error), EXIT_USAGE, as_json=options.json)
    report = check(paths, trust=trust, recorder=recorder, progress=_progress)
    for event_id in journal.unanswered(options.directory):
        report.note_unanswered(event_id)
    if recorder is not None:
        recorder.close()
    text = json.dumps(report.json(), indent=2) if options.json else report.text()
    sys.stdout.writelines(visible(line) + "\n" for line in text.splitlines())
    return EXIT[report.verdict]


def _list(options: argparse.Namespace) -> int:
    status = 0
    try:
        paths = journal.files(options.directory)
    except (OSError, ValueError) as error:
        return complain(str(error), EXIT_USAGE, as_json=options.json)
    for path in paths:
        try:
            for line in journal.read(path):
                members = {
                    "at": line.at,
                    "type": line.type,
                    "event_id": line.event_id,
                    "origin": line.origin,
                    "position": line.position,
                }
                text = (
                    json.dumps(members) if options.json else "  ".join(map(str, members.values()))
                )
                sys.stdout.write(visible(text) + "\n")
        except (OSError, VerifyError) as error:
            status = complain(f"{path.name}: {error}", EXIT_UNREADABLE)
    return status


def _progress(done: int, whole: int) -> None:
    if whole > 100 and done % 100 == 0 and sys.stderr.isatty():
        print(f"\r{done} of {whole} checkpoints", end="", file=sys.stderr)  # noqa: T201  a command
