# SPDX-License-Identifier: GPL-3.0-or-later
"""What the log itself tells about holds and erasures: proved entry by entry, then remembered.

A decision to destroy is taken on these entries and not on a table that follows from them. Each is
read under the head's keyed tag and by its leaf, so rows that somebody laid beyond the head count
for nothing, and one that was altered, or was there before, stops whoever asked.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from psycopg import sql

from ledger.database import Connection
from ledger.errors import EntryDamaged
from ledger.head import Chain, HeadRow
from ledger.store import read_entry
from sealtrail.verify.merkle import leaf_hash

JSON = dict[str, Any]

_POSITIONS: Final = """
SELECT e.position, e.leaf FROM {book}.entry e
 WHERE e.topic IN ({topics}) AND e.position < %s ORDER BY e.position
"""
_BODIES: Final = """
SELECT e.position, e.topic, e.leaf, b.bytes
  FROM {book}.entry e LEFT JOIN {book}.entry_body b USING (position)
 WHERE e.position = ANY(%s) ORDER BY e.position
"""


class Note(NamedTuple):
    """One entry of the ledger's own."""

    position: int
    leaf: bytes
    value: JSON

    @property
    def type(self) -> str:
        return str(self.value["type"])

    @property
    def body(self) -> JSON:
        body: JSON = self.value["body"]
        return body

    @property
    def recorded(self) -> str:
        return str(self.value["time"]["recorded"])

    @property
    def credential(self) -> str | None:
        """Whose it was, if a person's."""
        found: str | None = self.value["actor"].get("credential")
        return found


class CustodyLog:
    """Reads the entries of a few rare types of one Book; remembers them, for they never change."""

    def __init__(self, schema: str, chain: Chain, types: Sequence[str]) -> None:
        self._head, self._chain = HeadRow(schema), chain
        book = sql.Identifier(schema)
        # As literals, so that the partial index entry_custody is found whatever the plan.
        topics = sql.SQL(", ").join(sql.Literal(f"{type_}/1") for type_ in types)
        self._positions = sql.SQL(_POSITIONS).format(book=book, topics=topics)
        self._bodies = sql.SQL(_BODIES).format(book=book)
        self._notes: dict[int, Note] = {}

    def told(self, connection: Connection) -> list[Note]:
        """Return the entries under the signed head, in order, each proved by its leaf.

        Raises EntryDamaged for one that is altered, that was there before, or has no body, and
        HeadForged for a head that is not ours.
        """
        size = self._head.checked(connection, self._chain).size
        leaves = {at: bytes(leaf) for at, leaf in connection.execute(self._positions, (size,))}
        missing = [at for at in leaves if at not in self._notes]
        for row in connection.execute(self._bodies, (missing,)) if missing else ():
            note = _read(*row)
            self._notes[note.position] = note
        for position, note in list(self._notes.items()):  # Another thread may add to them.
            if position < size and leaves.get(position) != note.leaf:
                raise EntryDamaged(f"the entry at position {position} was altered or is gone")
        return [self._notes[at] for at in leaves]


def _read(position: int, topic: str, leaf: bytes, data: bytes | None) -> Note:
    if data is None or leaf_hash(bytes(data)) != bytes(leaf):
        raise EntryDamaged(f"the entry at position {position} cannot be read")
    entry = read_entry(bytes(data))
    if entry.topic != topic:
        raise EntryDamaged(f"the entry at position {position} is listed as another type")
    return Note(position, bytes(leaf), entry.value)
