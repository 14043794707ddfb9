# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealing without the rest of the writer: the vault's part of its statement, and nothing else."""

from typing import NamedTuple

from psycopg import sql

from ledger import clock
from ledger.catalog import CATALOG
from ledger.commitments import commit_values
from ledger.direct import Statement
from ledger.vault.owners import owned_in, value_of
from ledger.vault.vault import Vault
from sealtrail.verify.disclosure import PERSON


class Item(NamedTuple):
    """An event as the vault looks at it (ledger.vault.owners.Sealable)."""

    event_id: str
    type: str
    schema: int
    disclosures: dict

    def __repr__(self):
        return f"Item({self.type} {self.event_id})"  # The rest is personal.

    @property
    def owned(self):
        """Read from the disclosures."""
        values = {name: value_of(one) for name, one in self.disclosures.items()}
        return owned_in(values, CATALOG[self.type, self.schema].owners)


_SWAP = "WITH h AS (UPDATE {book}.head SET size = size WHERE id = 1 RETURNING 1)"


def item(user="alice", *, type_="GEN_ATTEMPT", event_id=None, **values):
    """An event with these committed values; names are spelled with __ for a dot."""
    values = {name.replace("__", "."): value for name, value in values.items()} | {PERSON: user}
    _, disclosures = commit_values(clock.random_bytes(32), values)
    return Item(event_id or str(clock.new_id()), type_, 1, disclosures)


def vault_of(house, *, shelf=None):
    """A process's vault of the house's main Book."""
    shelf = shelf or house.shelf
    row = shelf.rows()[house.tenant]
    return Vault(shelf.database, schema=row.schema, origin=row.first_origin, keys=shelf.keys)


def write_sealings(connection, schema, sealings):
    """Do what the writer's statement does with sealings, and nothing else of it."""
    parts = sealings.parts()
    text = ",".join([_SWAP, *(text for text, _ in parts)]) + " SELECT count(*) FROM h"
    values = [value for _, some in parts for value in some]
    printed = sql.SQL(text).format(book=sql.Identifier(schema)).as_string()
    Statement(printed).execute(connection, values)


class Sealer:
    """A writer that records nothing but what the vault adds."""

    def __init__(self, house, *, shelf=None, vault=None):
        self.shelf = shelf or house.shelf
        self.vault = vault or vault_of(house, shelf=shelf)
        self.schema = house.schema
        self.connection = self.shelf.database.dedicated(house.schema, "append")

    def write(self, sealings):
        write_sealings(self.connection, self.schema, sealings)

    def record(self, *items):
        """Seal, write, remember; and return what was sealed."""
        sealings = self.vault.seal(self.connection, items)
        self.write(sealings)
        self.vault.keep(sealings)
        return sealings

    def close(self):
        self.connection.close()
