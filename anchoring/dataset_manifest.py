# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest of a sealed set: a line for each member, in order of position. Made anew when asked.

    {"asset_id":"asset-7","keys":{"bytes-sha256":"…","pixel-sha256":"…"},"leaf":"…","position":41}

Each line is canonical JSON and ends with a newline. Whoever has the manifest can compute the set's
root from the keys alone, and, with the salt and a member's digest, that the key is that member's.
The perceptual manifest has a line `{"alg":…,"value":…}` for each clear fingerprint, sorted, and
names no asset: it can be given to an expert who looks for near copies.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

from psycopg import sql

from anchoring.shelf import Book
from ledger.archive.artifacts import Artifacts
from ledger.database import Connection
from ledger.errors import Unavailable
from sealtrail.verify import canonical
from sealtrail.verify.sparse import BYTES, PIXELS

JSON = dict[str, Any]

_MEMBERS: Final = """
SELECT m.position, e.stream, e.leaf, m.bytes_key, m.pixel_key
  FROM {book}.dataset_member m JOIN {book}.entry e USING (position)
 WHERE m.number = %s ORDER BY m.position
"""
_FINGERPRINTS: Final = """
SELECT b.bytes FROM {book}.dataset_member m JOIN {book}.entry_body b USING (position)
 WHERE m.number = %s
"""
_FETCH: Final = 5_000

#: Where the digests of both stand in DATASET_SEALED, and so what they are called in the archive.
MANIFEST: Final = "dataset.manifest_digest"
PERCEPTUAL: Final = "dataset.perceptual_manifest_digest"
_MEDIA_TYPE: Final = "application/x-ndjson"
_PIECE: Final = 256 * 1024


def member_rows(connection: Connection, schema: str, number: int) -> Iterator[tuple[Any, ...]]:
    """Yield (position, stream, leaf, key of the bytes, key of the pixels or None), in order.

    connection: in a transaction.
    """
    yield from _rows(connection, _MEMBERS, schema, number)


def manifest_line(row: tuple[Any, ...]) -> bytes:
    """Print one member's line. Everything in it is plain ASCII, so this is its canonical JSON."""
    position, stream, leaf, bytes_key, pixel_key = row
    pixels = "" if pixel_key is None else f',"{PIXELS}":"{pixel_key.hex()}"'
    return (
        f'{{"asset_id":"{stream.removeprefix("Asset/")}","keys":{{"{BYTES}":"{bytes_key.hex()}"'
        f'{pixels}}},"leaf":"{leaf.hex()}","position":{position}}}\n'
    ).encode("ascii")


def manifest(book: Book, number: int) -> Iterator[bytes]:
    """Yield the manifest of a kept set, line by line."""
    schema = book.row.schema
    with book.database.duty(schema, "read") as connection, connection.transaction():
        for row in member_rows(connection, schema, number):
            yield manifest_line(row)


def perceptual_manifest(book: Book, number: int) -> list[bytes]:
    """Return the lines of a kept set's perceptual manifest, read from its entries again."""
    schema = book.row.schema
    found: list[bytes] = []
    with book.database.duty(schema, "read") as connection, connection.transaction():
        for (data,) in _rows(connection, _FINGERPRINTS, schema, number):
            value: Any = canonical.parse(bytes(data))
            prints = value["body"]["asset"].get("fingerprints", ())
            found += perceptual_lines((one["alg"], one["value"]) for one in prints)
    return sorted(found)


def perceptual_lines(fingerprints: Iterable[tuple[str, str]]) -> Iterator[bytes]:
    """Print the line of each fingerprint."""
    for alg, value in fingerprints:
        yield canonical.encode({"alg": alg, "value": value}) + b"\n"


def store(
    artifacts: Artifacts, book: Book, number: int, event_id: str, *, perceptual: bool, by: str
) -> list[JSON]:
    """Put a sealed set's manifests into the archive, under the tenant's key; safe to repeat.

    event_id: of its DATASET_SEALED. by: whose credential. Returns what is said of each; one that
    the archive did not take now is stored when the same set is sealed again.
    """
    told = [_store(artifacts, event_id, MANIFEST, lambda: manifest(book, number), by)]
    if perceptual:
        lines = perceptual_manifest(book, number)
        told.append(_store(artifacts, event_id, PERCEPTUAL, lambda: iter(lines), by))
    return told


def _store(
    artifacts: Artifacts,
    event_id: str,
    name: str,
    content: Callable[[], Iterator[bytes]],
    by: str,
) -> JSON:
    state = "waiting"
    with suppress(Unavailable):  # The set is sealed all the same.
        size = sum(map(len, content()))
        one = artifacts.announce(event_id, name, size=size, media_type=_MEDIA_TYPE, credential=by)
        if one.state != "stored":
            one = artifacts.append(one.artifact_id, 0, _pieces(content()))
        state = one.state
    return {"name": name, "state": state}


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Join lines to pieces of some size: each is sealed by itself."""
    waiting = bytearray()
    for line in lines:
        waiting += line
        if len(waiting) >= _PIECE:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def _rows(
    connection: Connection, query: str, schema: str, number: int
) -> Iterator[tuple[Any, ...]]:
    with connection.cursor("members") as rows:  # On the server's side: there may be millions.
        rows.itersize = _FETCH
        rows.execute(sql.SQL(query).format(book=sql.Identifier(schema)), (number,))
        yield from rows
