# SPDX-License-Identifier: GPL-3.0-or-later
"""`anchor`: time-stamp the log now, catch up missed days, show where anchoring stands."""

from typing import Any

import typer

from anchoring.anchors import Anchors
from anchoring.arrears import arrears
from anchoring.night import Anchored, Night
from anchoring.receipt import digest_text
from ledger.clock import rfc3339
from scripts.assembly import Ledger, authorities, open_ledger
from scripts.configure import settings_from
from scripts.options import BookName, DataDir, Json
from scripts.output import INCOMPLETE, exits, say, show

app = typer.Typer(help="Time-stamp the log.", no_args_is_help=True)


@app.command()
def now(*, data: DataDir = None, book: BookName = None, as_json: Json = False) -> None:
    """Anchor everything recorded so far; closes no day."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        steps = [(name, _night(ledger, name).interim()) for name in _names(ledger, book)]
        _report(steps, as_json=as_json)


@app.command("catch-up")
def catch_up(*, data: DataDir = None, book: BookName = None, as_json: Json = False) -> None:
    """Anchor every closed day that has no anchor yet: what the night does."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        steps = []
        for name in _names(ledger, book):
            for step in _night(ledger, name).catch_up(ledger.database.now_ms()):
                say(f"{name} {step.anchor_id}")
                steps.append((name, step))
        _report(steps, as_json=as_json)


@app.command()
def status(*, data: DataDir = None, book: BookName = None, as_json: Json = False) -> None:
    """Show the newest anchor of each Book, and the days that wait."""
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        rows, lines = [], []
        for name in _names(ledger, book):
            one = ledger.shelf.book(name)
            last = Anchors(one).last()
            owed = arrears(one, ledger.database.now_ms())
            size, anchored = one.reader.head().size, last.size if last else 0
            stamped = rfc3339(owed.stamped_ms) if owed.stamped_ms else None
            rows.append(
                {
                    "book": name,
                    "size": size,
                    "anchored_size": anchored,
                    "stamped": stamped,
                    "waiting_days": owed.days,
                    "failures": owed.failures,
                }
            )
            lines.append(
                f"{name:24} size {size}, anchored {anchored}, stamped {stamped or 'never'}, "
                f"{len(owed.days)} days wait"
            )
            lines += [f"{'':24} {who} failed: {why}" for who, why in owed.failures.items()]
        show({"books": rows}, "\n".join(lines), as_json=as_json)


def _night(ledger: Ledger, name: str) -> Night:
    settings = ledger.settings
    return Night(ledger.shelf.book(name), authorities(settings), quorum=settings.tsa_quorum)


def _names(ledger: Ledger, book: str | None) -> list[str]:
    return [book] if book is not None else list(ledger.shelf.rows())


def _report(steps: list[tuple[str, Anchored]], *, as_json: bool) -> None:
    rows: list[dict[str, Any]] = [
        {
            "book": name,
            "anchor": step.anchor_id,
            "size": step.size,
            "root": digest_text(step.root),
            "tokens": list(step.tokens),
            "missing": list(step.missing),
            "recorded": step.recorded,
        }
        for name, step in steps
    ]
    lines = [
        f"{name:24} {step.anchor_id}  size {step.size}  "
        + (f"stamped by {', '.join(step.tokens)}" if step.recorded else "waits for an authority")
        for name, step in steps
    ]
    show({"anchors": rows}, "\n".join(lines) or "nothing to anchor", as_json=as_json)
    if not all(step.recorded for _, step in steps):
        raise typer.Exit(INCOMPLETE)
