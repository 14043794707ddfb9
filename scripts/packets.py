# SPDX-License-Identifier: GPL-3.0-or-later
"""`packet`: the commands; what they do is in scripts/packet.py."""

from pathlib import Path
from typing import Annotated

import typer

from scripts import packet
from scripts.assembly import open_ledger
from scripts.configure import settings_from
from scripts.options import DataDir, Json
from scripts.output import exits, progress, show

app = typer.Typer(help="Build and check court packets.", no_args_is_help=True)


@app.command()
def build(  # noqa: PLR0917 - Typer reads the parameters by name
    book: Annotated[str, typer.Option(help="The Book, such as acme.")],
    event: Annotated[list[str], typer.Option(help="An event_id; may be given many times.")],
    person: Annotated[str, typer.Option(help="Who runs this and answers for it; committed.")],
    purpose: Annotated[str, typer.Option(help="A code, such as incident-42.")],
    out: Annotated[Path, typer.Option(help="A new file.")],
    disclosures: Annotated[
        Path | None, typer.Option(help="JSON: {event_id: {name: disclosure}}.")
    ] = None,
    *,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Build a packet, verify it, write it. Entered in the access Book before anything is read."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        with progress("packet", quiet=as_json) as update:
            made = packet.build(
                ledger,
                book=book,
                event_ids=event,
                disclosures=disclosures,
                person=person,
                purpose=purpose,
                out=out,
                progress=update,
            )
        show(made.json(), made.text(), as_json=as_json)


@app.command()
def verify(
    file: Path,
    trust: Annotated[
        Path | None, typer.Option(help="A trust file from outside the packet; else `incomplete`.")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Check a packet as verify.pyz does."""
    raise typer.Exit(packet.verify(file, trust=trust, as_json=as_json))
