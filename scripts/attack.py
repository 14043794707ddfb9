# SPDX-License-Identifier: GPL-3.0-or-later
"""`attack`: try on a scratch copy of a ledger what liars try, and say who would notice."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from evidence.attack.campaign import CORPUS, Outcome, campaign, check_sound
from evidence.attack.scratch import scratch_copy
from evidence.attack.target import Attack
from ledger.errors import NotFound, Refused
from ledger.settings import Settings
from scripts.assembly import Ledger, authorities, open_ledger
from scripts.configure import settings_from
from scripts.options import BookName, DataDir, Json
from scripts.output import REFUTED, exits, progress, say, show

#: A copy that takes longer to check than this is announced, with how long all of it will take.
_LONG_S = 1.0


def attack(
    only: Annotated[
        list[str] | None, typer.Option("--only", help="One attack, by name; may be given often.")
    ] = None,
    *,
    data: DataDir = None,
    book: BookName = None,
    as_json: Json = False,
) -> None:
    """Attack a scratch copy of each Book; ends with 1 if anything goes unnoticed.

    The ledger itself is read and never written; the copy needs as much disk as the ledger, below
    the directory for temporary files, and is deleted afterwards.
    """
    with exits(as_json=as_json), open_ledger(settings_from(data)) as ledger:
        wanted = _wanted(only or [])
        rows = ledger.shelf.rows()
        if book is not None and book not in rows:
            raise NotFound("there is no Book of that name")
        outcomes = {
            name: _attack_copy(ledger, name, wanted, as_json=as_json)
            for name in ([book] if book is not None else rows)
        }
        _tell(outcomes, as_json=as_json)


def _wanted(names: Sequence[str]) -> Sequence[Attack]:
    known = {one.name: one for one in CORPUS}
    for name in names:
        if name not in known:
            raise Refused(f"there is no attack {name[:64]!r}; known are: {', '.join(known)}")
    return [known[name] for name in names] or CORPUS


def _attack_copy(
    ledger: Ledger, name: str, wanted: Sequence[Attack], *, as_json: bool
) -> list[Outcome]:
    row = ledger.shelf.rows()[name]
    outcomes = []
    with (
        tempfile.TemporaryDirectory(prefix="sealtrail-attack-") as directory,
        progress(f"attack {name}", quiet=as_json) as update,
        scratch_copy(
            ledger.database,
            row,
            keys=ledger.keys,
            store=ledger.settings.checkpoint_store,
            tsa_roots=_roots(ledger.settings),
            directory=Path(directory),
            progress=lambda line: say(f"{name}: {line}") if os.isatty(2) and not as_json else None,
        ) as scratch,
    ):
        seconds = check_sound(scratch)
        if seconds > _LONG_S:
            say(f"{name}: about {seconds * len(wanted):.0f} s for {len(wanted)} attacks")
        for outcome in campaign(scratch, wanted):
            outcomes.append(outcome)
            update(len(outcomes), len(wanted))
    return outcomes


def _roots(settings: Settings) -> list[bytes]:
    return [root for authority in authorities(settings) for root in authority.roots]


def _tell(outcomes: dict[str, list[Outcome]], *, as_json: bool) -> None:
    every = [one for found in outcomes.values() for one in found]
    counts = {
        state.replace(" ", "_"): sum(one.state == state for one in every)
        for state in ("caught", "missed", "not applicable")
    }
    lines = []
    for name, found in outcomes.items():
        lines.append(f"{name}")
        lines += [_line(one) for one in found]
    lines.append(", ".join(f"{count} {state.replace('_', ' ')}" for state, count in counts.items()))
    books = [
        {"book": name, "attacks": [_json(one) for one in found]} for name, found in outcomes.items()
    ]
    show({"books": books, **counts}, "\n".join(lines), as_json=as_json)
    if counts["missed"]:
        raise typer.Exit(REFUTED)


def _line(one: Outcome) -> str:
    told = f"by {', '.join(one.noticed) or 'nobody'}"
    if one.state == "missed":
        told += f"; NOT by {', '.join(one.missed)}"
    if one.why:
        told = one.why
    mark = {"caught": "caught", "missed": "MISSED", "not applicable": "n/a   "}[one.state]
    return f"  {mark}  {one.attack.name:30} {one.attack.adversary:30} {one.seconds:6.2f} s  {told}"


def _json(one: Outcome) -> dict[str, Any]:
    row = {
        "attack": one.attack.name,
        "adversary": one.attack.adversary,
        "tries": one.attack.tries,
        "state": one.state,
        "expected": list(one.attack.caught_by),
        "caught_by": [{"defence": name, "sentence": said} for name, said in one.noticed.items()],
        "missed_by": list(one.missed),
        "seconds": round(one.seconds, 3),
    }
    return row | ({"not_applicable": one.why} if one.why else {})
