# SPDX-License-Identifier: GPL-3.0-or-later
"""`keys rotate`: replace keys while the ledger is in use; no leaf, receipt or packet changes.

chain        ends the epoch of each Book now; the old chain key is destroyed
checkpoint   begins to sign with a new log key beside the old one; `--end` destroys the old one
    wrapping     wraps every data subject's key, and makes every blind index, anew under the next
                 generation of the vault's two keys; the old generation is destroyed
    subjects     the same, and gives every data subject a new key for what is sealed from now on
packet       signs evidence packs with a new key, and destroys the old one
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from anchoring.rotation import KeyRotation, NothingToEnd, OverlapRuns, RotationOpen
from anchoring.shelf import Book, Shelf
from evidence.cap_sign import rotate_packet_key
from ledger import clock
from ledger.errors import Refused
from ledger.holds import Holds
from ledger.keys import chain_key
from ledger.writer import Limits
from scripts.assembly import (
    Ledger,
    open_ledger,
    open_storeroom,
    publish_packet_keys,
    publisher,
)
from scripts.configure import settings_from
from scripts.options import BookName, DataDir, Json
from scripts.output import exits, progress, say, show

app = typer.Typer(help="Replace keys while the ledger is in use.", no_args_is_help=True)

_UNITS: Final = {"h": 3_600_000, "d": clock.DAY_MS}


@app.command()
def chain(*, book: BookName = None, data: DataDir = None, as_json: Json = False) -> None:
    """End the epoch of each Book now: EPOCH_SEALED, a new chain key, the old one destroyed."""
    with exits(as_json=as_json), _opened(data) as ledger:
        rows = []
        names = _names(ledger, book)
        with _sealing(ledger) as shelf, progress("chain keys", quiet=as_json) as told:
            for number, name in enumerate(names, 1):
                rows.append(_seal(shelf.book(name)))
                told(number, len(names))
        lines = [f"{row['book']:24} epoch {row['old']} sealed, now {row['new']}" for row in rows]
        show({"books": rows}, "\n".join(lines), as_json=as_json)


@app.command()
def checkpoint(
    *,
    book: BookName = None,
    overlap: Annotated[
        str, typer.Option(help="How long both keys sign, such as 7d or 12h; 0 after a theft.")
    ] = "7d",
    end: Annotated[
        bool, typer.Option("--end", help="Destroy the keys whose overlap is over.")
    ] = False,
    now: Annotated[
        bool, typer.Option("--now", help="With --end: whatever overlap was announced.")
    ] = False,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Begin to sign checkpoints with a new key beside the old one; publish it; or end that."""
    with exits(as_json=as_json), _opened(data) as ledger:
        overlap_ms = overlap_of(overlap)
        if now and not end:
            raise Refused("--now goes with --end")
        work = _end if end else _begin
        rows = []
        for name in _names(ledger, book):
            rotation = KeyRotation(book=ledger.shelf.book(name), publish=publisher(ledger.settings))
            rows.append(work(rotation, overlap_ms, now=now))
        _tell(rows, ledger, as_json=as_json)


@app.command()
def packet(*, book: BookName = None, data: DataDir = None, as_json: Json = False) -> None:
    """Sign evidence packs with a new key; publish it; destroy the old one. Makes the first, too."""
    with exits(as_json=as_json), _opened(data) as ledger:
        rows = []
        for name in _names(ledger, book):
            row = ledger.shelf.book(name).row
            if row.kind != "main":  # Nobody makes packs of looks.
                continue
            publish = partial(publish_packet_keys, ledger.settings, row.first_origin)
            key = rotate_packet_key(ledger.keys, row.first_origin, publish)
            rows.append({"book": name, "new_key": key.vkey()})
        trust = str(ledger.settings.trust_file)
        lines = [f"{row['book']:24} {row['new_key']}" for row in rows]
        lines.append(f"trust  {trust}: publish it where strangers look for it")
        show({"books": rows, "trust": trust}, "\n".join(lines), as_json=as_json)


@app.command()
def wrapping(*, book: BookName = None, data: DataDir = None, as_json: Json = False) -> None:
    """Wrap subject keys and make blind indexes anew under new keys; destroy the old ones."""
    _rewrap(book, data, rekey=False, as_json=as_json)


@app.command()
def subjects(*, book: BookName = None, data: DataDir = None, as_json: Json = False) -> None:
    """Give each data subject a new key from now on, and do what `wrapping` does."""
    _rewrap(book, data, rekey=True, as_json=as_json)


