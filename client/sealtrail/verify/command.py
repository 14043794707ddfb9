# SPDX-License-Identifier: Apache-2.0
"""The verifier as a command: read files, check them, print the report, end with its verdict.

    python verify.pyz PACKET.zip --trust trust.json
    python verify.pyz FILE.tlog-proof --entry ENTRY.json --trust trust.json
    python verify.pyz STATEMENT.json --trust trust.json --file IMAGE
    python verify.pyz FILE.receipt --entry ENTRY.json --trust trust.json

It opens no connection and writes no file. Ends with 0 verified, 1 refuted, 2 wrong usage,
3 incomplete, 4 unreadable; 70 means that the verifier itself failed, which is no verdict.
"""

import argparse
import json
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sealtrail.verify import cose_receipt
from sealtrail.verify.cose_receipt_file import check_receipt_file
from sealtrail.verify.ed25519 import Backend
from sealtrail.verify.errors import Unreadable, VerifyError
from sealtrail.verify.packet import check_packet, read_packet
from sealtrail.verify.proof_file import check_proof_file
from sealtrail.verify.report import EXIT, EXIT_UNREADABLE, EXIT_USAGE, Report, visible
from sealtrail.verify.statement import check_statement, is_statement, read_statement
from sealtrail.verify.trust import Trust
from sealtrail.verify.zip import MAX_ARCHIVE

#: sysexits.h: an internal fault. Python would end with 1, which here means `refuted`.
EXIT_FAULT: Final = 70

_PROOF_MARK: Final = b"c2sp.org/tlog-proof@"


class NoSuchFile(Exception):  # noqa: N818  a state of the reader's disk, not of the evidence
    """A file named on the command line cannot be opened."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the result is the process's exit status."""
    parser = argparse.ArgumentParser(
        prog="verify.pyz",
        description="Check a Sealtrail packet, or a single proof, offline.",
        epilog="Ends with 0 verified, 1 refuted, 2 wrong usage, 3 incomplete, 4 unreadable.",
    )
    add_arguments(parser)
    return run(parser.parse_args(arguments))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command, for every program that offers it."""
    parser.add_argument("file", metavar="PACKET", help="a packet, proof, receipt or statement")
    parser.add_argument(
        "--trust",
        metavar="FILE",
        help="trust.json from another source than the packet; without it nothing is `verified`",
    )
    parser.add_argument(
        "--entry", metavar="FILE", help="with a single proof: the exact bytes of its entry"
    )
    parser.add_argument(
        "--file",
        dest="about",
        metavar="FILE",
        help="with a statement: the file that it is said to be about",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--now",
        metavar="TIME",
        type=_moment,
        help="judge expired certificates as of this time, such as 2026-01-14T18:23:45Z",
    )
    parser.add_argument(
        "--backend",
        choices=("auto", "python", "cryptography"),
        default="auto",
        help="python: standard library and the openssl program only; the verdict is the same",
    )


def run(options: argparse.Namespace) -> int:
    """Check what the parsed options name, print the report, and give the exit status."""
    try:
        return _run(options)
    except Exception:  # noqa: BLE001  whatever it is, it must not end like a verdict
        traceback.print_exc()
        return EXIT_FAULT


def _run(options: argparse.Namespace) -> int:
    now: datetime = options.now or datetime.now(UTC)
    try:
        report = _check(
            Path(options.file),
            trust=_trust(options.trust),
            entry=None if options.entry is None else _read(Path(options.entry)),
            file=None if options.about is None else _read(Path(options.about)),
            now=now,
            backend=options.backend,
        )
    except NoSuchFile as error:
        return _complain("verify", "refused", str(error), EXIT_USAGE, options)
    except VerifyError as error:
        return _complain("UNREADABLE", "unreadable", str(error), EXIT_UNREADABLE, options)
    text = report.json() if options.json else report.text()
    # Terminals that cannot show a character show its escape; the report must not end in an error.
    encoding = sys.stdout.encoding or "ascii"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    return EXIT[report.verdict]


def _complain(
    begins: str, word: str, message: str, status: int, options: argparse.Namespace
) -> int:
    """Say why there is no verdict: on standard error, or as the one JSON document on the other."""
    if options.json:
        print(json.dumps({"error": word, "detail": visible(message)}))  # noqa: T201  a command
    else:
        print(f"{begins}: {visible(message)}", file=sys.stderr)  # noqa: T201  a command
    return status


def _check(
    path: Path,
    *,
    trust: Trust | None,
    entry: bytes | None,
    file: bytes | None,
    now: datetime,
    backend: Backend,
) -> Report:
    data = _read(path)
    if file is not None and not is_statement(data):
        raise NoSuchFile("--file goes with a statement.")
    if data.startswith(_PROOF_MARK):
        return check_proof_file(data, entry=entry, trust=trust, backend=backend)
    if data.startswith(cose_receipt.MARK):
        return check_receipt_file(data, entry=entry, trust=trust, backend=backend)
    if entry is not None:
        raise NoSuchFile("--entry goes with a single proof; a packet holds its own entries.")
    if is_statement(data):
        statement = read_statement(data)
        return check_statement(statement, trust=trust, now=now, file=file, backend=backend)
    return check_packet(read_packet(data), trust=trust, now=now, backend=backend)


def _trust(name: str | None) -> Trust | None:
    """The reader's trust file; one that cannot be used is not the packet's fault."""
    if name is None:
        return None
    try:
        return Trust.parse(_read(Path(name)))
    except VerifyError as error:
        raise Unreadable(f"The trust file cannot be used: {error}") from None


def _read(path: Path) -> bytes:
    """A file of at most the size of a packet, plus one byte so that a larger one is noticed."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_ARCHIVE + 1)
    except OSError as error:
        raise NoSuchFile(f"{path}: {error.strerror}") from None


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("a time looks like 2026-01-14T18:23:45Z") from None
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError("the time needs a zone, such as a Z at its end")
    if not 1970 < moment.year < 9000:  # Beyond, sums of times overflow.
        raise argparse.ArgumentTypeError("the time must be after 1970 and before 9000")
    return moment.astimezone(UTC)
