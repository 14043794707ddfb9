# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sealed sets an asset is a member of, and the members of a set: edges that no link says.

A set may have a million members, so its DATASET_SEALED names only their manifest and root. The
tables that were built beside it say which INGEST entries they are. A version counts once the log
holds exactly what was built; one whose DATASET_SEALED is in the archive is not shown.
"""

from collections.abc import Sequence
from typing import Any, Final

from psycopg import sql

from ledger import arrays
from ledger.database import Connection

_SETS: Final = """
SELECT s.thing, 'member-of', 'Dataset/' || x.dataset_id || '@' || x.manifest, x.position, NULL
  FROM unnest(%(things)s::text[]) s (thing)
  JOIN {book}.entry i ON i.stream = s.thing AND i.version = 1
 CROSS JOIN LATERAL (
       SELECT d.dataset_id, o.position,
              convert_from(d.body, 'UTF8')::jsonb ->> 'manifest_digest' AS manifest
         FROM {book}.dataset_member m JOIN {book}.dataset d USING (number)
         JOIN {book}.entry o ON o.stream = 'Dataset/' || d.dataset_id
                            AND o.topic = 'DATASET_SEALED/1'
         JOIN {book}.entry_body b ON b.position = o.position AND position(d.body IN b.bytes) > 0
        WHERE m.position = i.position ORDER BY o.position DESC LIMIT %(fan)s) x
"""
_MEMBERS: Final = """
SELECT s.thing, 'member-of', i.stream, x.position, NULL
  FROM unnest(%(things)s::text[]) s (thing)
 CROSS JOIN LATERAL (
       SELECT d.number, o.position
         FROM {book}.dataset d
         JOIN {book}.entry o ON o.stream = 'Dataset/' || d.dataset_id
                            AND o.topic = 'DATASET_SEALED/1'
         JOIN {book}.entry_body b ON b.position = o.position AND position(d.body IN b.bytes) > 0
        WHERE d.dataset_id = split_part(substr(s.thing, 9), '@', 1)
          AND convert_from(d.body, 'UTF8')::jsonb ->> 'manifest_digest'
              = split_part(s.thing, '@', 2)
        ORDER BY o.position DESC LIMIT 1) x
 CROSS JOIN LATERAL (
       SELECT position FROM {book}.dataset_member WHERE number = x.number
        ORDER BY position DESC LIMIT %(fan)s) m
  JOIN {book}.entry i ON i.position = m.position
"""

Row = tuple[Any, ...]


def set_edges(connection: Connection, schema: str, things: Sequence[str], fan: int) -> list[Row]:
    """Return (asset, relation, set, position of its sealing, no link) of these assets' sets."""
    assets = [one for one in things if one.startswith("Asset/")]
    return _rows(connection, schema, _SETS, assets, fan)


def member_edges(connection: Connection, schema: str, things: Sequence[str], fan: int) -> list[Row]:
    """Return (set, relation, asset, position of its sealing, no link) of these sets' members."""
    sets = [one for one in things if one.startswith("Dataset/") and "@" in one]
    return _rows(connection, schema, _MEMBERS, sets, fan)


def _rows(
    connection: Connection, schema: str, query: str, things: Sequence[str], fan: int
) -> list[Row]:
    if not things:
        return []
    values = {"things": arrays.texts(things), "fan": fan}
    statement = sql.SQL(query).format(book=sql.Identifier(schema))
    return connection.execute(statement, values).fetchall()
