# SPDX-License-Identifier: GPL-3.0-or-later
"""Seal what a batch commits to, in the writer's thread, and find it again."""

from collections.abc import Sequence
from typing import Final

from ledger import clock
from ledger.database import Connection, Database
from ledger.keys import Keys
from ledger.vault.construction import BLOB_CHANCE, index_key, index_message, seal_blob
from ledger.vault.owners import TENANT, Owner, Sealable, identifiers_in, owners_of
from ledger.vault.statement import BlindRow, SealedBlob, Sealings
from ledger.vault.subjects import Subjects

_TENANT: Final = Owner(TENANT, TENANT)


class Vault:
    """The vault of one Book.

    origin: the first one of the Book (`BookRow.first_origin`): a restore makes no new keys here.
    """

    def __init__(self, database: Database, *, schema: str, origin: str, keys: Keys) -> None:
        self._database, self._schema = database, schema
        self._origin, self._keys = origin, keys
        self._subjects = Subjects(keys, schema=schema, origin=origin)

    def seal(self, connection: Connection, batch: Sequence[Sealable]) -> Sealings:
        """Seal the values of all events that are about to be recorded: none refused or repeated.

        For the writer's thread. connection: holds the append role; asked only about persons that
        are not remembered. After the COMMIT: `keep`. If the statement raises VaultMoved: `forget`,
        a unique violation: `doubt`; then seal again.
        """
        sealable = [item for item in batch if item.disclosures]
        sealings = Sealings()
        if not sealable:
            return sealings
        owned = [owners_of(item, _TENANT) for item in sealable]
        subjects, new = self._subjects.find(
            connection, {owner for owners in owned for owner in owners}
        )
        state = self._subjects.state(connection)
        sealings.serial, sealings.generation = state.serial, state.generation
        sealings.subjects = list(new.values())
        sealings.fresh = {owner: (subjects[owner], row) for owner, row in new.items()}
        chance = clock.random_bytes(BLOB_CHANCE * sum(map(len, owned)))
        blobs, blind, at = sealings.blobs, sealings.blind, 0
        name = index_key(self._origin, state.generation)
        for item, owners in zip(sealable, owned, strict=True):
            event_id = bytes.fromhex(item.event_id.replace("-", ""))
            for owner, names in owners.items():
                subject = subjects[owner]
                key, blob = seal_blob(
                    subject.cipher,
                    [item.disclosures[name] for name in names],
                    event_id=event_id,
                    ref=subject.ref,
                    chance=chance[at : at + BLOB_CHANCE],
                )
                at += BLOB_CHANCE
                blobs.append(SealedBlob(item.event_id, subject.ref, key, blob))
                for field, value in identifiers_in(item.disclosures, names):
                    index = self._keys.mac(name, index_message(field, value))
                    blind.append(BlindRow(field, index, item.event_id, subject.ref))
        return sealings

    def keep(self, sealings: Sealings) -> None:
        """Remember the new subjects of a batch that is committed."""
        self._subjects.keep((owner, *made) for owner, made in sealings.fresh.items())

    def forget(self) -> None:
        """Read everything anew: the vault has moved on (VaultMoved), or the connection is new."""
        self._subjects.forget()

    def doubt(self) -> None:
        """Ask the database about every person not remembered: another process writes, too."""
        self._subjects.doubt()
