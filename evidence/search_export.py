# SPDX-License-Identifier: GPL-3.0-or-later
"""All that a search finds, as a file: what it is, of which moment, and that nothing is missing.

    results.csv     one line for each entry, for a spreadsheet
    manifest.json   the query, up to which position it was answered, how many were found, the
                    digest of the file, and the log's signed checkpoint
    checkpoint.txt  that checkpoint as the log signed it

A list proves nothing by itself: each line has the leaf of its entry, which a packet or a proof
holds against the checkpoint. What was never recorded, nobody finds. All of it is made as it is
sent, and no more than a thousand entries are held at a time.
"""

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from anchoring.shelf import Book
from ledger import clock
from ledger.readmodel.query import Clause, printed
from ledger.readmodel.search import SHOWN, Match, Search, Whole, shown

FORM: Final = "search-export/1"
CSV_NAME: Final = "results.csv"
COLUMNS: Final = (
    "position", "recorded_at", "type", "event_id", "aggregate_type", "aggregate_id", "version",
    "leaf", "tier", *SHOWN,
)  # fmt: skip

#: Between several values of one cell.
BETWEEN: Final = " | "

#: Where a spreadsheet takes a cell for a formula: by its first character, full-width or not; and
#: after a semicolon, at which those of many countries begin another cell, whatever is quoted.
_FORMULA: Final = re.compile(r"(^|;)(?=[=+\-@\x00-\x1f\uff0b\uff0d\uff1d\uff20])")

_NOTES: Final = (
    "Complete for the entries before as_of; what was never recorded cannot be found.",
    "Where a cell, or a part of it after a semicolon, began with = + - @, an apostrophe is put.",
    "Outcomes, flags and tiers are as of made_at; the entries themselves never change.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All that a query finds in a Book, on its way out."""

    book: Book
    search: Search
    clauses: Sequence[Clause]
    whole: Whole
    made_ms: int = field(default_factory=clock.now_ms)

    @classmethod
    def of(cls, book: Book, clauses: Sequence[Clause]) -> "Result":
        """Find out which entries a query finds; raises QueryMalformed."""
        search = Search(book.database, book.vault, book.row.schema)
        return cls(book=book, search=search, clauses=clauses, whole=search.whole(clauses))

    @property
    def positions_digest(self) -> str:
        """Which entries were found, in a form that says nothing of the query."""
        return f"sha256:{self.whole.digest.hex()}"

    def matches(self) -> Iterator[Match]:
        return self.search.read(self.whole)

    def manifest(self, digest: str, size: int, **facts: Any) -> dict[str, Any]:
        """Return the manifest of a file of this result. digest, size: of the file's bytes."""
        note, _ = self.book.notary.refresh()
        return {
            "manifest": FORM,
            "origin": self.book.origin,
            "book": self.book.row.name,
            "query": printed(self.clauses),
            "as_of": self.whole.as_of.position,
            "behind": self.whole.as_of.behind,
            "count": self.whole.count,
            "positions_digest": self.positions_digest,
            "made_at": clock.rfc3339(self.made_ms),
            "file": {"sha256": digest, "bytes": size, **facts},
            "checkpoint": note.decode(),
            "notes": list(_NOTES),
        }


class Tally:
    """Counts and hashes what passes through."""

    def __init__(self) -> None:
        self._hash, self.size = sha256(), 0

    def __call__(self, data: bytes) -> bytes:
        self._hash.update(data)
        self.size += len(data)
        return data

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def csv_parts(result: Result) -> Iterator[bytes]:
    """Yield the CSV (RFC 4180, UTF-8): a header, then a line for each entry."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for number, match in enumerate(result.matches(), 1):
        writer.writerow(_cells(match))
        if number % 500 == 0:
            yield _taken(text)
    yield _taken(text)


def ndjson_parts(result: Result) -> Iterator[bytes]:
    """Yield a JSON document on each line: the entries, and last the manifest of what was before.

    An answer without that last line was cut off.
    """
    tally = Tally()
    for match in result.matches():
        yield tally(json.dumps(shown(match)).encode() + b"\n")
    manifest = result.manifest(tally.digest, tally.size)
    yield json.dumps({"manifest": manifest}).encode() + b"\n"


def zip_parts(result: Result) -> Iterator[bytes]:
    """Yield a zip of the CSV, its manifest and the checkpoint."""
    sink = _Sink()
    tally = Tally()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as made:
        with made.open(_entry(CSV_NAME, result), "w", force_zip64=True) as file:
            for part in csv_parts(result):
                file.write(tally(part))
                yield sink.taken()
        manifest = csv_manifest(result, tally)
        made.writestr(_entry("manifest.json", result), json.dumps(manifest, indent=1) + "\n")
        made.writestr(_entry("checkpoint.txt", result), manifest["checkpoint"])
        yield sink.taken()
    yield sink.taken()


def csv_manifest(result: Result, tally: Tally) -> dict[str, Any]:
    """Return the manifest of a CSV that has passed through `tally`."""
    facts = {"name": CSV_NAME, "columns": list(COLUMNS)}
    return result.manifest(tally.digest, tally.size, **facts)


def guarded(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return _FORMULA.sub(r"\1'", cell)


def _cells(match: Match) -> list[str]:
    aggregate, _, id_ = match.stream.partition("/")
    cells = [
        str(match.position), clock.rfc3339(match.recorded_ms), match.type, match.event_id,
        aggregate, id_, str(match.version), f"sha256:{match.leaf.hex()}", match.tier,
        *(BETWEEN.join(match.values.get(key, ())) for key in SHOWN),
    ]  # fmt: skip
    return [guarded(cell) for cell in cells]


def _taken(text: io.StringIO) -> bytes:
    data = text.getvalue().encode()
    text.seek(0)
    text.truncate()
    return data


def _entry(name: str, result: Result) -> zipfile.ZipInfo:
    made = clock.from_ms(result.made_ms)
    info = zipfile.ZipInfo(name, made.timetuple()[:6])
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info


class _Sink(io.RawIOBase):
    """Takes what the zip writes and gives it away; nothing can be sought in it."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data
