# SPDX-License-Identifier: GPL-3.0-or-later
"""A database administrator with a free hand in one house: no trigger, no permission in the way."""

from collections.abc import Iterator
from contextlib import contextmanager

from house import House

from anchoring.checkpoint_store import FileCheckpointStore
from anchoring.shelf import Shelf
from evidence.attack.administrator import TABLES, Administrator
from evidence.attack.target import Target
from ledger.keys import log_key


@contextmanager
def administrator(house: House) -> Iterator[Administrator]:
    """Log in as the administrator of this house's database; {b} is the main Book's schema."""
    with house.owner() as connection:
        yield Administrator(connection, house.schema)


@contextmanager
def target_in(house: House) -> Iterator[Target]:
    """This house as an attacker of the corpus has it: every key, every row, the store."""

    def start() -> Shelf:
        store = FileCheckpointStore(house.directory / "checkpoints", house.store._keys)
        return Shelf(database=house.database, keys=house.keys, store=store)

    trust = house.trust(getattr(house, "roots", []))
    trust_file = house.directory / "trust.json"
    trust_file.write_bytes(trust.print())
    other = f"{house.origin}/other"
    if not house.keys.has(log_key(other)):
        house.keys.make(log_key(other), "ed25519")
    running = start()
    with administrator(house) as admin:
        yield Target(
            admin=admin,
            running=running.book(house.tenant),
            start=start,
            keys=house.keys,
            store=house.directory / "checkpoints",
            other=other,
            trust=trust,
            trust_file=trust_file,
        )
    running.close()


__all__ = ["TABLES", "Administrator", "administrator", "target_in"]
