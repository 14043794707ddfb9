# SPDX-License-Identifier: GPL-3.0-or-later
"""`dataset`: training sets, sealed from a file of members at the ledger itself, and listed."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from anchoring.dataset import By, Datasets
from anchoring.dataset_build import Order
from anchoring.dataset_manifest import store
from anchoring.dataset_members import read_members
from anchoring.shelf import Book
from ledger.errors import NotFound
from scripts.assembly import Ledger, open_ledger, open_storeroom
from scripts.configure import settings_from
from scripts.options import BookName, DataDir, Json
from scripts.output import exits, say, show
from scripts.packet import CREDENTIAL, check_person

app = typer.Typer(
    help="Training sets: sealed, so that absence can be proved.", no_args_is_help=True
)

_PIECE: Final = 1024 * 1024
_TELL: Final = 10_000

Id = Annotated[str, typer.Option("--id", help="The set, such as acme/faces.")]


@app.command()
def seal(  # noqa: PLR0917 - Typer reads the parameters by name
    file: Annotated[Path, typer.Argument(help="NDJSON, a member a line; - is standard input.")],
    id_: Id,
    version: Annotated[str, typer.Option(help="Which version of it, such as 3.")],
    person: Annotated[str, typer.Option(help="Who runs this and answers for it; committed.")],
    supersedes: Annotated[str | None, typer.Option(help="The version that is current now.")] = None,
    exclusions_digest: Annotated[str | None, typer.Option(help="Of the opt-outs honoured.")] = None,
    cyclonedx_digest: Annotated[str | None, typer.Option(help="Of its CycloneDX.")] = None,
    *,
    book: BookName = None,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Seal a version of a set over ingested assets; safe to repeat."""
    order = Order(
        id=id_,
        version=version,
        supersedes=supersedes,
        exclusions_digest=exclusions_digest,
        cyclonedx_digest=cyclonedx_digest,
    )
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        of = _book(ledger, book)
        check_person(ledger, of.row.tenant, person)
        by = By(actor={"kind": "human", "credential": CREDENTIAL}, person=person)
        told_by = _Steps(quiet=as_json).told
        sealed = Datasets(of).seal(order, read_members(_pieces(file)), by, told_by)
        stored = store(
            open_storeroom(ledger.settings).of(of),
            of,
            sealed.number,
            sealed.event_id,
            perceptual="perceptual_count" in sealed.body,
            by=CREDENTIAL,
        )
        told = {
            "dataset": sealed.body,
            "event_id": sealed.event_id,
            "position": sealed.position,
            "repeat": sealed.repeat,
            "artifacts": stored,
        }
        show(told, _lines(told), as_json=as_json)


@app.command("list")
def list_(*, book: BookName = None, data: DataDir = None, as_json: Json = False) -> None:
    """List the sealed versions of every set."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        found = Datasets(_book(ledger, book)).all()
        rows = [{**one.body, "position": one.position, "event_id": one.event_id} for one in found]
        lines = [
            f"{row['id']} · {row['version']}  {row['member_count']} members  {row['smt_root']}"
            for row in rows
        ]
        show({"datasets": rows}, "\n".join(lines) or "there is no sealed set", as_json=as_json)


@app.command("show")
def show_(
    id_: Id,
    version: Annotated[str | None, typer.Option(help="The current one if absent.")] = None,
    *,
    book: BookName = None,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show what the log holds of one version."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        sealed = Datasets(_book(ledger, book)).find(id_, version)
        if sealed is None:
            raise NotFound("there is no such sealed version of a set in this Book")
        state, _ = Datasets(_book(ledger, book)).state(id_)
        told = {
            "dataset": sealed.body,
            "event_id": sealed.event_id,
            "position": sealed.position,
            "superseded_by": state.replaced.get(sealed.body["version"]),
        }
        show(told, _lines(told), as_json=as_json)


class _Steps:
    """Tells of each step how far it is; how many members there are, only their end tells."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._told = quiet, ("", 0)

    def told(self, step: str, done: int) -> None:
        name, last = self._told
        if not self._quiet and (step != name or done - last >= _TELL):
            say(f"{step}: {done:,}")
            self._told = (step, done)


def _pieces(file: Path) -> Iterator[bytes]:
    if str(file) == "-":
        while piece := sys.stdin.buffer.read(_PIECE):
            yield piece
        return
    with file.open("rb") as opened:
        while piece := opened.read(_PIECE):
            yield piece


def _book(ledger: Ledger, name: str | None) -> Book:
    """Return the Book that is named, or the only main one."""
    main = [row.name for row in ledger.shelf.rows().values() if row.kind == "main"]
    if name is None and len(main) != 1:
        raise NotFound("name the Book with --book")
    return ledger.shelf.book(name or main[0])


def _lines(told: dict[str, Any]) -> str:
    said = told["dataset"]
    lines = [
        f"{said['id']} · version {said['version']}  {said['member_count']} members",
        f"  root      {said['smt_root']}",
        f"  manifest  {said['manifest_digest']}",
        f"  entry     position {told['position']}, {told['event_id']}",
    ]
    if told.get("repeat"):
        lines.append("  sealed before, with the same members")
    if told.get("superseded_by"):
        lines.append(f"  superseded by version {told['superseded_by']}")
    lines += [f"  {one['name']}: {one['state']}" for one in told.get("artifacts", ())]
    return "\n".join(lines)
