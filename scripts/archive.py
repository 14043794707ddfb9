# SPDX-License-Identifier: GPL-3.0-or-later
"""`archive`: does it lock, is everything there that should be, what has not arrived."""

import dataclasses
from typing import Annotated, Any
from uuid import UUID

import typer

from ledger import clock
from ledger.archive.audit import audit
from ledger.archive.rows import ArtifactRows
from ledger.archive.s3 import BucketArchive
from scripts.assembly import Ledger, open_archive, open_ledger, open_storeroom
from scripts.configure import settings_from
from scripts.options import BookName, DataDir, Json
from scripts.output import REFUTED, exits, progress, show

app = typer.Typer(help="Sealed content and cold entries, locked.", no_args_is_help=True)

_LISTED = 1_000


@app.command()
def check(*, data: DataDir = None, as_json: Json = False) -> None:
    """Ask the archive for its lock, and try to get rid of a locked object."""
    with exits(as_json=as_json):
        archive = open_archive(settings_from(data))
        proved = isinstance(archive, BucketArchive)
        if isinstance(archive, BucketArchive):
            archive.prove()
        text = (
            "delete, overwrite, shorten and downgrade of a locked object were refused"
            if proved
            else "a directory: this program deletes nothing too early; nobody else is kept from it"
        )
        show({"fit": True, "proved": proved}, text, as_json=as_json)


@app.command()
def verify(
    *,
    read: Annotated[bool, typer.Option("--read", help="Read every byte, too.")] = False,
    book: BookName = None,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Compare what is said to be stored with what lies in the archive, and its locks."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        archive = open_archive(ledger.settings)
        rows: list[dict[str, Any]] = []
        lines, damaged = [], False
        for name, artifacts in _books(ledger, book):
            with progress(f"archive {name}", quiet=as_json) as update:
                count, found = audit(artifacts, archive, read=read, progress=update)
            rows.append(
                {
                    "book": name,
                    "stored": count,
                    "damage": [dataclasses.asdict(one) for one in found],
                }
            )
            lines.append(f"{name:24} {count} stored, {len(found)} not as they should be")
            lines += [f"  {one.sentence}" for one in found]
            damaged = damaged or bool(found)
        show({"books": rows}, "\n".join(lines) or "there is no Book", as_json=as_json)
        if damaged:
            raise typer.Exit(REFUTED)


@app.command()
def missing(*, book: BookName = None, data: DataDir = None, as_json: Json = False) -> None:
    """List content that was promised or announced and has not arrived in time."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        storeroom = open_storeroom(ledger.settings)
        rows: list[dict[str, Any]] = []
        lines = []
        for name, artifacts in _books(ledger, book):
            late = artifacts.in_state("missed", after=UUID(int=0), limit=_LISTED)
            found = [
                {
                    "event_id": one.event_id,
                    "name": one.name,
                    "artifact_id": str(one.artifact_id),
                    "deadline": clock.rfc3339(one.deadline),
                }
                for one in late
            ]
            promises = storeroom.of(ledger.shelf.book(name)).promises
            found += [
                {"event_id": event_id, "name": field, "deadline": clock.rfc3339(deadline)}
                for event_id, field, deadline in promises.unannounced(limit=_LISTED)
            ]
            rows.append({"book": name, "missing": found})
            lines.append(f"{name:24} {len(found)} missing")
            lines += [f"  {one['event_id']} {one['name']} due {one['deadline']}" for one in found]
        show({"books": rows}, "\n".join(lines) or "there is no Book", as_json=as_json)


def _books(ledger: Ledger, book: str | None) -> list[tuple[str, ArtifactRows]]:
    """Return the rows of each main Book, or of the one that is named."""
    known = ledger.shelf.rows()
    names = [book] if book is not None else [n for n, row in known.items() if row.kind == "main"]
    found = [ledger.shelf.book(name) for name in names]
    return [(one.row.name, ArtifactRows(one.database, one.row.schema)) for one in found]
