# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes the key that signs a Book's checkpoints, while everybody goes on writing.

    made        the new key is durable in the keystore; from now on every process signs every
                checkpoint with both keys, so readers need know only one of them
    measured    size: the head, read after that. Whoever signs looks for new keys first, and then
                signs what was committed before: no log larger than this has only the old signature
    recorded    KEY_ROTATED: the statement, signed by both keys
    published   the trust file names the new key, and up to which size the old one speaks alone
                · · ·  the overlap: readers take the new trust file  · · ·
    ended       the old key is destroyed; its public half stays, for all that it has signed

Killed between any two of these and started again it goes on where it was. No leaf, receipt or
packet changes. After a theft the overlap is nothing, and the old key ends at once: what it signed
before stays provable by its time stamps, and what a thief makes it sign is too large or too late.

KNOWN GAP: a process on another host sees a new key when its file system shows it. On a network file
system that may be seconds later: a checkpoint signed meanwhile by the old key alone is refused by
readers of the new trust file, until a larger one replaces it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from anchoring.checkpoint import signers_of, verifier_keys
from anchoring.shelf import Book
from ledger import clock
from ledger.errors import IntegrityViolation, Refused
from ledger.keys import KeyExists, log_key, log_keys
from ledger.lookup import LOG_ID
from ledger.request import ledger_made
from sealtrail.verify import base64text
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.note import Note, VerifierKey
from sealtrail.verify.rotation import Rotation
from sealtrail.verify.trust import Bound

#: Tells the world: origins with all their keys, and how far a replaced one speaks.
Publish = Callable[[Mapping[str, Sequence[VerifierKey]], Mapping[str, Bound]], None]

#: So many rotations of one log are looked through: a monthly one for eighty years.
_ROTATIONS: Final = 1_000


class RotationOpen(Refused):
    """The last rotation of this log is not over; end it before the next one begins."""

    status = 409
    problem = "rotation-open"


class NothingToEnd(Refused):
    """No key of this log waits for its end."""

    status = 409
    problem = "nothing-to-end"


class OverlapRuns(Refused):
    """Readers may still know the old key only: its overlap is not over."""

    status = 409
    problem = "overlap-runs"


