# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever keeps the archive has the account that wrote to it, or the disk that it lies on.

They want an image gone, changed or read. The bucket is a real one with Object Lock, and they use
the very credentials that the ledger uses.
"""

import base64
import hashlib
from datetime import timedelta

import pytest
from archive_contract import named, put
from archiving import gallery_in, picture

from ledger import clock
from ledger.archive.audit import audit
from ledger.archive.directory import DirectoryArchive
from ledger.archive.s3 import BucketArchive
from ledger.archive.store import ArchiveUnfit
from ledger.archive.upkeep import Upkeep
from ledger.aws import AwsRefused
from ledger.errors import LedgerError
from ledger.holds import Holds

pytestmark = [pytest.mark.slow, pytest.mark.once]

IMAGE = picture(300, 200, seed=21)
OBJECT = b"a sealed image that somebody regrets"
NAME = named(OBJECT)
KEY = f"sha256/{NAME[:2]}/{NAME}"


@pytest.fixture
def archive(bucket):
    """An archive with one object, locked for a day."""
    made = BucketArchive(bucket.client, bucket.name)
    put(made, OBJECT, clock.now() + timedelta(days=1))
    return made


def version_of(bucket, at=-1):
    return bucket.call("list_object_versions", Prefix=KEY)["Versions"][at]["VersionId"]


def refused(bucket, operation, **parameters):
    with pytest.raises(AwsRefused):
        bucket.call(operation, Key=KEY, **parameters)


def still_there(archive):
    stored = archive.stat(NAME)
    assert b"".join(archive.get(NAME)) == OBJECT
    return stored.until > clock.now() + timedelta(hours=20) and not stored.held


def test_deletes_a_locked_version(archive, bucket):
    """Who: the account that wrote it.
    Tries: deletes the version, also with the right to bypass governance, also in a batch.
    Caught by: the store, which locks in compliance mode.
    Not caught: the end of the whole store, or of the account at a provider that closes it."""
    version = version_of(bucket)

    refused(bucket, "delete_object", VersionId=version)
    refused(bucket, "delete_object", VersionId=version, BypassGovernanceRetention=True)
    wanted = {"Objects": [{"Key": KEY, "VersionId": version}]}
    answer = bucket.call("delete_objects", Delete=wanted, BypassGovernanceRetention=True)

    assert answer.get("Errors")
    assert still_there(archive)


def test_shortens_or_weakens_a_lock(archive, bucket):
    """Who: the account that wrote it.
    Tries: an earlier date, governance mode, no retention at all.
    Caught by: the store; in compliance mode a date only moves on.
    Not caught: nothing known."""
    version, sooner = version_of(bucket), clock.now() + timedelta(seconds=30)
    far = clock.now() + timedelta(days=30)

    for retention in (
        {"Mode": "COMPLIANCE", "RetainUntilDate": sooner},
        {"Mode": "GOVERNANCE", "RetainUntilDate": sooner},
        {"Mode": "GOVERNANCE", "RetainUntilDate": far},
        {},
    ):
        refused(
            bucket,
            "put_object_retention",
            VersionId=version,
            Retention=retention,
            BypassGovernanceRetention=True,
        )

    assert still_there(archive)


def test_writes_another_version_over_it(archive, bucket):
    """Who: the account that wrote it.
    Tries: another object under the same key, newer, of any size, locked for longer.
    Caught by: the archive, which finds the version that has the digest in the object's name.
    Not caught: what the other versions cost in storage."""
    far = clock.now() + timedelta(days=300)
    for forged in (b"an innocent image", OBJECT[:-1], b""):
        bucket.call(
            "put_object",
            Key=KEY,
            Body=forged,
            ObjectLockMode="COMPLIANCE",
            ObjectLockRetainUntilDate=far,
            ContentMD5=_md5(forged),
        )

    assert bucket.call("get_object", Key=KEY)["Body"].read() == b""
    assert still_there(archive)
    assert list(archive.names()) == [NAME]


def test_writes_something_else_under_its_name_before_it(bucket):
    """Who: the account, and somebody who reads the name of an object from the database before it
    is written; or a store that has once written other bytes than it was given.
    Tries: other bytes under that name, locked for long, so that the content is never archived.
    Caught by: the archive, to which only bytes with the digest are the object: it writes a version
    of its own beside them.
    Not caught: what the other version costs in storage, until its date."""
    archive = BucketArchive(bucket.client, bucket.name)
    data = b"what is to come"
    name = named(data)
    far = clock.now() + timedelta(days=300)
    bucket.call(
        "put_object",
        Key=f"sha256/{name[:2]}/{name}",
        Body=b"what was there first",
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=far,
        ContentMD5=_md5(b"what was there first"),
    )

    stored = archive.put(name, [data], until=clock.now() + timedelta(days=100))
    again = archive.put(name, [data], until=clock.now() + timedelta(days=100))

    assert b"".join(archive.get(name)) == data
    assert stored.size == again.size == len(data)
    assert archive.stat(name).until == again.until


def test_hides_it_behind_a_delete_marker(archive, bucket):
    """Who: the account that wrote it.
    Tries: a plain DELETE, which Object Lock allows: it adds a marker, and a GET answers 404.
    Caught by: the archive, which looks among the versions and not at the newest.
    Not caught: whoever fetches the object by other means believes that it is gone."""
    bucket.call("delete_object", Key=KEY)

    refused(bucket, "get_object")
    assert still_there(archive)


def test_takes_the_default_lock_off_the_bucket(archive, bucket):
    """Who: the account that owns the bucket.
    Tries: removes the default retention, or makes it governance, so that a later write whose lock
    gets lost on the way lies there unlocked.
    Caught by: the archive, before it writes; the doctor command.
    Not caught: for at most five minutes in a process that has just looked; each object's own lock
    is read back all the same."""
    for retention in (None, {"Mode": "GOVERNANCE", "Days": 1}):
        rule = {} if retention is None else {"Rule": {"DefaultRetention": retention}}
        bucket.call(
            "put_object_lock_configuration",
            ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", **rule},
        )

        with pytest.raises(ArchiveUnfit):
            put(BucketArchive(bucket.client, bucket.name), b"x", clock.now() + timedelta(days=1))

    assert still_there(archive)


def test_suspends_versioning(archive, bucket):
    """Who: the account that owns the bucket.
    Tries: stops the bucket from keeping versions, so that the next write replaces.
    Caught by: the store, as long as the bucket has Object Lock.
    Not caught: nothing known."""
    with pytest.raises(AwsRefused):
        bucket.call("put_bucket_versioning", VersioningConfiguration={"Status": "Suspended"})

    assert still_there(archive)


def test_lets_a_legal_hold_go(house, bucket):
    """Who: the account that wrote it.
    Tries: takes the legal hold off an object and waits for its date.
    Caught by: the date, which nobody moves back; an audit, which compares each object with the
    holds that the log has put on it.
    Not caught: a deletion by hand between the date and the next audit."""
    gallery = gallery_in(house, BucketArchive(bucket.client, bucket.name))
    one = gallery.stored(IMAGE)
    Holds.of(house.book).apply({"event_ids": [one.event_id]}, matter="m", authority="a")
    Upkeep(house.book, gallery.archive, now_ms=clock.now_ms).follow_holds()
    assert gallery.archive.stat(one.object).held

    (version,) = bucket.call("list_object_versions")["Versions"]
    where = {"Key": version["Key"], "VersionId": version["VersionId"]}
    bucket.call("put_object_legal_hold", **where, LegalHold={"Status": "OFF"})
    _, found = audit(gallery.artifacts.rows, gallery.archive, read=False)

    assert [finding.problem for finding in found] == ["object-released"]
    with pytest.raises(AwsRefused):
        bucket.call("delete_object", **where)


def test_uploads_in_parts_and_loses_the_lock(ceph):
    """Who: a writer who means well, and uses the upload in parts that every tool offers.
    Tries: parts, with a lock in the request; this store takes it and locks nothing.
    Caught by: the default retention that the archive asks of a bucket; one request for each object;
    and the lock that is read back, which an audit does, too.
    Not caught: in a bucket that nobody checked, written to by others."""
    bare = ceph.bucket(default=None)
    upload = bare.call(
        "create_multipart_upload",
        Key=KEY,
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=clock.now() + timedelta(days=1),
    )["UploadId"]
    part = bare.call("upload_part", Key=KEY, UploadId=upload, PartNumber=1, Body=OBJECT)
    parts = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
    bare.call("complete_multipart_upload", Key=KEY, UploadId=upload, MultipartUpload=parts)

    assert BucketArchive(bare.client, bare.name).stat(NAME).until is None
    with pytest.raises(ArchiveUnfit):
        BucketArchive(bare.client, bare.name).check()


def test_reads_everything_that_lies_in_the_bucket(house, bucket):
    """Who: whoever can read the bucket, or its disks.
    Tries: looks for the image, its digest, its event and its person in keys, bytes and metadata.
    Caught by: content is encrypted before it leaves, under a key that lies elsewhere, and named by
    the digest of what it was encrypted to.
    Not caught: how many objects there are, how large each is, and when it was written."""
    gallery = gallery_in(house, BucketArchive(bucket.client, bucket.name))
    one = gallery.stored(IMAGE)
    listed = bucket.call("list_object_versions")["Versions"]
    lying = []
    for version in listed:
        answer = bucket.call("get_object", Key=version["Key"], VersionId=version["VersionId"])
        lying.append(answer["Body"].read() + repr(answer).encode() + version["Key"].encode())

    assert len(listed) == 1
    secrets = (IMAGE[:32], IMAGE[1000:1032], one.digest, one.digest.hex().encode(),
               one.event_id.encode(), one.subject_ref.hex.encode(), b"employee-7")  # fmt: skip
    assert [secret for secret in secrets if any(secret in data for data in lying)] == []
    assert b"".join(gallery.artifacts.content(one)) == IMAGE


def test_swaps_two_artifacts_in_the_database(house):
    """Who: an administrator of the database who also has the archive.
    Tries: lets one image's row name the object, the key or the digest of another.
    Caught by: keys and cipher texts are bound to artifact, event and field; the content counts only
    if it has the digest.
    Not caught: nothing known."""
    gallery = gallery_in(house)
    one, other = gallery.stored(IMAGE), gallery.stored(picture(300, 200, seed=22))
    columns = ("wrapped_key", "facts", "object", "wrapped_key, facts, object, preview")

    for names in columns:
        with house.owner() as owner:
            table = f"{house.schema}.artifact"
            owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER goes_on")
            before = _row(owner, table, names, one)
            _set(owner, table, names, one, _row(owner, table, names, other))
            swapped = gallery.artifacts.rows.find(one.artifact_id)
            with pytest.raises(LedgerError) as told:
                b"".join(gallery.artifacts.content(swapped))
            _set(owner, table, names, one, before)
            owner.execute(f"ALTER TABLE {table} ENABLE TRIGGER goes_on")

        assert told.value.problem in {"content-damaged", "sealed-value-damaged", "object-damaged"}
    assert b"".join(gallery.artifacts.content(one)) == IMAGE


def test_removes_a_file_from_an_archive_in_a_directory(house):
    """Who: whoever may write to the disk under an archive that is a directory.
    Tries: deletes the file, or moves the date in its lock.
    Caught by: an audit, which names the artifact, after the deed.
    Not caught: the deletion itself: a directory keeps nobody from it but this program; take a
    bucket with Object Lock, or a file system that locks."""
    gallery = gallery_in(house)
    one = gallery.stored(IMAGE)
    path = house.directory / "archive" / "sha256" / one.object[:2] / one.object
    path.with_suffix(".lock").write_bytes(b'{"held":false,"until":"2001-01-01T00:00:00Z","v":1}')

    DirectoryArchive(house.directory / "archive").delete(one.object)
    _, found = audit(gallery.artifacts.rows, gallery.archive, read=False)

    assert [finding.problem for finding in found] == ["object-missing"]


def _row(owner, table, names, one):
    query = f"SELECT {names} FROM {table} WHERE artifact_id = %s"
    return owner.execute(query, (one.artifact_id,)).fetchone()


def _set(owner, table, names, one, values):
    changes = ", ".join(f"{name} = %s" for name in names.split(", "))
    owner.execute(
        f"UPDATE {table} SET {changes} WHERE artifact_id = %s", (*values, one.artifact_id)
    )


def _md5(data):
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
