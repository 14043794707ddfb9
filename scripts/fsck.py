# SPDX-License-Identifier: GPL-3.0-or-later
"""`fsck`: re-derive everything from the stored bytes and name the first damaged position."""

from pathlib import Path
from typing import Annotated

import typer

from anchoring.fsck import Fsck, FsckReport, findings_json
from anchoring.shelf import Book
from anchoring.sweep_desk import cold_of
from ledger.errors import IntegrityViolation, Unavailable
from ledger.retention.cold import Cold
from ledger.settings import Settings
from scripts.assembly import Ledger, open_archive, open_ledger
from scripts.configure import settings_from
from scripts.escrowed import Opener
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
    cold: Annotated[
        bool, typer.Option("--cold", help="Read every bundle of the archive, too.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="In so many processes; else one a core, if the log is long."),
    ] = None,
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
        opener = Opener(passphrase_file=escrow_passphrase_file, key_file=auditor_private_key_file)
        with open_ledger(settings) as ledger:
            reports = []
            for name in [book] if book is not None else list(ledger.shelf.rows()):
                of = _book(ledger, name)
                first_keys = opener.first_keys(escrow, of.row.origins)
                with progress(f"fsck {name}", quiet=as_json) as update:
                    check = Fsck(
                        of,
                        first_key=first_keys,
                        full=full,
                        cold=_cold(of, settings),
                        read_cold=cold,
                        jobs=jobs,
                    )
                    reports.append(check.run(update))
        _tell(reports, as_json=as_json)


def _cold(book: Book, settings: Settings) -> Cold | None:
    """Return the Book's cold tier; None if the archive is away, and fsck says what it lacks."""
    try:
        return cold_of(book, open_archive(settings))
    except Unavailable as error:
        say(f"the archive cannot be asked: {error}")
        return None


def _book(ledger: Ledger, name: str) -> Book:
    """Return the Book; also one that cannot be opened: what is wrong with it is asked here."""
    try:
        return ledger.shelf.book(name)
    except IntegrityViolation as error:
        say(f"{name} cannot be opened: {error.problem}: {error}")
        return ledger.shelf.unchecked(name)


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
            "cold": report.absent.cold,
            "expired": report.absent.expired,
        }
        for report in reports
    ]
    lines = []
    for report in reports:
        state = f"{len(report.damage)} damaged" if report.damage else "sound"
        lines.append(f"{report.book:24} {report.size} entries, {state}, root {report.root}")
        if report.absent.cold or report.absent.expired:
            lines.append(f"  {report.absent.cold} cold, {report.absent.expired} leaf only")
        if report.first is not None:
            lines.append(f"  first: {report.first.sentence}")
        lines += [f"  {found.sentence}" for found in report.damage if found != report.first]
        lines += [f"  NOT CHECKED {what}" for what in report.not_checked]
    show({"books": rows}, "\n".join(lines), as_json=as_json)
    if any(report.damage for report in reports):
        raise typer.Exit(REFUTED)
    if any(report.not_checked for report in reports):
        raise typer.Exit(INCOMPLETE)