class RotationForged(IntegrityViolation):
    """A KEY_ROTATED entry is not signed by both keys, or names one that this log never had."""

    problem = "rotation-forged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """One rotation as it is recorded, with both signatures checked."""

    position: int
    generation: int
    statement: Rotation


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRotation:
    """Rotates the log key of one Book. publish is safe to repeat."""

    book: Book
    publish: Publish

    def recorded(self) -> list[Rotated]:
        """Return the rotations of the present origin, oldest first; raises RotationForged."""
        keys = verifier_keys(self.book.keys, self.book.origin)
        found = []
        for stored in self.book.reader.of_topic("KEY_ROTATED/1", limit=_ROTATIONS):
            body = stored.entry.value["body"]
            if body["origin"] != self.book.origin:
                continue  # Of an earlier incarnation, whose keys are all destroyed.
            complaint = complaint_about(body, keys)
            if complaint is not None:
                raise RotationForged(f"KEY_ROTATED at position {stored.position}: {complaint}")
            found.append(
                Rotated(
                    position=stored.position,
                    generation=body["generation"],
                    statement=Rotation.check(body),
                )
            )
        return sorted(found, key=lambda one: one.generation)

    def begin(self, overlap_ms: int) -> Rotated:
        """Begin a rotation, or finish beginning one. Raises RotationOpen during another's overlap.

        overlap_ms: how long both keys sign; 0 after a theft.
        """
        book = self.book
        book.settle()  # Opens the writer's connection, and shows at once if nothing can be written.
        generation = self._made()
        rotated = next((one for one in self.recorded() if one.generation == generation), None)
        if rotated is None:
            self._record(generation, book.database.now_ms() + overlap_ms)
            rotated = next(one for one in self.recorded() if one.generation == generation)
        self._publish()
        return rotated

    def end(self, *, now_ms: int | None = None) -> list[str]:
        """Destroy the keys whose overlap is over at `now_ms`; None: now, whatever was announced.

        Returns their names. Raises NothingToEnd, OverlapRuns.
        """
        keys, origin = self.book.keys, self.book.origin
        names = log_keys(keys, origin)
        waiting = [name for name in names[:-1] if keys.has(name)]
        recorded = {one.generation: one for one in self.recorded()}
        newest = recorded.get(len(names))
        if not waiting or newest is None:
            raise NothingToEnd
        if now_ms is not None and now_ms < clock.parse_time(newest.statement.overlap_until):
            raise OverlapRuns
        self._publish(ended=newest.statement.old)
        self.book.settle()
        note, _ = self.book.notary.refresh()
        if newest.statement.new.key_id not in {one.key_id for one in Note.parse(note).signatures}:
            raise IntegrityViolation("the newest checkpoint does not have the new key's signature")
        for name in waiting:
            keys.destroy(name)
        return waiting

    def due(self, now_ms: int) -> bool:
        """Say if `end` would find something to do. Costs a few file reads."""
        keys, origin = self.book.keys, self.book.origin
        if not any(keys.has(name) for name in log_keys(keys, origin)[:-1]):
            return False
        recorded = self.recorded()
        newest = recorded[-1].statement.overlap_until if recorded else None
        return newest is not None and clock.parse_time(newest) <= now_ms

    def _made(self) -> int:
        """Return the number of the key that is being introduced; make it unless it is there."""
        keys, origin = self.book.keys, self.book.origin
        names = log_keys(keys, origin)
        if len(names) > 1 and keys.has(names[-2]):
            if len(names) in {one.generation for one in self.recorded()}:
                self._publish()  # One who was killed may not have come to that.
                raise RotationOpen
            return len(names)  # One who was killed had only made the key.
        try:
            keys.make(log_key(origin, len(names) + 1), "ed25519")
        except KeyExists:  # Somebody else begins this very rotation.
            raise RotationOpen from None
        return len(names) + 1

    def _record(self, generation: int, until_ms: int) -> None:
        book = self.book
        old, new = signers_of(book.keys, book.origin)[-2:]
        statement = Rotation(
            origin=book.origin,
            old=old.key,
            new=new.key,
            size=book.reader.head().size,  # Read after the new key was made.
            overlap_until=clock.rfc3339(until_ms),
        )
        text = statement.statement()
        book.record_own(
            ledger_made(
                "KEY_ROTATED",
                LOG_ID,
                {
                    "key": "log",
                    "origin": book.origin,
                    "generation": generation,
                    "old_key": old.key.vkey(),
                    "new_key": new.key.vkey(),
                    "size": statement.size,
                    "overlap_until": statement.overlap_until,
                    "old_signature": base64text.encode(book.keys.sign(old.name, text)),
                    "new_signature": base64text.encode(book.keys.sign(new.name, text)),
                },
            )
        )

    def _publish(self, ended: VerifierKey | None = None) -> None:
        """Tell the world. ended: this key ends now, however long its overlap was to be."""
        until = {}
        for one in self.recorded():
            said = one.statement
            time = datetime.fromisoformat(said.overlap_until)
            if said.old == ended:
                time = min(time, clock.from_ms(self.book.database.now_ms()))
            until[said.old.vkey()] = Bound(size=said.size, time=time)
        keys = verifier_keys(self.book.keys, self.book.origin)
        self.publish({self.book.origin: keys}, until)


def complaint_about(body: Mapping[str, object], keys: Sequence[VerifierKey]) -> str | None:
    """Say what is wrong with the body of a KEY_ROTATED entry; None if nothing is.

    keys: all that the log ever had, oldest first, as the keystore has them.
    """
    try:
        statement = Rotation.check(body)
    except VerifyError as error:
        return str(error)
    generation = body.get("generation")
    if not isinstance(generation, int) or not 2 <= generation <= len(keys):
        return "it introduces a key that the keystore never had"
    if (statement.old, statement.new) != (keys[generation - 2], keys[generation - 1]):
        return "its keys are not those of the keystore"
    return None
