# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the table of legal holds says what the log says.

Whoever destroys compares the two for themselves; this tells it a day earlier, to somebody who can
still ask who wrote to the database.
"""

from collections.abc import Iterator

from anchoring.tile_walk import Damage
from ledger.database import Connection
from ledger.errors import IntegrityViolation
from ledger.head import Chain
from ledger.hold_record import HoldRecord
from ledger.keys import KeyMissing


def holds_that_differ(connection: Connection, schema: str, chain: Chain) -> Iterator[Damage]:
    """Yield a finding for each row of the table that no entry accounts for.

    A row that is missing is none: it is made again when somebody asks. Damage of the log itself is
    for others to name, and so is a head that no key can vouch for, as before a restore is accepted.
    """
    try:
        forged = HoldRecord(schema, chain).forged(connection)
    except (IntegrityViolation, KeyMissing):
        return
    for hold_id, part in forged:
        yield None, "hold", f"part {part} of the legal hold {hold_id} is not what the log says"
