# SPDX-License-Identifier: GPL-3.0-or-later
"""`retention`: publish a policy, plan, sweep, look, and bring cold entries back."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from anchoring.shelf import Book
from anchoring.sweep import RetentionSweep, publish_policy
from anchoring.sweep_desk import Desk
from anchoring.sweep_expiry import Expiry
from anchoring.thaw import Retrievals
from ledger import clock
from ledger.errors import MalformedEvent
from ledger.retention.manifest import WINDOW_MS
from scripts.assembly import Ledger, open_archive, open_ledger
from scripts.configure import settings_from
from scripts.options import BookName, DataDir, Json
from scripts.output import INCOMPLETE, REFUTED, exits, progress, say, show
from sealtrail.verify import canonical

app = typer.Typer(help="How long what is kept, and where it lies.", no_args_is_help=True)

_DOCUMENT_MAX = 65_536


@app.command()
def publish(
    file: Annotated[Path, typer.Argument(help="The policy: JSON, as docs/retention.md shows.")],
    *,
    book: BookName = None,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Publish the next version of a policy. It shortens nothing that is recorded already."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        with file.open("rb") as opened:
            text = opened.read(_DOCUMENT_MAX)
        document = canonical.parse(text)
        if not isinstance(document, dict):
            raise MalformedEvent("a policy is a JSON object")
        rows = [
            {"book": name, "event_id": publish_policy(ledger.shelf.book(name), dict(document))}
            for name in _names(ledger, book)
        ]
        lines = [f"{row['book']:24} published by {row['event_id']}" for row in rows]
        show({"published": rows}, "\n".join(lines), as_json=as_json)


@app.command()
def plan(*, book: BookName = None, data: DataDir = None, as_json: Json = False) -> None:
    """Show what a sweep would do now; changes nothing."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        rows, lines = [], []
        for name in _names(ledger, book):
            found = _sweep(ledger, name).plan()
            rows.append({"book": name, **dataclasses.asdict(found)})
            due = ", ".join(f"{what} {count}" for what, count in found.to_announce.items())
            lines += [
                f"{name:24} {found.size} entries, policy {found.policy or 'none published'}",
                f"  to the warm tier  {found.to_warm}: the index of identifiers shrinks",
                f"  to the archive    {found.to_cold} entries in {found.runs} runs",
                f"  to be dropped     {found.to_drop} that are in the archive",
                f"  to be announced   {due or 'nothing'}; held {sum(found.held.values())}",
                f"  announced         {found.waiting} wait, {found.to_expire} go",
                f"  kept              {found.kept} that could go, by a hold or a lock",
                f"  refused           {found.refused} that were announced and do not fit",
            ]
        show({"books": rows}, "\n".join(lines), as_json=as_json)


@app.command()
def sweep(*, book: BookName = None, data: DataDir = None, as_json: Json = False) -> None:
    """Do what is due, as every night does. Safe to repeat, and to interrupt."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        rows: list[dict[str, Any]] = []
        for name in _names(ledger, book):
            for step in _sweep(ledger, name).run():
                say(f"{name} {step.sentence}")
                rows.append({"book": name, **dataclasses.asdict(step)})
        lines = [f"{row['book']:24} {row['what']:10} {row['sentence']}" for row in rows]
        show({"steps": rows}, "\n".join(lines) or "nothing is due", as_json=as_json)
        _exit_of([row["what"] for row in rows])


@app.command()
def status(*, book: BookName = None, data: DataDir = None, as_json: Json = False) -> None:
    """Show the policy, the tiers and every announcement that is not carried out."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        rows, lines = [], []
        for name in _names(ledger, book):
            row = _status(ledger.shelf.book(name), ledger)
            rows.append({"book": name, **row})
            lines.append(
                f"{name:24} {row['size']} entries: {row['cold']} cold, {row['expired']} expired,"
                f" {row['bodies']} in the database; policy {row['policy'] or 'none published'}"
            )
            lines += [
                f"  {one['what']} of {one['count']} announced by {one['event_id']},"
                f" go after {one['not_before']}: {one['state']}"
                for one in row["announced"]
            ]
        show({"books": rows}, "\n".join(lines), as_json=as_json)
        if any(one["state"] == "refused" for row in rows for one in row["announced"]):
            raise typer.Exit(REFUTED)


@app.command()
def retrieve(
    first: Annotated[int, typer.Argument(min=0, help="First position.")],
    end: Annotated[int, typer.Argument(min=1, help="Position after the last one.")],
    *,
    hours: Annotated[int, typer.Option(min=1, max=8_760, help="To be readable so long.")] = 72,
    book: BookName = None,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Bring cold entries back for a while, so that they can be read and packed."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        name = book or _names(ledger, None)[0]
        of = ledger.shelf.book(name)
        retrievals = Retrievals(of, open_archive(ledger.settings))
        asked = retrievals.ask(range(first, end), until_ms=clock.now_ms() + hours * 3_600_000)
        with progress(f"retrieve {name}", quiet=as_json) as update:
            done = retrievals.work(asked.id, update)
        row = {"book": name, **done.json()}
        show(row, f"{name:24} {done.done} of {done.total} entries: {done.state}", as_json=as_json)
        if done.state != "done":
            raise typer.Exit(INCOMPLETE)


def _names(ledger: Ledger, book: str | None) -> list[str]:
    return [book] if book is not None else list(ledger.shelf.rows())


def _sweep(ledger: Ledger, name: str) -> RetentionSweep:
    return RetentionSweep(ledger.shelf.book(name), open_archive(ledger.settings))


def _exit_of(done: list[str]) -> None:
    if "refused" in done:
        raise typer.Exit(REFUTED)
    if "busy" in done:
        raise typer.Exit(INCOMPLETE)


def _status(book: Book, ledger: Ledger) -> dict[str, Any]:
    desk = Desk.open(book, open_archive(ledger.settings))
    policy = desk.policies.current(desk.now_ms)
    ((bodies,),) = desk.select("SELECT count(*) FROM {book}.entry_body")
    ((cold,),) = desk.select(
        "SELECT coalesce(sum(bit_count(b.members)), 0)::bigint FROM {book}.bundle b"
        " JOIN {book}.moved m USING (name)"
    )
    ((expired,),) = desk.select(
        "SELECT coalesce(sum(bit_count(t.members)), 0)::bigint FROM {book}.tombstone t"
        " JOIN {book}.expired x USING (number, event_id) WHERE t.what = 'entry'"
    )
    return {
        "size": desk.size,
        "policy": None if policy is None else f"{policy.id}/{policy.version}",
        "bodies": bodies,
        "cold": desk.size - bodies - expired,
        "bundled": cold,
        "expired": expired,
        "announced": [
            {
                "event_id": one.event_id,
                "what": one.manifest.what,
                "count": len(one.manifest.leaves),
                "not_before": clock.rfc3339(
                    max(one.manifest.not_before_ms, (one.anchored_ms or 0) + WINDOW_MS)
                ),
                "state": _state(one.anchored_ms, one.sound, ready=one.ready(desk.now_ms)),
            }
            for one in Expiry(desk).open()
        ],
    }


def _state(anchored_ms: int | None, sound: bool | None, *, ready: bool) -> str:
    if sound is False:
        return "refused"
    if anchored_ms is None:
        return "waits for an anchor"
    if sound is None:
        return "waits for its check"
    return "goes with the next sweep, unless it is held" if ready else "waits for its time"
