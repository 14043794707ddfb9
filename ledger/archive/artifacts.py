# SPDX-License-Identifier: GPL-3.0-or-later
"""Content that an entry names by its digest: announced, uploaded, sealed, archived, opened.

    announced ──► stored          its bytes have the digest that the entry holds
        └──► missed ──► stored    they came after the deadline, and somebody was alarmed
    any of them ──► erased        its data subject was erased
                └──► expired      its retention ended

The entry is there first and never waits for the content. What is uploaded lies sealed from its
first byte on; it is read back, compared with the entry's digest, encrypted under the artifact's own
key and locked in the archive before anybody is told that it is stored. A crash between any two of
these steps is finished by whoever asks next, or by the sweep.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID

from ledger import clock
from ledger.archive.custody import Custody, Holder, Opening, bound_to
from ledger.archive.picture import look_at
from ledger.archive.promises import Promises
from ledger.archive.rows import OPEN, Artifact, ArtifactRows, WrappingMoved
from ledger.archive.spool import UploadSpool
from ledger.archive.store import Archive, checked
from ledger.archive.stream import new_key, seal, seal_facts, unseal, unseal_facts
from ledger.clock import Clock
from ledger.database import Database
from ledger.errors import Conflict, LedgerError, NotFound, Refused
from ledger.keys import KeyDestroyed, Keys
from ledger.migrate import BookRow
from ledger.reader import Reader
from sealtrail.verify import canonical

log = logging.getLogger("sealtrail.archive")

CONTENT_MAX: Final = 2**30
_BATCH: Final = 500


class DigestMismatch(Refused):
    """The uploaded bytes are not those that the entry names; they were thrown away."""

    status = 422
    problem = "artifact-digest"


class NotStored(Conflict):
    """This content has not arrived yet."""

    problem = "artifact-not-stored"


class ContentGone(Refused):
    """This content was erased or has expired; its digest and its proofs stay."""

    status = 410
    problem = "artifact-gone"


class NoPreview(NotFound):
    """There is no preview of this content."""

    problem = "no-preview"


class AlreadyStored(Conflict):
    """This content is stored; nothing more can be added to it."""

    problem = "artifact-stored"


class ArchiveBook(Protocol):
    """What artifacts need of a Book (anchoring.shelf.Book)."""

    @property
    def row(self) -> BookRow: ...
    @property
    def database(self) -> Database: ...
    @property
    def keys(self) -> Keys: ...
    @property
    def reader(self) -> Reader: ...
    @property
    def vault(self) -> Opening: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long one waits for content, and how long it is locked at first."""

    deadline_s: int = 3_600
    lock_d: int = 183


