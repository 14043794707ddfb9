# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the bytes of an entry are that are not in the table of bodies: cold, thawed, expired, gone.

What this says of an expired entry is what an index says; fsck holds it against the manifest that
the log commits to. Leaf hash, position and proofs are the same in every tier.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from psycopg import sql

from ledger import clock
from ledger.database import Connection
from ledger.errors import Conflict, EntryDamaged, Refused

Tier: TypeAlias = Literal["database", "cold", "expired"]

_PLACE: Final = """
SELECT (SELECT w.bytes FROM {book}.thawed w WHERE w.position = %(at)s AND w.until > %(now)s),
       (SELECT t.event_id::text FROM {book}.tombstone t JOIN {book}.expired x
          USING (number, event_id)
         WHERE t.number = %(run)s AND t.what = 'entry' AND get_bit(t.members, %(bit)s) = 1 LIMIT 1),
       EXISTS (SELECT 1 FROM {book}.bundle b JOIN {book}.moved m USING (name)
                WHERE b.number = %(run)s AND get_bit(b.members, %(bit)s) = 1)
"""


class BodyCold(Conflict):
    """This entry's bytes are in the archive; ask for them with POST /v1/retrievals, then again."""

    problem = "body-cold"


class BodyExpired(Refused):
    """This entry's bytes have expired, as announced; its leaf hash and its proofs stay."""

    status = 410
    problem = "body-expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the bytes of an entry are."""

    tier: Tier
    data: bytes | None = None  #: If they were brought back from the archive for a while.
    expiry: str | None = None  #: The RETENTION_EXPIRED entry that announced their end.


def place_of(connection: Connection, schema: str, position: int) -> Place:
    """Say where the bytes are that the table of bodies lacks; raises EntryDamaged: nowhere."""
    query = sql.SQL(_PLACE).format(book=sql.Identifier(schema))
    values: dict[str, Any] = {
        "at": position,
        "run": position // 256,
        "bit": position % 256,
        "now": clock.now_ms(),
    }
    row = connection.execute(query, values).fetchone()
    thawed, expiry, cold = row if row is not None else (None, None, False)
    if expiry is not None:
        return Place(tier="expired", expiry=expiry)
    if not cold:
        raise EntryDamaged(f"the body of the entry at position {position} is gone")
    return Place(tier="cold", data=None if thawed is None else bytes(thawed))


def brought_back(connection: Connection, schema: str, position: int) -> bytes:
    """Return the bytes of a cold entry that was brought back; unchecked.

    Raises BodyCold, BodyExpired, or EntryDamaged for one that is nowhere.
    """
    place = place_of(connection, schema, position)
    if place.tier == "expired":
        raise BodyExpired(position=position, expiry=place.expiry)
    if place.data is None:
        raise BodyCold(position=position)
    return place.data
