# SPDX-License-Identifier: GPL-3.0-or-later
"""What an archive promises: bytes under the name of their digest, locked until a date.

An object's name is the SHA-256 of its bytes, in hex, so nothing can be put in its place unseen.
What goes in is sealed or compressed before; an archive knows no keys and no persons. A lock can
be made longer and never shorter; a legal hold has no date and beats every lock that has run out.

    put      stream in, lock, read back bytes and lock; anything but what was asked is an error
    extend   a later date
    hold     on until it is taken off
    delete   ArchiveLocked while locked or held
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, Protocol

from ledger.errors import Conflict, IntegrityViolation, NotFound, Refused, TooLarge, Unavailable

#: One object is at most this large, in bytes: 1 GiB of content and what sealing adds to it.
OBJECT_MAX: Final = 2**30 + 2**20

#: Bytes are read and written in pieces of this size.
PIECE: Final = 2**20

_NAME: Final = re.compile(r"[0-9a-f]{64}")


class ArchiveLocked(Conflict):
    """This object is locked until a date, or held; nobody can delete it before."""

    problem = "archive-locked"


class ArchiveNameRefused(Refused):
    """An object's name is the SHA-256 of its bytes: 64 characters of 0-9 a-f."""

    problem = "archive-name-refused"


class ObjectMissing(NotFound):
    """The archive has no object of this name."""

    problem = "object-missing"


class ObjectTooLarge(TooLarge):
    """An object of the archive is at most 1 GiB."""

    problem = "object-too-large"


class ArchiveUnreachable(Unavailable):
    """The archive cannot be read or written now."""

    problem = "archive-unreachable"


class ArchiveUnfit(Unavailable):
    """This storage does not lock what is written to it; nothing is archived there."""

    problem = "archive-unfit"


class LockUnproven(Unavailable):
    """What was read back is not what was written, or is not locked as asked; it is not archived."""

    problem = "archive-lock-unproven"


class ObjectDamaged(IntegrityViolation):
    """An object of the archive does not have the digest that is its name."""

    problem = "object-damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An object as the archive says it is now."""

    name: str  #: SHA-256 of its bytes, in hex.
    size: int  #: In bytes.
    until: datetime | None  #: Locked in compliance mode until then (UTC); None: it is not locked.
    held: bool  #: Under a legal hold: not to be deleted after `until` either.


class Archive(Protocol):
    """Write-once storage. Any method may raise ArchiveUnreachable; send the same call again."""

    def check(self) -> None:
        """Return if this storage locks what is written to it, or raise ArchiveUnfit."""

    def put(self, name: str, chunks: Iterable[bytes], *, until: datetime) -> Stored:
        """Write an object of at most OBJECT_MAX bytes and lock it until a date in the future.

        Durable, locked and read back on return. An object that is there already is read back
        instead, and its lock made as long as asked. Raises ArchiveNameRefused when the bytes do
        not have that name, LockUnproven when what is read back is anything else.
        """

    def get(self, name: str) -> Iterator[bytes]:
        """Read an object in pieces. Raises ObjectMissing, before its last piece ObjectDamaged."""

    def stat(self, name: str) -> Stored | None:
        """Say what the archive knows of an object; None if it has none of this name."""

    def extend(self, name: str, until: datetime) -> Stored:
        """Lock an object until a later date; an earlier one changes nothing. ObjectMissing."""

    def hold(self, name: str, on: bool) -> None:
        """Put an object under a legal hold, or take it off; safe to repeat. ObjectMissing."""

    def delete(self, name: str) -> None:
        """Delete an object, safe to repeat. ArchiveLocked while it is locked or held."""

    def names(self) -> Iterator[str]:
        """Name every object, in no order: for whoever compares archive and ledger."""


def check_name(name: str) -> str:
    """Return a well-formed name, or raise ArchiveNameRefused."""
    if not _NAME.fullmatch(name):
        raise ArchiveNameRefused
    return name


def check_date(until: datetime, now: datetime) -> datetime:
    """Return a date to which an object may be locked, in UTC and whole seconds, rounded up.

    Stores keep whole seconds, and a lock is never shorter than asked.
    """
    if until.tzinfo is None:
        raise Refused("a date without a time zone locks nothing")
    until = until.astimezone(UTC)
    if until <= now:
        raise Refused("an object is locked until a date in the future")
    return ceil_second(until)


def ceil_second(moment: datetime) -> datetime:
    """Round up to whole seconds."""
    whole = moment.replace(microsecond=0)
    return whole if whole == moment else datetime.fromtimestamp(whole.timestamp() + 1, UTC)


def checked_in(name: str, chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """Pass on what is being written; raises ObjectTooLarge, ArchiveNameRefused at the end."""
    seen, size = sha256(), 0
    for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise ObjectTooLarge
        seen.update(chunk)
        yield chunk
    if seen.hexdigest() != name:
        raise ArchiveNameRefused("the bytes do not have the digest that names them")


def checked(name: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pass an object's pieces on; the last one only if all of them have its name.

    So nobody who reads to the end has read another object. Raises ObjectDamaged.
    """
    seen = sha256()
    waiting: bytes | None = None
    for piece in pieces:
        seen.update(piece)
        if waiting is not None:
            yield waiting
        waiting = piece
    if seen.hexdigest() != name:
        raise ObjectDamaged(object=name)
    if waiting is not None:
        yield waiting


@contextmanager
def reaching(where: str) -> Iterator[None]:
    """Tell a disk that refuses apart from an object that is not there. where: what lies on it."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ArchiveUnreachable(f"{where}: {reason}") from error
