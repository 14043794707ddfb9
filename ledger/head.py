# SPDX-License-Identifier: GPL-3.0-or-later
"""The head row and the chain: where the log ends, and the proof that we put the end there.

    head = epoch, frontier (its size included), mac of the last entry, time of the last entry, tag

The tag is an HMAC over all the rest under the chain key of the head's epoch. A process that did
not write the present head checks the tag before it extends or signs anything: without it, whoever
can write to the table could swap one frontier hash and have the log key sign the result.

Chain keys only ever move forward (`constructions`, docs/formats.md §4): the key of an epoch makes
the key of the next and is then destroyed, so that who takes the machine tonight cannot re-forge
yesterday. A process that slept through some epochs takes the same steps from the key it has.
"""

import hmac
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

from psycopg import sql

from ledger import clock
from ledger.database import Connection
from ledger.errors import HOW_TO_GO_ON, HeadForged, HistoryRewritten, IntegrityViolation
from ledger.keys import KeyDestroyed, KeyMissing, Keys, chain_key, is_closed
from sealtrail.verify import chain
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.frontier import Frontier

#: A process that slept catches up by so many epochs at most, eleven years of nights. A head row
#: further ahead was not written by us, and each step would leave a key file behind.
STEPS_MAX: Final = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The end of one Book's log, as its head row says."""

    epoch: int
    frontier: Frontier
    mac: bytes  #: Of the last entry; the epoch's start value while the epoch is empty.
    last_time: int  #: `time.recorded` of the last entry, in ms since 1970.
    tag: bytes

    @property
    def size(self) -> int:
        return self.frontier.size

    @property
    def root(self) -> bytes:
        return self.frontier.root()


class Chain:
    """The chain keys of one origin: links, tags, and the walk from one epoch to the next."""

    def __init__(self, keys: Keys, origin: str) -> None:
        self.origin = origin
        self._keys = keys
        self._evolve = chain.evolve_message(origin)
        self._names: dict[int, str] = {}  # Of the keys that this process may hold in memory.
        self._forgotten = 0  # All epochs before this one are forgotten here.

    def mac(self, epoch: int, message: bytes) -> bytes:
        return self._keys.mac(self._name(epoch), message)

    def _name(self, epoch: int) -> str:
        name = self._names.get(epoch)
        if name is None:
            name = self._names[epoch] = chain_key(self.origin, epoch)
        return name

    def linker(self, epoch: int) -> Callable[[bytes, int, bytes], bytes]:
        """Return what makes an entry's MAC in `epoch` of the MAC before it, position and leaf."""
        mac, name = self._keys.mac, self._name(epoch)

        def link(previous: bytes, position: int, leaf: bytes) -> bytes:
            return mac(name, chain.link_message(previous, position, leaf))

        return link

    def start(self, epoch: int, last_mac: bytes | None) -> bytes:
        return self.mac(epoch, chain.start_message(self.origin, epoch, last_mac))

    def head(self, *, epoch: int, frontier: Frontier, mac: bytes, last_time: int) -> Head:
        """Return the head with its tag."""
        tag = self._tag(epoch, frontier, mac, last_time)
        return Head(epoch=epoch, frontier=frontier, mac=mac, last_time=last_time, tag=tag)

    def check(self, head: Head) -> None:
        """Return if we (any process of this ledger) wrote this head; else raise HeadForged.

        Raises HistoryRewritten when the key of the head's epoch was destroyed. Another process may
        have done that since the head was read: see HeadRow.checked. Raises it, too, when a restore
        has closed this origin.
        """
        try:
            self._reach(head.epoch)
            tag = self._tag(head.epoch, head.frontier, head.mac, head.last_time)
        except KeyDestroyed as error:
            self.check_open()
            raise _too_old(head.epoch) from error
        except KeyMissing:
            self.check_open()
            raise
        except ValueError as error:  # A MAC of another length, a time before 1970.
            raise HeadForged from error
        if not hmac.compare_digest(tag, head.tag):
            self.check_open()
            raise HeadForged

    def check_open(self) -> None:
        """Return unless a restore has closed this origin: then raise HistoryRewritten."""
        if is_closed(self._keys, self.origin):
            raise HistoryRewritten(
                f"a restore has closed the origin {self.origin}, and its keys are destroyed: a"
                " process that ran before must be started again, and a database that is older than"
                f" that restore needs another one. {HOW_TO_GO_ON}"
            )

    def of(self, origin: str) -> "Chain":
        """Return the chain of another origin, with the same keeper of keys."""
        return Chain(self._keys, origin)

    def evolve(self, epoch: int) -> None:
        """Make the key of `epoch + 1` durable beside that of `epoch`; both stay."""
        self._keys.evolve(
            chain_key(self.origin, epoch), self._evolve, chain_key(self.origin, epoch + 1)
        )

    def forget_before(self, epoch: int) -> None:
        """Destroy the keys of all epochs before `epoch`: only after a reread head has shown it.

        Oldest first: whoever holds an older key can make the younger ones. Cheap when there is
        nothing to do.
        """
        if epoch <= self._forgotten:
            return
        for old in sorted({*self.epochs(), *self._names}):
            if old < epoch:
                # Also what another process destroyed already: this one may have it in memory.
                with suppress(KeyDestroyed, KeyMissing):
                    self._keys.destroy(chain_key(self.origin, old))
                self._names.pop(old, None)
        self._forgotten = epoch

    def epochs(self) -> list[int]:
        """The epochs whose keys are held, in no order."""
        prefix = chain_key(self.origin, 0)[:-1]
        found = [name[len(prefix) :] for name in self._keys.names() if name.startswith(prefix)]
        return [int(rest) for rest in found if rest.isascii() and rest.isdigit()]

    def _reach(self, epoch: int) -> None:
        """Make sure that the key of `epoch` is there, by evolving from an older one."""
        if self._keys.has(chain_key(self.origin, epoch)):
            return
        held = self.epochs()
        if not held:
            raise KeyMissing(f"there is no chain key of {self.origin} in this keystore")
        newest = max((e for e in held if e < epoch), default=None)
        if newest is None:
            raise _too_old(epoch)
        if epoch - newest > STEPS_MAX:
            raise HeadForged(f"the head row is {epoch - newest} epochs ahead of our chain keys")
        for step in range(newest, epoch):
            self.evolve(step)

    def _tag(self, epoch: int, frontier: Frontier, mac: bytes, last_time: int) -> bytes:
        message = chain.head_message(
            origin=self.origin,
            epoch=epoch,
            size=frontier.size,
            frontier_bytes=frontier.pack(),
            mac=mac,
            last_time_ms=last_time,
        )
        return self.mac(epoch, message)


