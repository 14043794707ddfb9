# SPDX-License-Identifier: GPL-3.0-or-later
"""After a restore each vault learns from the newest key sheet who was erased since the backup.

And the archive's artifacts learn what opens the tenant's own content now.
"""

from pathlib import Path

from anchoring.key_sheet import open_sheet
from ledger.archive import sheet as content
from ledger.database import Connection, Database
from ledger.keys import Keys
from ledger.migrate import BookRow
from ledger.vault.rewrapping import Rewrapping
from ledger.vault.ring import KeyRing
from ledger.vault.sheet import CaughtUp, catch_up
from scripts.output import say


class Vaults:
    """Brings the vaults of a restored database to what keystore and key sheet know.

    sheet: the directory of a key sheet; it is verified here. give_up: go on without contents whose
    keys nobody has any more.
    """

    def __init__(self, keys: Keys, sheet: Path | None = None, *, give_up: bool = False) -> None:
        self._keys, self._give_up = keys, give_up
        self._sheet = None if sheet is None else open_sheet(sheet, keys)

    def catch_up(self, owner: Connection, row: BookRow) -> CaughtUp:
        """Bring one Book up to date, in the caller's transaction; `lost` counts artifacts, too.

        Raises SheetMissing.
        """
        sheet, origin = self._sheet, row.first_origin
        found = catch_up(
            owner,
            schema=row.schema,
            origin=origin,
            keys=self._keys,
            sheet=None if sheet is None else sheet.of(row.name),
            give_up=self._give_up,
        )
        lost = content.catch_up(
            owner,
            schema=row.schema,
            origin=origin,
            keys=self._keys,
            sheet=None if sheet is None else sheet.content_of(row.name),
            give_up=self._give_up,
        )
        if found.erased or found.lost:
            say(f"{row.name}: {found.erased} data subjects erased since, {found.lost} lost")
        if lost:
            say(f"{row.name}: {lost} artifacts of the tenant's own lost")
        return found._replace(lost=found.lost + lost)

    def reindex(self, database: Database, row: BookRow) -> None:
        """Make the blind indexes anew whose keys are gone; once `catch_up` is committed."""
        ring = KeyRing(self._keys, schema=row.schema, origin=row.first_origin)
        with database.duty(row.schema, "read") as connection:
            generation = ring.read(connection).generation
        Rewrapping(database, ring).reindex(generation, lambda *_: None)
