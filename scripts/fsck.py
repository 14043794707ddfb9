# SPDX-License-Identifier: GPL-3.0-or-later
"""`fsck`: re-derive everything from the stored bytes and name the first damaged position."""

from pathlib import Path
from typing import Annotated

import typer

from anchoring.fsck import Fsck, FsckReport, findings_json
from anchoring.shelf import Book
from ledger import durable
from ledger.errors import IntegrityViolation, Refused
from ledger.escrow import open_with_passphrase, open_with_private_key
from ledger.keystore import read_passphrase
from scripts.assembly import Ledger, open_ledger
from scripts.configure import settings_from
from scripts.options import BookName, DataDir, Json
from scripts.output import INCOMPLETE, REFUTED, exits, progress, say, show


def fsck(
    chain_escrow: Annotated[
        Path | None, typer.Option(help="Escrow file, or a directory of them: checks old epochs.")
    ] = None,
    escrow_passphrase_file: Annotated[Path | None, typer.Option(help="Opens the escrow.")] = None,
    auditor_private_key_file: Annotated[
        Path | None, typer.Option(help="32 bytes in hex; opens the escrow.")
    ] = None,
    *,
    full: Annotated[
        bool, typer.Option("--full", help="A second implementation recomputes the root, too.")
    ] = False,
    data: DataDir = None,
    book: BookName = None,
    as_json: Json = False,
) -> None:
    """Check every Book against its own bytes, the chain, the checkpoint store and the anchors."""
    with exits(as_json=as_json):
        settings = settings_from(data)
        escrow = chain_escrow or settings.chain_escrow
        if data is not None and escrow is not None and escrow_passphrase_file is None:
            escrow_passphrase_file = escrow / "passphrase"
        with open_ledger(settings) as ledger:
            reports = []
            for name in [book] if book is not None else list(ledger.shelf.rows()):
                key = _first_key(ledger, name, escrow, escrow_passphrase_file,
                                 auditor_private_key_file)  # fmt: skip
                with progress(f"fsck {name}", quiet=as_json) as update:
                    check = Fsck(_book(ledger, name), first_key=key, full=full)
                    reports.append(check.run(update))
        _tell(reports, as_json=as_json)


def _book(ledger: Ledger, name: str) -> Book:
    """Return the Book; also one that cannot be opened: what is wrong with it is asked here."""
    try:
        return ledger.shelf.book(name)
    except IntegrityViolation as error:
        say(f"{name} cannot be opened: {error.problem}: {error}")
        return ledger.shelf.unchecked(name)


def _first_key(
    ledger: Ledger, name: str, escrow: Path | None, passphrase: Path | None, private: Path | None
) -> bytes | None:
    """Open the escrowed first chain key of a Book, if there is a file and a way to open it."""
    if escrow is None or (passphrase is None and private is None):
        return None
    origin = ledger.shelf.rows()[name].origin if name in ledger.shelf.rows() else ""
    path = escrow / f"{durable.safe_name(origin)}.json" if escrow.is_dir() else escrow
    try:
        content = path.read_bytes()
        if private is not None:
            secret = bytes.fromhex(private.read_text("ascii").strip())
            return open_with_private_key(content, origin=origin, private_key=secret)
    except (OSError, ValueError) as error:
        raise Refused("the escrow file or its key cannot be read") from error
    if passphrase is None:
        return None
    return open_with_passphrase(content, origin=origin, passphrase=read_passphrase(passphrase))


def _tell(reports: list[FsckReport], *, as_json: bool) -> None:
    rows = [
        {
            "book": report.book,
            "origin": report.origin,
            "size": report.size,
            "root": report.root,
            "first": next(findings_json([report.first]), None) if report.first else None,
            "damage": list(findings_json(report.damage)),
            "more": report.more,
            "not_checked": report.not_checked,
        }
        for report in reports
    ]
    lines = []
    for report in reports:
        state = f"{len(report.damage)} damaged" if report.damage else "sound"
        lines.append(f"{report.book:24} {report.size} entries, {state}, root {report.root}")
        if report.first is not None:
            lines.append(f"  first: {report.first.sentence}")
        lines += [f"  {found.sentence}" for found in report.damage if found != report.first]
        lines += [f"  NOT CHECKED {what}" for what in report.not_checked]
    show({"books": rows}, "\n".join(lines), as_json=as_json)
    if any(report.damage for report in reports):
        raise typer.Exit(REFUTED)
    if any(report.not_checked for report in reports):
        raise typer.Exit(INCOMPLETE)