def _rewrap(book: str | None, data: Path | None, *, rekey: bool, as_json: bool) -> None:
    with exits(as_json=as_json), _opened(data) as ledger:
        rows = []
        for name in _names(ledger, book):
            of = ledger.shelf.book(name)
            with progress(name, quiet=as_json) as told:
                finished = of.vault.rewrap(Holds.of(of), partial(_step, told), rekey=rekey)
                if of.row.kind == "main":  # The tenant's own content has keys outside the vault.
                    content = open_storeroom(ledger.settings).of(of)
                    for done in content.rewrap(Holds.of(of).on_key):
                        told(done, done)
            rows.append(
                {
                    "book": name,
                    "generation": finished.generation,
                    "destroyed": list(finished.destroyed),
                    "erased": [erasure_id for _, erasure_id in finished.erased],
                }
            )
        lines = [f"{row['book']:24} generation {row['generation']}" for row in rows]
        show({"books": rows}, "\n".join(lines), as_json=as_json)
        say("write a key sheet now: sealtrail-server backup keys DIR")


def _step(told: Callable[[int, int], None], _name: str, done: int, whole: int) -> None:
    told(done, whole)


def overlap_of(text: str) -> int:
    """Read `7d`, `12h` or `0`, up to a year, as milliseconds."""
    found = re.fullmatch(r"(0|[1-9][0-9]{0,3})([hd])|0", text)
    if found is None:
        raise Refused("--overlap is a number of days or hours, such as 7d or 12h, or 0")
    ms = int(found[1] or 0) * _UNITS.get(found[2] or "h", 0)
    if ms > 366 * clock.DAY_MS:
        raise Refused("--overlap is at most a year")
    return ms


def _begin(rotation: KeyRotation, overlap_ms: int, *, now: bool) -> dict[str, Any]:
    del now
    try:
        rotated = rotation.begin(overlap_ms)
    except RotationOpen:
        open_ = rotation.recorded()[-1]
        return _row(rotation.book, "open already", open_.statement.overlap_until)
    said = rotated.statement
    row = _row(rotation.book, "begun", said.overlap_until)
    return {**row, "position": rotated.position, "new_key": said.new.vkey(), "size": said.size}


def _end(rotation: KeyRotation, overlap_ms: int, *, now: bool) -> dict[str, Any]:
    del overlap_ms
    try:
        ended = rotation.end(now_ms=None if now else rotation.book.database.now_ms())
    except NothingToEnd:
        return _row(rotation.book, "nothing to end", None)
    except OverlapRuns:
        open_ = rotation.recorded()[-1]
        return _row(rotation.book, "overlap runs", open_.statement.overlap_until)
    return {**_row(rotation.book, "ended", None), "destroyed": ended}


def _row(book: Book, state: str, until: str | None) -> dict[str, Any]:
    return {"book": book.row.name, "origin": book.origin, "state": state, "overlap_until": until}


def _tell(rows: list[dict[str, Any]], ledger: Ledger, *, as_json: bool) -> None:
    lines = []
    for row in rows:
        until = f", overlap until {row['overlap_until']}" if row["overlap_until"] else ""
        lines.append(f"{row['book']:24} {row['state']}{until}")
    trust = str(ledger.settings.trust_file)
    if any(row["state"] == "begun" for row in rows):
        lines.append(f"trust  {trust}: publish it where strangers look for it")
    show({"books": rows, "trust": trust}, "\n".join(lines), as_json=as_json)


def _seal(book: Book) -> dict[str, Any]:
    """End the epoch of a Book that was opened with room for no entry more."""
    before = book.reader.head().epoch
    book.settle()
    after = book.reader.head().epoch
    if after == before:
        say(f"{book.row.name}: nothing was recorded in this epoch, so its key stays")
    gone = not book.keys.has(chain_key(book.origin, before))
    return {"book": book.row.name, "old": before, "new": after, "destroyed": gone}


@contextmanager
def _sealing(ledger: Ledger) -> Iterator[Shelf]:
    """Yield a shelf whose writers end an epoch as soon as it holds an entry."""
    shelf = Shelf(
        database=ledger.database,
        keys=ledger.keys,
        store=ledger.store,
        limits=Limits(epoch_entries=1),
    )
    try:
        yield shelf
    finally:
        shelf.close()


@contextmanager
def _opened(data: Any) -> Iterator[Ledger]:
    with open_ledger(settings_from(data)) as ledger:
        yield ledger


def _names(ledger: Ledger, book: str | None) -> list[str]:
    return [book] if book is not None else sorted(ledger.shelf.rows())
