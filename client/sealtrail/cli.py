# SPDX-License-Identifier: Apache-2.0
"""The command `sealtrail`: check what a ledger gave out, and fetch proofs from it.

    sealtrail verify PACKET.zip --trust trust.json
    sealtrail proof get EVENT_ID --ledger https://... --token-file FILE --out FILE.tlog-proof
    sealtrail proof verify FILE.tlog-proof --entry ENTRY.json --trust trust.json
    sealtrail event post FILE --ledger https://... --token-file FILE --trust trust.json
    sealtrail tail --ledger https://... --token-file FILE
    sealtrail journal check --trust trust.json --ledger https://... --token-file FILE
    sealtrail doctor
    sealtrail proof standing FILE.tlog-proof --entry ENTRY.json --trust trust.json --ledger ...

`verify` is the verifier of verify.pyz, under another name: the same arguments, words and exit
codes (0 verified, 1 refuted, 2 wrong usage or refused, 3 incomplete or no answer, 4 unreadable).
A token is read from a file or from SEALTRAIL_TOKEN_FILE's, never from the command line, where
every user of the machine could read it.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sealtrail import event_command, journal_command
from sealtrail.complaint import complain
from sealtrail.verify import command
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.note import Checkpoint, Note
from sealtrail.verify.report import EXIT, EXIT_UNREADABLE, EXIT_USAGE
from sealtrail.verify.tlog_proof import TlogProof
from sealtrail.verify.trust import Trust

if TYPE_CHECKING:
    from sealtrail.recorder import Recorder


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the result is the process's exit status."""
    options = _parser().parse_args(arguments)
    run = options.run
    status: int = run(options)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sealtrail", description="Check a Sealtrail ledger's proofs, and fetch them."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    verify = commands.add_parser("verify", help="check a packet or a single proof, offline")
    command.add_arguments(verify)
    verify.set_defaults(run=command.run)

    proof = commands.add_parser("proof", help="fetch or check a single proof")
    kinds = proof.add_subparsers(required=True, metavar="COMMAND")
    get = kinds.add_parser("get", help="a fresh proof of one event; needs an auditor's token")
    get.add_argument("event_id", metavar="EVENT_ID")
    _add_ledger(get)
    get.add_argument("--purpose", metavar="CODE", help="why you look; recorded by the ledger")
    get.add_argument("--out", metavar="FILE", help="where to write it; standard output if absent")
    get.add_argument("--json", action="store_true", help="print it as JSON")
    get.set_defaults(run=_get_proof)
    check = kinds.add_parser("verify", help="check a single proof, offline")
    command.add_arguments(check)
    check.set_defaults(run=command.run)
    still = kinds.add_parser("standing", help="is its entry still in the log, or was it orphaned?")
    still.add_argument("file", metavar="PROOF", help="a .tlog-proof from before")
    still.add_argument("--entry", metavar="FILE", required=True, help="the exact bytes")
    still.add_argument("--trust", metavar="FILE", required=True, help="trust.json of today")
    _add_ledger(still)
    still.add_argument("--json", action="store_true", help="print it as JSON")
    still.set_defaults(run=_tell_standing)

    kept = commands.add_parser("journal", help="receipts kept here, and whether they still hold")
    journal_command.add_arguments(kept, _add_ledger, _recorder_if_named)
    event = commands.add_parser("event", help="record an event, or show one")
    event_command.add_event(event, _add_ledger, _recorder)
    tail = commands.add_parser("tail", help="what was recorded last; needs an auditor's token")
    event_command.add_tail(tail, _add_ledger, _recorder)
    doctor = commands.add_parser("doctor", help="what is set here, and that it fails closed")
    doctor.add_argument("--json", action="store_true", help="one JSON object a line")
    doctor.set_defaults(run=_examine)
    return parser


def _examine(options: argparse.Namespace) -> int:
    from sealtrail.doctor_command import run  # noqa: PLC0415  brings the HTTP client

    return run(as_json=options.json)


