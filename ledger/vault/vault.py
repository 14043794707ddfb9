# SPDX-License-Identifier: GPL-3.0-or-later
"""One Book's vault: seal in the writer's thread; open, find, erase and rotate from anywhere."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from uuid import UUID

import psycopg
from psycopg import sql

from ledger import clock
from ledger.database import Connection, Database
from ledger.keys import KeyDestroyed, Keys
from ledger.vault.construction import BLOB_CHANCE, NONCE_BYTES, index_message, seal_blob
from ledger.vault.generations import Finished, Freezer, Generations
from ledger.vault.opening import FIRST, FOUND_MAX, Opened, Opener, SubjectRef
from ledger.vault.owners import THE_TENANT, Owner, Sealable, person
from ledger.vault.rewrapping import Progress
from ledger.vault.ring import KeyRing
from ledger.vault.statement import INSERT_SUBJECT, BlindRow, SealedBlob, Sealings, VaultMoved
from ledger.vault.subjects import Subjects


def _quiet(_step: str, _done: int, _total: int) -> None:
    pass


class Vault:
    """The vault of one Book.

    origin: the first one of the Book (`BookRow.first_origin`): a restore makes no new keys here.
    """

    def __init__(self, database: Database, *, schema: str, origin: str, keys: Keys) -> None:
        self._database, self._schema = database, schema
        self._ring = KeyRing(keys, schema=schema, origin=origin)
        self._subjects = Subjects(self._ring)
        self._opener = Opener(database, self._ring)
        self._generations = Generations(database, self._ring)

    # For the writer, in its thread

    def seal(self, connection: Connection, batch: Sequence[Sealable]) -> Sealings:
        """Seal the values of all events that are about to be recorded: none refused or repeated.

        For the writer's thread. connection: holds the append role; asked only about persons that
        are not remembered. After the COMMIT: `keep`. If the statement raises VaultMoved: `forget`,
        a unique violation: `doubt`; then seal again.
        """
        sealable = [item for item in batch if item.disclosures]
        if not sealable:
            return Sealings()
        try:
            return self._seal(connection, sealable)
        except KeyDestroyed:
            # The vault moved on and its old keys are gone, while this writer had nothing to seal.
            self.forget()
            return self._seal(connection, sealable)

    def _seal(self, connection: Connection, sealable: Sequence[Sealable]) -> Sealings:
        sealings = Sealings()
        owned = [item.owned for item in sealable]
        subjects, new = self._subjects.find(
            connection, {one.owner for some in owned for one in some}
        )
        state = self._subjects.state(connection)
        sealings.serial, sealings.generation = state.serial, state.generation
        sealings.subjects = list(new.values())
        sealings.fresh = {owner: (subjects[owner], row) for owner, row in new.items()}
        chance = clock.random_bytes(BLOB_CHANCE * sum(map(len, owned)))
        blobs, blind, at = sealings.blobs, sealings.blind, 0
        for item, shares in zip(sealable, owned, strict=True):
            event_id = bytes.fromhex(item.event_id.replace("-", ""))
            for owner, names, identifiers in shares:
                subject = subjects[owner]
                key, blob = seal_blob(
                    subject.cipher,
                    [item.disclosures[name] for name in names],
                    event_id=event_id,
                    ref=subject.ref,
                    chance=chance[at : at + BLOB_CHANCE],
                )
                at += BLOB_CHANCE
                blobs.append(SealedBlob(event_id, subject.ref, key, blob))
                for field, value in identifiers:
                    mac = self._ring.mac(state.generation, index_message(field, value))
                    blind.append(BlindRow(field, mac, event_id, subject.ref))
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

    # For readers, in any thread

    def open(
        self,
        event_id: str,
        names: Collection[str] | None = None,
        *,
        sd: Collection[str] | None = None,
    ) -> Opened:
        """Open the disclosures of an event, or of these names only; says what was erased.

        sd: the entry's `_sd`; with it every disclosure must be one that the entry commits to.
        Nothing is found for an event whose client keeps its values. Raises IntegrityViolation for
        what was altered, moved or taken away. Does not enter the look in the access Book.
        """
        return self._opener.open(event_id, names, sd)

    def open_all(self, wanted: Mapping[str, Collection[str]]) -> dict[str, Opened]:
        """Open all disclosures of some hundred events by one query; their `_sd` by event_id."""
        return self._opener.open_all(wanted)

    def find(self, field: str, value: str, *, limit: int = FOUND_MAX) -> list[str]:
        """Return the ids of events with this identifier (owners.IDENTIFIERS, or the person)."""
        return self._opener.find(field, value, limit)

    def find_each(
        self,
        fields: Collection[str],
        value: str,
        *,
        limit: int = FOUND_MAX,
        leaving: bool = False,
    ) -> list[tuple[str, str]]:
        """Return (field, event id) of events that have this identifier in any of these fields.

        leaving: also of those whose erasure is pending. To keep something, and not to show it.
        """
        return self._opener.find_each(fields, value, limit, leaving=leaving)

    def subject_of(self, person_id: str) -> SubjectRef | None:
        """Return the data subject of a person's id; None if unknown, erased or being erased."""
        ref = self._opener.subject_of(person(person_id))
        return None if ref is None else self._opener.subject(ref)

    def leaving(self, person_id: str) -> list[UUID]:
        """Return a person's subjects whose erasure is pending or deferred; no index has them."""
        return self._opener.leaving(person(person_id), ("erasing", "held"))

    def subject(self, ref: UUID) -> SubjectRef | None:
        """Return a data subject by its random name, whatever its state."""
        return self._opener.subject(ref)

    def events_of(self, ref: UUID, *, after: UUID = FIRST, limit: int = FOUND_MAX) -> list[str]:
        """Return the ids of events that hold, or held, values of a subject, in order."""
        return self._opener.events_of(ref, after=after, limit=limit)

    def subject_for(self, person_id: str | None) -> UUID:
        """Return a person's data subject, made now if need be; None: the tenant's."""
        owner = THE_TENANT if person_id is None else person(person_id)
        while True:
            ref = self._opener.subject_of(owner)
            if ref is not None:
                return ref
            with suppress(psycopg.errors.UniqueViolation):  # Somebody else made it: look again.
                self._make(owner)

    def wrap_for(self, ref: UUID, secret: bytes, aad: bytes) -> bytes:
        """Encrypt a key that goes when its subject goes, such as an artifact's.

        Raises ValuesErased for a subject that is erased or being erased.
        """
        return self._opener.wrap(ref, secret, aad, clock.random_bytes(NONCE_BYTES))

    def unwrap_for(self, ref: UUID, wrapped: bytes, aad: bytes) -> bytes:
        """Return what `wrap_for` encrypted. Raises ValuesErased, SealedValueDamaged."""
        return self._opener.unwrap(ref, wrapped, aad)

    # For erasure and rotation, in any one process at a time

    def begin_erasure(self, ref: UUID, erasure_id: str) -> None:
        """Make a person unreadable at once; new events of the same person make a new subject.

        Safe to repeat with the same erasure_id, also for a subject that a hold has deferred.
        Raises NotFound, ErasureImpossible.
        """
        self._generations.begin(ref, erasure_id)

    def finish_erasures(self, holds: Freezer, progress: Progress = _quiet) -> Finished:
        """Destroy what was begun: the others are wrapped and indexed anew, old keys destroyed.

        After the return every subject in state `erased` is so for good, those of an interrupted
        earlier run included; one on which a hold lies is `held`, readable again, and waits for
        `begin_erasure` after the hold's release. Raises RotationRunning.
        """
        return self._generations.finish(holds, rotate=False, progress=progress)

    def rewrap(
        self, holds: Freezer, progress: Progress = _quiet, *, rekey: bool = False
    ) -> Finished:
        """Rotate both of the vault's keys, and finish erasures on the way.

        rekey: give each data subject a new key, too. What was sealed under the earlier ones stays
        so; they are wrapped together with the new one, and go with it when the person is erased.
        """
        return self._generations.finish(holds, rotate=True, rekey=rekey, progress=progress)

    def _make(self, owner: Owner) -> None:
        """Make a subject outside of a batch, through the writer's gate; not if the vault moves."""
        statement = sql.SQL(INSERT_SUBJECT).format(book=sql.Identifier(self._schema))
        with self._database.duty(self._schema, "append") as connection:
            subjects = Subjects(self._ring, whole=0)
            _, new = subjects.find(connection, {owner})
            state = subjects.state(connection)
            # Caught here: beyond this block it would count as a database that does not answer.
            with suppress(VaultMoved):
                for row in new.values():
                    connection.execute(statement, row._asdict() | {"serial": state.serial})
