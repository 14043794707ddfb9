# SPDX-License-Identifier: GPL-3.0-or-later
"""Key sheets: how every data subject's key is wrapped now, beside backups that are older.

    <directory>/keys-<time>/
        <book>.keys        ledger/vault/sheet.py
        <book>.content     ledger/archive/sheet.py
        manifest.json, manifest.sig

Written whenever a new generation has wrapped every living key, before the old one is destroyed:
from then on a backup opens its contents with the sheet, or not at all. A sheet holds nothing of one
who was erased but a random reference and the ERASURE; one from before the erasure holds a key that
was wrapped by a generation that no longer exists.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from anchoring.backup import file_time, new_directory
from anchoring.signed_files import check_files, open_signed, sign_files
from ledger import durable
from ledger.archive import sheet as content
from ledger.database import Connection, Database
from ledger.errors import Refused
from ledger.keys import Keys
from ledger.migrate import BookRow
from ledger.vault.sheet import lines_of

_PREFIX: Final = "keys-"

#: What there is of each Book, by the ends of the files' names.
_PARTS: Final[dict[str, Callable[[Connection, str], Iterator[bytes]]]] = {
    ".keys": lines_of,
    ".content": content.lines_of,
}


class NotASheet(Refused):
    """This directory holds no sheet of keys."""

    problem = "not-a-sheet"


class KeySheet(NamedTuple):
    """A sheet whose files are what was signed."""

    directory: Path
    made: str

    def of(self, book: str) -> Path | None:
        """Return the file of one Book; None if it was made after the sheet."""
        return self._part(book, ".keys")

    def content_of(self, book: str) -> Path | None:
        """Return the file about one Book's content; None if sheets did not tell of it then."""
        return self._part(book, ".content")

    def _part(self, book: str, suffix: str) -> Path | None:
        path = self.directory / f"{durable.safe_name(book)}{suffix}"
        return path if path.exists() else None


def make_sheet(
    database: Database, rows: Sequence[BookRow], keys: Keys, directory: Path
) -> KeySheet:
    """Write the sheet of these Books; durable on return. A read role for each is enough."""
    with new_directory(directory, _PREFIX) as (made, partial):
        for row in rows:
            with database.duty(row.schema, "read") as reading:
                reading.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                try:
                    for suffix, lines in _PARTS.items():
                        path = partial / f"{durable.safe_name(row.name)}{suffix}"
                        _write(path, lines(reading, row.schema))
                finally:
                    reading.execute("ROLLBACK")
        sign_files(partial, keys, {"kind": "keys", "made": made})
    return KeySheet(directory / f"{_PREFIX}{file_time(made)}", made)


def open_sheet(directory: Path, keys: Keys) -> KeySheet:
    """Return the sheet in `directory`, every byte verified; raises BackupAltered, NotASheet."""
    signed = open_signed(directory, keys)
    if signed.about["kind"] != "keys":
        raise NotASheet
    check_files(directory, signed)
    return KeySheet(directory, str(signed.about["made"]))


def newest_sheet(directory: Path, keys: Keys, *, since: str) -> KeySheet | None:
    """Return the newest sheet beside a backup, if it is younger than `since` (RFC 3339)."""
    found = sorted(path for path in directory.glob(f"{_PREFIX}*") if path.is_dir())
    sheet = open_sheet(found[-1], keys) if found else None
    return sheet if sheet is not None and sheet.made > since else None


def sheet_if_moved(
    database: Database, rows: Sequence[BookRow], keys: Keys, directory: Path
) -> KeySheet | None:
    """Write a sheet if any vault's keys have moved on since the newest one; None if none has."""
    newest = newest_sheet(directory, keys, since="")
    for row in rows:
        parts = (
            (None, None) if newest is None else (newest.of(row.name), newest.content_of(row.name))
        )
        with database.duty(row.schema, "read") as reading:
            now = [next(lines(reading, row.schema)) for lines in _PARTS.values()]
        if now != [_first_line(path) for path in parts]:
            return make_sheet(database, rows, keys, directory)
    return None


def _write(path: Path, lines: Iterator[bytes]) -> None:
    with path.open("xb") as file:
        path.chmod(0o600)
        file.writelines(lines)
        file.flush()
        durable.sync(file.fileno())


def _first_line(path: Path | None) -> bytes:
    if path is None:
        return b""
    with path.open("rb") as file:
        return file.readline()