def _add_ledger(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ledger",
        metavar="URL",
        default=os.environ.get("SEALTRAIL_URL") or os.environ.get("SEALTRAIL_LEDGER"),
        help="the ledger's address (or SEALTRAIL_URL, or SEALTRAIL_LEDGER)",
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        default=os.environ.get("SEALTRAIL_TOKEN_FILE"),
        help="a file that holds the token alone (or SEALTRAIL_TOKEN_FILE)",
    )


def _get_proof(options: argparse.Namespace) -> int:
    # Only this command talks to anybody: the others need no HTTP client to be installed.
    from sealtrail.errors import (  # noqa: PLC0415
        AuditUnavailable,
        ReceiptInvalid,
        RecorderError,
    )

    try:
        with _recorder(options) as recorder:
            proof = recorder.proof(options.event_id, purpose=options.purpose)
        if options.out is not None:
            Path(options.out).write_bytes(proof)
    except (OSError, ValueError) as error:
        return complain(str(error), EXIT_USAGE, as_json=options.json)
    except RecorderError as error:
        if isinstance(error, AuditUnavailable):
            return complain(str(error), EXIT["incomplete"], as_json=options.json)
        unreadable = isinstance(error, ReceiptInvalid)
        return complain(
            str(error), EXIT_UNREADABLE if unreadable else EXIT_USAGE, as_json=options.json
        )
    if options.json:
        print(_as_json(proof))  # noqa: T201  a command
    elif options.out is None:
        sys.stdout.write(proof.decode())
    return 0


def _tell_standing(options: argparse.Namespace) -> int:
    """Ends with 0 in the log, 1 refuted, 3 orphaned by a restore or no answer, 4 unreadable."""
    from sealtrail.errors import (  # noqa: PLC0415  see above
        AuditUnavailable,
        ReceiptInvalid,
        RecorderError,
    )

    try:
        proof, entry = Path(options.file).read_bytes(), Path(options.entry).read_bytes()
        with _recorder(options, Trust.parse(Path(options.trust).read_bytes())) as recorder:
            standing = recorder.standing(proof, entry=entry)
    except VerifyError as error:
        return complain(str(error), EXIT_UNREADABLE, as_json=options.json)
    except (OSError, ValueError) as error:
        return complain(str(error), EXIT_USAGE, as_json=options.json)
    except ReceiptInvalid as error:
        return complain(str(error), EXIT["refuted"], as_json=options.json)
    except RecorderError as error:
        unavailable = isinstance(error, AuditUnavailable)
        return complain(
            str(error), EXIT["incomplete"] if unavailable else EXIT_USAGE, as_json=options.json
        )
    sys.stdout.write(
        json.dumps(standing.json(), indent=2) + "\n" if options.json else standing.text()
    )
    return EXIT["verified" if standing.proof is not None else "incomplete"]


def _recorder(options: argparse.Namespace, trust: Trust | None = None) -> "Recorder":
    from sealtrail.recorder import Recorder  # noqa: PLC0415  see above

    if not options.ledger or not options.token_file:
        raise ValueError("Both the ledger's address and the token's file are needed.")
    try:
        token = Path(options.token_file).read_text(encoding="ascii").strip()
    except UnicodeDecodeError:
        raise ValueError("The token's file holds something else than a token.") from None
    return Recorder(options.ledger, token, trust=trust)


def _recorder_if_named(options: argparse.Namespace, trust: Trust) -> "Recorder | None":
    """Return a recorder, or None where no ledger is named: then nothing is asked of one."""
    return _recorder(options, trust) if options.ledger else None


def _as_json(proof: bytes) -> str:
    read = TlogProof.parse(proof)
    checkpoint = Checkpoint.parse(Note.parse(read.checkpoint).text)
    return json.dumps(
        {
            "origin": checkpoint.origin,
            "position": read.index,
            "size": checkpoint.size,
            "root": "sha256:" + checkpoint.root.hex(),
            "path": ["sha256:" + node.hex() for node in read.path],
            "proof": proof.decode(),
        },
        indent=2,
    )


if __name__ == "__main__":
    sys.exit(main())