class Artifacts:
    """The artifacts of one Book; safe to share between threads."""

    def __init__(
        self,
        book: ArchiveBook,
        archive: Archive,
        spool: UploadSpool,
        *,
        terms: Terms | None = None,
        now_ms: Clock = clock.now_ms,
    ) -> None:
        self._reader, self._archive, self._spool = book.reader, archive, spool
        self._terms, self._now_ms = terms or Terms(), now_ms
        self.custody = Custody(book.vault, book.keys, book.row.first_origin)
        self.rows = ArtifactRows(book.database, book.row.schema)
        self.promises = Promises(
            book.database, book.row.schema, deadline_s=self._terms.deadline_s, now_ms=now_ms
        )

    def announce(
        self, event_id: str, name: str, *, size: int, media_type: str, credential: str
    ) -> Artifact:
        """Expect the content that an event names; safe to repeat, also for others.

        Raises NotFound for an event that is not there, ArtifactNotNamed, ArtifactChanged,
        WrappingMoved.
        """
        named = self.custody.named(self._reader.find(event_id).entry, name)
        holder = self.custody.holder(named.owner, self.rows.generation())
        artifact_id, key, now = clock.new_id(), new_key(), self._now_ms()
        bound = bound_to(artifact_id, event_id, name)
        try:
            wrapped = self.custody.wrap(holder, key, bound)
        except KeyDestroyed:
            if holder.generation in (None, self.rows.generation()):
                raise
            raise WrappingMoved from None
        return self.rows.add(
            Artifact(
                artifact_id=artifact_id,
                event_id=event_id,
                name=name,
                digest=named.digest if named.clear else None,
                subject_ref=holder.owner,
                generation=holder.generation,
                wrapped_key=wrapped,
                facts=seal_facts(key, "facts", named.digest, aad=bound),
                size=size,
                media_type=media_type,
                state="announced",
                announced_by=credential,
                announced_at=now,
                deadline=now + self._terms.deadline_s * 1000,
            )
        )

    def offset(self, one: Artifact) -> int:
        """Return how many bytes of an upload are here; all of them once it is stored."""
        return one.size if one.state == "stored" else self._spool.offset(str(one.artifact_id))

    def append(self, artifact_id: UUID, offset: int, content: Iterable[bytes]) -> Artifact:
        """Add content at an offset, and archive the whole once it is complete.

        Returns the artifact as it is then. Raises OffsetWrong, UploadBusy, UploadTooLarge,
        DigestMismatch after which the upload begins again, AlreadyStored, ContentGone.
        """
        id_ = str(artifact_id)
        with self._spool.turn(id_):
            one = self.rows.find(artifact_id)
            if one.state == "stored":
                if offset == one.size and not any(content):
                    return one  # It asks to finish what the sweep has finished.
                raise AlreadyStored
            self._check_open(one)
            # No key, no upload: an erased subject's content is not taken in any more. A part's key
            # lies under the artifact's own, which no rotation changes.
            key, bound = self._key(one), _bound(one)

            def wrap(part: bytes) -> bytes:
                return seal_facts(key, "part", part, aad=bound)

            here = self._spool.append(id_, offset, content, size=one.size, wrap=wrap)
            if here == one.size:
                self._archive_whole(one)
        return self.rows.find(artifact_id)

    def content(self, one: Artifact) -> Iterator[bytes]:
        """Open what is stored, in pieces; the last one only if all have the entry's digest."""
        key, bound = self._key(one), _bound(one)
        if one.state != "stored" or one.object is None or one.facts is None:
            raise NotStored
        digest = unseal_facts(key, "facts", one.facts, aad=bound)
        return checked(digest.hex(), unseal(key, self._archive.get(one.object), aad=bound))

    def preview(self, one: Artifact) -> tuple[bytes, bytes, dict[str, canonical.JSON]]:
        """Return the small copy of a picture (JPEG), its pHash, and its width and height."""
        key = self._key(one)
        if one.preview is None:
            raise NotStored if one.state in OPEN else NoPreview
        told = unseal_facts(key, "preview", one.preview, aad=_bound(one))
        line, _, preview = told.partition(b"\n")
        said = canonical.decode(line)
        if not isinstance(said, dict):  # Cannot be: we wrote it, and nobody else has the key.
            raise NoPreview
        return preview, bytes.fromhex(str(said.pop("phash"))), said

    def miss_overdue(self) -> list[tuple[str, str]]:
        """Mark what has not arrived in time, or was promised and never announced.

        Returns event id and name of what is new among it: the alarm.
        """
        self.promises.search()
        late = [(one.event_id, one.name) for one in self.rows.miss(self._now_ms())]
        return [*late, *self.promises.missed()]

    def missing(self) -> int:
        """Return how much content is missing now."""
        return self.rows.counts()["missed"] + self.promises.missing()

    def finish_waiting(self) -> int:
        """Archive uploads that are complete and were not finished; forget those that ended."""
        done = 0
        for id_ in self._spool.ids():
            try:
                with self._spool.turn(id_):
                    done += self._finish(UUID(id_))
            except LedgerError as error:  # The next sweep tries again.
                log.warning("an upload is not finished: %s", error.problem)
        return done

    def rewrap(self, held: Callable[[str], object]) -> Iterator[int]:
        """Wrap the keys of the tenant's content under a new key, then destroy the older ones.

        Yields how many are done; safe to break off and to repeat. No object is touched.
        held: whether a legal hold keeps a key, by its name (Holds.on_key).
        """
        generation, done = self.rows.generation() + 1, 0
        self.custody.make(generation)
        self.rows.move_on(generation)
        while batch := self.rows.wrapped_before(generation, _BATCH):
            for one in batch:
                key, bound = self._key(one), _bound(one)
                holder = Holder(owner=None, generation=generation)
                self.rows.rewrap(one, generation, self.custody.wrap(holder, key, bound))
            done += len(batch)
            yield done
        self.custody.destroy_before(generation, held)

    def _finish(self, artifact_id: UUID) -> bool:
        one = self.rows.find(artifact_id)
        if one.state not in OPEN:
            self._spool.remove(str(artifact_id))
        elif self._spool.offset(str(artifact_id)) == one.size:
            self._archive_whole(one)
            return True
        return False

    def _archive_whole(self, one: Artifact) -> None:
        """Check, seal, archive and write down an upload that is complete; in its turn."""
        key, bound, id_ = self._key(one), _bound(one), str(one.artifact_id)
        wanted = unseal_facts(key, "facts", one.facts or b"", aad=bound)

        def content() -> Iterator[bytes]:
            return self._spool.content(
                id_, lambda sealed: unseal_facts(key, "part", sealed, aad=bound)
            )

        seen, name = sha256(), sha256()
        for piece in seal(key, _seen(content(), seen.update), aad=bound):
            name.update(piece)
        if seen.digest() != wanted:
            # What was encrypted above never left this function: the key is as good as new.
            self._spool.remove(id_)
            raise DigestMismatch
        self.rows.name_object(one.artifact_id, name.hexdigest())
        until = clock.from_ms(self._now_ms()) + timedelta(days=self._terms.lock_d)
        self._archive.put(name.hexdigest(), seal(key, content(), aad=bound), until=until)
        picture = look_at(content(), one.media_type)
        preview = None
        if picture is not None:
            said: dict[str, canonical.JSON] = {
                "phash": picture.fingerprint.hex(),
                "width": picture.width,
                "height": picture.height,
            }
            told = canonical.encode(said) + b"\n" + picture.preview
            preview = seal_facts(key, "preview", told, aad=bound)
        # A perceptual hash confirms a guess: it is clear only where the digest is.
        clear = picture if one.digest is not None else None
        self.rows.store(one, at_ms=self._now_ms(), preview=preview, picture=clear)
        self._spool.remove(id_)

    def _key(self, one: Artifact) -> bytes:
        self._check_open(one)
        try:
            return self.custody.unwrap(_holder(one), one.wrapped_key or b"", _bound(one))
        except KeyDestroyed:
            now = self.rows.find(one.artifact_id)
            if now.generation == one.generation:
                raise
            return self._key(now)  # It was wrapped anew since the row was read.

    def _check_open(self, one: Artifact) -> None:
        if one.wrapped_key is None:
            raise ContentGone(state=one.state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Storeroom:
    """What all Books of a process share: the archive, and where uploads wait."""

    archive: Archive
    uploads: Path
    terms: Terms = Terms()

    def of(self, book: ArchiveBook, *, now_ms: Clock = clock.now_ms) -> Artifacts:
        """Return the artifacts of a Book; asks nobody."""
        spool = UploadSpool(self.uploads / book.row.name)
        return Artifacts(book, self.archive, spool, terms=self.terms, now_ms=now_ms)


def _holder(one: Artifact) -> Holder:
    return Holder(owner=one.subject_ref, generation=one.generation)


def _bound(one: Artifact) -> bytes:
    return bound_to(one.artifact_id, one.event_id, one.name)


def _seen(pieces: Iterable[bytes], look: Callable[[bytes], None]) -> Iterator[bytes]:
    for piece in pieces:
        look(piece)
        yield piece
