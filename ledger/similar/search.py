# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what is near a hash: bands first, then the distance of what they bring, then the entries.

Nothing within the distance asked for is missed (ledger.similar.hashes). Where very many hashes
share a band, because somebody recorded the same picture a million times, the database stops after
STATEMENT_MS and nothing is answered: a part would pass for the whole.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql

from ledger.database import Database
from ledger.errors import Overloaded
from ledger.similar.hashes import BITS_MAX, Hash, bands, flips, near
from ledger.similar.index import bit_text

STATEMENT_MS: Final = 5_000

#: `part` is that of Near: an output with several fingerprints takes one place of the answer.
_FOUND: Final = """
SELECT event_id, name, kind, position, apart, bits
  FROM (SELECT DISTINCT ON (event_id, part) event_id, name, kind, position, apart, bits
          FROM (SELECT s.event_id::text AS event_id, s.name, s.kind, s.position, c.bits,
                       regexp_replace(split_part(s.name, '.fingerprints', 1), '[.]sha256$', '')
                           AS part,
                       bit_count(substring(s.hash FROM 1 FOR c.bits)
                               # substring(q.hash FROM 1 FOR c.bits)) AS apart
                  FROM {book}.similar s
                 CROSS JOIN (SELECT %(hash)s::varbit AS hash) q
                 CROSS JOIN LATERAL (SELECT least(length(s.hash), length(q.hash)) AS bits) c
                 WHERE s.kind = %(kind)s AND ({either})) f
         WHERE apart <= %(within)s * bits / {whole}
         ORDER BY event_id, part, apart::float8 / bits, name) n
 ORDER BY apart::float8 / bits, position, name LIMIT %(limit)s
"""


class Near(NamedTuple):
    """A hash that is near the one that was asked for."""

    event_id: str
    name: str  #: Of the fingerprint, or of the digest of archived content.
    kind: str
    position: int
    distance: int  #: Bits that differ…
    bits: int  #: … of so many that were compared.

    @property
    def part(self) -> str:
        """Which part of the entry's body describes the picture, such as `outputs[0]`."""
        return self.name.partition(".fingerprints")[0].removesuffix(".sha256")


def search(
    database: Database, schema: str, wanted: Sequence[Hash], *, within: int, limit: int
) -> list[Near]:
    """Return what is near any of the hashes, the nearest first; each picture once.

    within: bits of 256, at most WITHIN_MAX; a shorter hash is compared in proportion. Raises
    Overloaded where the bands bring more than can be compared in time.
    """
    found: list[Near] = []
    for one in wanted:
        query, values = _query(schema, one, within, limit)
        with database.duty(schema, "read") as connection, connection.transaction():
            # Its guess of how many rows hold a band is far off where hashes cluster.
            connection.execute("SET LOCAL enable_seqscan = off")
            connection.execute(f"SET LOCAL statement_timeout = {STATEMENT_MS}")
            try:
                rows = connection.execute(query, values).fetchall()
            except psycopg.errors.QueryCanceled as error:
                told = "too many pictures are alike here; ask for a smaller distance"
                raise Overloaded(told) from error
        found += [Near(*row) for row in rows]
    found.sort(key=lambda near: (near.distance / near.bits, near.position, near.name))
    nearest: dict[tuple[str, str], Near] = {}
    for near_one in found:
        nearest.setdefault((near_one.event_id, near_one.part), near_one)
    return list(nearest.values())[:limit]


def _query(schema: str, one: Hash, within: int, limit: int) -> tuple[sql.Composed, dict[str, Any]]:
    most = flips(within)
    parts = bands(one.data)
    values: dict[str, Any] = {
        "hash": bit_text(one.data), "kind": one.kind, "within": within, "limit": limit,
    }  # fmt: skip
    values |= {f"b{at}": near(band, most) for at, band in enumerate(parts)}
    either = " OR ".join(f"s.b{at} = ANY(%(b{at})s::smallint[])" for at in range(len(parts)))
    query = sql.SQL(_FOUND).format(
        book=sql.Identifier(schema),
        whole=sql.Literal(BITS_MAX),
        either=sql.SQL(either),  # Made of numbers alone.
    )
    return query, values