def _too_old(epoch: int) -> HistoryRewritten:
    return HistoryRewritten(
        f"the head is in epoch {epoch}, whose chain key was destroyed when the log moved on."
        f" {HOW_TO_GO_ON}"
    )


@dataclass(frozen=True, slots=True)
class HeadRow:
    """Reads and lays the head row of the Book in `schema`. Statements only; no trust."""

    schema: str

    def read(self, connection: Connection) -> Head:
        """Return the head as stored; raises IntegrityViolation if the row is gone or misshapen."""
        row = connection.execute(
            sql.SQL(
                "SELECT epoch, size, frontier, mac, last_time, tag FROM {}.head WHERE id = 1"
            ).format(sql.Identifier(self.schema))
        ).fetchone()
        if row is None:
            raise IntegrityViolation("the head row is gone")
        epoch, size, frontier, mac, last_time, tag = row
        try:
            unpacked = Frontier.unpack(size, bytes(frontier))
        except VerifyError as error:
            raise HeadForged("the head row's frontier does not fit its size") from error
        return Head(
            epoch=epoch, frontier=unpacked, mac=bytes(mac), last_time=last_time, tag=bytes(tag)
        )

    def hold(self, connection: Connection) -> None:
        """Keep everybody else from swapping the head until the transaction ends."""
        connection.execute(
            sql.SQL("SELECT 1 FROM {}.head WHERE id = 1 FOR NO KEY UPDATE").format(
                sql.Identifier(self.schema)
            )
        )

    def checked(self, connection: Connection, chain_of_book: Chain) -> Head:
        """Return the head, read and proved to be ours.

        Between our two looks another process may end the epoch and destroy its key. It does so only
        when the database shows the next epoch, so a key that is gone condemns only a head that
        stays where it is.
        """
        head = self.read(connection)
        while True:
            try:
                chain_of_book.check(head)
            except HistoryRewritten:
                again = self.read(connection)
                if again.epoch <= head.epoch:
                    raise
                head = again
            else:
                return head

    def lay(
        self, connection: Connection, chain_of_book: Chain, *, at_ms: int | None = None
    ) -> Head | None:
        """Lay the first head row, as the owner; None if there is one already."""
        there = sql.SQL("SELECT 1 FROM {}.head").format(sql.Identifier(self.schema))
        if connection.execute(there).fetchone() is not None:
            return None  # The first chain key may be long gone, and is not needed.
        head = chain_of_book.head(
            epoch=0,
            frontier=Frontier.empty(),
            mac=chain_of_book.start(0, None),
            last_time=clock.now_ms() if at_ms is None else at_ms,
        )
        laid = connection.execute(
            sql.SQL(
                "INSERT INTO {}.head (id, epoch, size, frontier, mac, last_time, tag)"
                " VALUES (1, %s, 0, ''::bytea, %s, %s, %s) ON CONFLICT (id) DO NOTHING RETURNING 1"
            ).format(sql.Identifier(self.schema)),
            (head.epoch, head.mac, head.last_time, head.tag),
        ).fetchone()
        return head if laid else None


class Link(NamedTuple):
    """One new entry's place: its position, leaf and MAC. A tuple: one is made per event."""

    position: int
    leaf: bytes
    mac: bytes
