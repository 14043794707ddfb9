# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive in a bucket with S3 Object Lock in compliance mode: nobody deletes before the date.

    <prefix>sha256/ab/<name>      the bytes; every version of it under COMPLIANCE until its date

Compliance mode binds the account that wrote, too. What an account can still do is to put another
version over an object or a delete marker: both hide it from a plain GET and destroy nothing. So an
object is looked for among all versions of its key, and is the oldest that has its digest.

Seen in the wild, hence the shape: multipart uploads that carry a lock and are not locked, checksums
that are accepted and not stored, conditional writes that are not conditional. One PUT each, then
the bytes and the lock are read back. Source: Amazon S3 API, "Locking objects with Object Lock".
"""

import base64
import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, Final

from ledger import clock
from ledger.archive.store import (
    OBJECT_MAX,
    PIECE,
    ArchiveLocked,
    ArchiveUnfit,
    ArchiveUnreachable,
    LockUnproven,
    ObjectDamaged,
    ObjectMissing,
    Stored,
    check_date,
    check_name,
    checked,
    checked_in,
)
from ledger.aws import AwsRefused, AwsUnavailable, Client, pieces

_MODE: Final = "COMPLIANCE"
_PROBE_S: Final = 60

#: A bucket whose rules were changed is noticed after so many seconds, by whoever writes next.
_FIT_S: Final = 300.0
_DENIED: Final = frozenset({"AccessDenied", "InvalidRequest", "ObjectLocked", "Forbidden"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    key: str
    id: str
    size: int


class BucketArchive:
    """`ledger.archive.store.Archive` in a bucket of which nobody can take the lock off."""

    def __init__(
        self,
        client: Client,
        bucket: str,
        *,
        prefix: str = "",
        scratch: Path | None = None,
        object_max: int = OBJECT_MAX,
    ) -> None:
        """prefix: empty, or what every key begins with, ending in a slash.

        scratch: a directory with room for an object on its way; else the system's own.
        """
        self._scratch = scratch
        self._client, self._bucket, self._prefix = client, bucket, prefix
        self._object_max = object_max
        self._fit_until = 0.0  # What `check` found counts for _FIT_S.

    def check(self) -> None:
        """Return if the bucket keeps versions and locks by default, or raise ArchiveUnfit."""
        try:
            found = self._call("get_object_lock_configuration")["ObjectLockConfiguration"]
            versioning = self._call("get_bucket_versioning").get("Status")
        except AwsRefused as error:
            reason = f"the bucket cannot be asked for its Object Lock: {error.code}"
            raise ArchiveUnfit(reason) from None
        default = found.get("Rule", {}).get("DefaultRetention", {})
        if found.get("ObjectLockEnabled") != "Enabled" or versioning != "Enabled":
            raise ArchiveUnfit("the bucket has no Object Lock; it is switched on when it is made")
        if default.get("Mode") != _MODE:
            raise ArchiveUnfit("the bucket has no default retention in COMPLIANCE mode")
        if not (default.get("Days") or default.get("Years")):
            raise ArchiveUnfit("the bucket's default retention has no length")
        self._fit_until = clock.monotonic() + _FIT_S

    def prove(self) -> None:
        """Return if this store keeps a locked object from us, or raise ArchiveUnfit.

        Writes 32 random bytes under `probe/`, locked for a minute, and tries to get rid of them;
        those of earlier probes are removed. A configuration says what should be; this, what is.
        """
        with self._answering():
            self._remove_probes()
            data = clock.random_bytes(32)
            until = clock.now().replace(microsecond=0) + timedelta(seconds=_PROBE_S)
            key = f"{self._prefix}probe/{hashlib.sha256(data).hexdigest()}"
            md5 = hashlib.md5(data, usedforsecurity=False).digest()
            version = self._write(key, data, md5, until)
            where = {"Key": key, "VersionId": version}
            sooner = until - timedelta(seconds=_PROBE_S // 2)
            weaker = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
            self._must_refuse("delete_object", **where)
            self._must_refuse("delete_object", **where, BypassGovernanceRetention=True)
            self._must_refuse(
                "put_object_retention",
                **where,
                Retention={"Mode": _MODE, "RetainUntilDate": sooner},
                BypassGovernanceRetention=True,
            )
            self._must_refuse(
                "put_object_retention",
                **where,
                Retention=weaker,
                BypassGovernanceRetention=True,
            )
            if self._state(_Version(key=key, id=version, size=len(data))).until != until:
                raise ArchiveUnfit("a lock was changed by a call that was refused")

    def put(self, name: str, chunks: Iterable[bytes], *, until: datetime) -> Stored:
        """Write an object, lock it, read both back: see `Archive.put`."""
        until = check_date(until, clock.now())
        key = self._key(name)
        with self._answering(), self._room() as arrived:
            digest = hashlib.md5(usedforsecurity=False)  # What S3 asks for beside a lock.
            for chunk in checked_in(name, chunks, self._object_max):
                digest.update(chunk)
                arrived.write(chunk)
            arrived.seek(0)
            if self._fit_until < clock.monotonic():
                self.check()
            # Something else under this name was put there by somebody, or by a write that failed.
            versions = self._versions(key)
            known = next((one for one in versions if self._is(name, one)), None)
            if known is None:
                version = self._write(key, arrived, digest.digest(), until)
                size = arrived.seek(0, 2)
                known = _Version(key=key, id=version, size=size)
            elif not _reaches(self._state(known), until):
                self._lock(known, until)
            return self._read_back(name, known, until)

    def get(self, name: str) -> Iterator[bytes]:
        """Read an object in pieces: see `Archive.get`."""
        with self._answering():
            return checked(name, self._pieces(self._present(name)))

    def stat(self, name: str) -> Stored | None:
        """Say what the bucket knows of an object."""
        with self._answering():
            found = self._find(name)
            return None if found is None else self._state(found)

    def extend(self, name: str, until: datetime) -> Stored:
        """Lock an object until a later date; an earlier one changes nothing."""
        until = check_date(until, clock.now())
        with self._answering():
            version = self._present(name)
            if not _reaches(self._state(version), until):
                self._lock(version, until)
            stored = self._state(version)
            if not _reaches(stored, until):
                raise LockUnproven(object=name)
            return stored

    def hold(self, name: str, on: bool) -> None:
        """Put an object under a legal hold, or take it off; read back."""
        with self._answering():
            version = self._present(name)
            self._call(
                "put_object_legal_hold",
                Key=version.key,
                VersionId=version.id,
                LegalHold={"Status": "ON" if on else "OFF"},
            )
            if self._state(version).held != on:
                raise LockUnproven(object=name)

    def delete(self, name: str) -> None:
        """Delete every version of an object once all of them are free; safe to repeat."""
        with self._answering():
            versions = self._versions(self._key(name))
            now = clock.now()
            for stored in map(self._state, versions):
                if stored.held or (stored.until is not None and now < stored.until):
                    raise ArchiveLocked(object=name)
            for version in versions:
                try:
                    self._call("delete_object", Key=version.key, VersionId=version.id)
                except AwsRefused as error:
                    if error.code in _DENIED:  # Its clock decides, not ours.
                        raise ArchiveLocked(object=name) from None
                    raise
            if self._versions(self._key(name)):
                raise LockUnproven("a deleted object is still there", object=name)

    def names(self) -> Iterator[str]:
        """Name every object that has a version."""
        last = None
        with self._answering():
            for version in self._listed(f"{self._prefix}sha256/"):
                name = version.key.rpartition("/")[2]
                if name != last and version.key == self._key(name):
                    yield name
                last = name

    # What follows is how one version is written, found and asked for its lock.

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        return self._client.call(operation, Bucket=self._bucket, **parameters)

    @contextmanager
    def _room(self) -> Iterator[IO[bytes]]:
        """Lend a file without a name; what it holds is sealed, and gone with it."""
        try:
            if self._scratch is not None:
                self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._scratch) as file:
                yield file
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ArchiveUnreachable(f"there is no room for an object: {reason}") from error

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except AwsRefused as error:
            raise ArchiveUnreachable(f"the archive's bucket refuses: {error.code}") from None
        except AwsUnavailable as error:
            raise ArchiveUnreachable(f"the archive's bucket does not answer: {error}") from None

    def _key(self, name: str) -> str:
        return f"{self._prefix}sha256/{check_name(name)[:2]}/{name}"

    def _write(self, key: str, body: Any, md5: bytes, until: datetime) -> str:
        """Write one locked version in one request; return its id."""
        answer = self._call(
            "put_object",
            Key=key,
            Body=body,
            ContentMD5=base64.b64encode(md5).decode(),
            ContentType="application/octet-stream",
            ObjectLockMode=_MODE,
            ObjectLockRetainUntilDate=until,
        )
        version = answer.get("VersionId")
        if not version or version == "null":
            raise LockUnproven("the bucket gave a new object no version")
        return str(version)

    def _read_back(self, name: str, version: _Version, until: datetime) -> Stored:
        """Return what is there now; LockUnproven if that is not what was asked.

        Bytes written a moment ago that come back as others were never archived: that, too, is
        unproven. Only an object that was there before can be damaged.
        """
        try:
            size = sum(map(len, checked(name, self._pieces(version))))
        except ObjectDamaged:
            raise LockUnproven("other bytes came back than were written", object=name) from None
        stored = self._state(version)
        if stored.size != size or not _reaches(stored, until):
            raise LockUnproven(object=name)
        return stored

    def _lock(self, version: _Version, until: datetime) -> None:
        self._call(
            "put_object_retention",
            Key=version.key,
            VersionId=version.id,
            Retention={"Mode": _MODE, "RetainUntilDate": until},
        )

    def _state(self, version: _Version) -> Stored:
        """Ask for one version's size and lock. Governance mode can be bypassed: it is no lock."""
        head = self._call("head_object", Key=version.key, VersionId=version.id)
        until = head.get("ObjectLockRetainUntilDate")
        if head.get("ObjectLockMode") != _MODE or not isinstance(until, datetime):
            until = None
        return Stored(
            name=version.key.rpartition("/")[2],
            size=int(head["ContentLength"]),
            until=None if until is None else until.astimezone(UTC),
            held=head.get("ObjectLockLegalHoldStatus") == "ON",
        )

    def _pieces(self, version: _Version) -> Iterator[bytes]:
        with self._answering():
            answer = self._call("get_object", Key=version.key, VersionId=version.id)
            yield from pieces(answer["Body"], PIECE)

    def _present(self, name: str) -> _Version:
        found = self._find(name)
        if found is None:
            raise ObjectMissing(object=name)
        return found

    def _find(self, name: str) -> _Version | None:
        """Return the version that is the object: the oldest one that has its digest.

        Where there is one version, reading it checks it. Where there are several, somebody wrote
        to a key that is written once, and each is read until one has the digest.
        """
        versions = self._versions(self._key(name))
        if len(versions) < 2:
            return versions[0] if versions else None
        for version in versions:
            if self._is(name, version):
                return version
        raise ObjectDamaged(object=name)

    def _is(self, name: str, version: _Version) -> bool:
        if version.size > self._object_max:
            return False
        try:
            for _ in checked(name, self._pieces(version)):
                pass
        except ObjectDamaged:
            return False
        return True

    def _versions(self, key: str) -> list[_Version]:
        """List the versions of one key, the oldest first; delete markers are not versions."""
        return [version for version in self._listed(key) if version.key == key][::-1]

    def _listed(self, prefix: str) -> Iterator[_Version]:
        """List the versions of all keys that begin so; of each key the newest first."""
        where: dict[str, str] = {}
        while True:
            page = self._call("list_object_versions", Prefix=prefix, **where)
            for one in page.get("Versions", []):
                yield _Version(key=one["Key"], id=one["VersionId"], size=one["Size"])
            if not page.get("IsTruncated"):
                return
            where = {
                "KeyMarker": page["NextKeyMarker"],
                "VersionIdMarker": page["NextVersionIdMarker"],
            }

    def _must_refuse(self, operation: str, **parameters: Any) -> None:
        try:
            self._call(operation, **parameters)
        except AwsRefused:
            return
        raise ArchiveUnfit(f"the bucket took {operation} of a locked object")

    def _remove_probes(self) -> None:
        for version in list(self._listed(f"{self._prefix}probe/")):
            with suppress(AwsRefused):  # Still locked: the next probe removes it.
                self._call("delete_object", Key=version.key, VersionId=version.id)


def _reaches(stored: Stored, until: datetime) -> bool:
    return stored.until is not None and stored.until >= until
