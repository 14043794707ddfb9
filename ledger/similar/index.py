# SPDX-License-Identifier: GPL-3.0-or-later
"""The projection `similar`: the perceptual hashes that may be searched, and their bands.

Two roads lead in. What stands clear in an INGEST or a GEN comes with the entry. What we computed
of archived content comes when that is stored, or, after a rebuild, with the entry that names it.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from psycopg import sql

from ledger.database import Connection
from ledger.readmodel.projection import Item
from ledger.similar.hashes import BITS_MAX, Hash, bands, parse

JSON = dict[str, Any]

_BANDS: Final = BITS_MAX // 16
_COLUMNS: Final = ", ".join(f"b{at}" for at in range(_BANDS))
_KEEP: Final = (  # Of names and numbers of ours.
    f"INSERT INTO {{book}}.similar (event_id, name, kind, position, hash, {_COLUMNS})"  # noqa: S608
    f" SELECT e.event_id, r.name, r.kind, e.position, r.hash::varbit, {_COLUMNS}"
    f" FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[]{', %s::smallint[]' * _BANDS})"
    f" AS r (event_id, name, kind, hash, {_COLUMNS})"
    " JOIN {book}.entry e ON e.event_id = r.event_id ON CONFLICT DO NOTHING"
)
# Locked: an erasure that comes meanwhile waits, and then finds the row to remove.
_STORED: Final = """
SELECT a.event_id::text, a.name, a.image_code, a.fingerprint FROM {book}.artifact a
 WHERE a.event_id = ANY(%s::uuid[]) AND (a.image_code IS NOT NULL OR a.fingerprint IS NOT NULL)
 ORDER BY a.artifact_id FOR SHARE
"""


class SimilarProjection:
    """Feeds the table `similar` (ledger.readmodel.projection.Projection)."""

    name: Final = "similar"
    tables: Final = ("similar",)

    def write(self, connection: Connection, schema: str, items: Sequence[Item]) -> None:
        """Keep the hashes that these entries have clear, and those of their archived content."""
        wanted = [one for one in items if one.type in ("INGEST", "GEN")]
        if not wanted:
            return
        rows = [
            (one.event_id, name, found)
            for one in wanted
            for name, found in named_hashes(one.type, one.entry["body"])
        ]
        query = sql.SQL(_STORED).format(book=sql.Identifier(schema))
        for event_id, name, code, phash in connection.execute(
            query, ([one.event_id for one in wanted],)
        ):
            rows += [(event_id, name, found) for found in archived_hashes(code, phash)]
        keep(connection, schema, rows)


def keep(connection: Connection, schema: str, rows: Sequence[tuple[str, str, Hash]]) -> None:
    """Keep hashes by event and name of their field; those that are there already stay."""
    rows = [row for row in rows if not row[2].flat]
    if not rows:
        return
    query = sql.SQL(_KEEP).format(book=sql.Identifier(schema))
    columns = [
        [event_id for event_id, _, _ in rows],
        [name for _, name, _ in rows],
        [one.kind for _, _, one in rows],
        [bit_text(one.data) for _, _, one in rows],
        *zip(*(_padded(one.data) for _, _, one in rows), strict=True),
    ]
    connection.execute(query, [list(column) for column in columns])


def named_hashes(type_: str, body: JSON) -> Iterator[tuple[str, Hash]]:
    """Yield (name of the field, hash) of all fingerprints in a body that can be searched."""
    for name, part in pictures_of(type_, body):
        for at, one in enumerate(part.get("fingerprints", ())):
            found = parse(one["alg"], one["value"])
            if found is not None:
                yield f"{name}.fingerprints[{at}]", found


def archived_hashes(code: bytes | None, phash: bytes | None) -> list[Hash]:
    """Return what was computed of one archived picture."""
    found = [] if code is None else [Hash("iscc", bytes(code))]
    return found if phash is None else [*found, Hash("phash", bytes(phash))]


def bit_text(data: bytes) -> str:
    """Return a hash as PostgreSQL's bit strings are written."""
    return f"{int.from_bytes(data, 'big'):0{len(data) * 8}b}"


def pictures_of(type_: str, body: JSON) -> Iterator[tuple[str, JSON]]:
    """Yield the groups of a body that describe one picture each, by name."""
    if type_ == "INGEST":
        yield "asset", body["asset"]
    if type_ != "GEN":
        return
    for at, output in enumerate(body["outputs"]):
        yield f"outputs[{at}]", output
        if "before_moderation" in output:
            yield f"outputs[{at}].before_moderation", output["before_moderation"]


def _padded(data: bytes) -> list[int | None]:
    found: list[int | None] = [*bands(data)]
    return found + [None] * (_BANDS - len(found))
