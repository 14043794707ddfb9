# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive in a bucket: the contract on Ceph, which enforces Object Lock as Amazon does."""

import time
from datetime import timedelta

import pytest
from archive_contract import FAR_S, LIMIT, ArchiveContract, named, put

from ledger import clock
from ledger.archive.s3 import BucketArchive
from ledger.archive.store import ArchiveUnfit, ArchiveUnreachable
from ledger.aws import Client, Credentials

pytestmark = [pytest.mark.slow, pytest.mark.once]


@pytest.fixture
def archive(bucket):
    return BucketArchive(bucket.client, bucket.name, prefix="acme/", object_max=LIMIT)


@pytest.fixture
def far():
    return clock.now() + timedelta(seconds=FAR_S)


@pytest.fixture
def later():
    def made(seconds):
        until = clock.now() + timedelta(seconds=seconds)
        return until, lambda: clock.now() >= until, lambda: time.sleep(seconds + 1.1)

    return made


class TestBucketArchive(ArchiveContract):
    pass


def test_a_bucket_made_for_it_is_fit(archive, far):
    """It has Object Lock and a default retention, and keeps what it says."""
    archive.check()
    archive.prove()
    archive.prove()

    put(archive, b"and then it is used", far)


@pytest.mark.parametrize("made", ["without Object Lock", "without default", "governance"])
def test_a_bucket_that_does_not_lock_by_default_is_refused(ceph, far, made):
    """A write whose lock is forgotten on the way would lie there unlocked."""
    bucket = ceph.bucket(lock=made != "without Object Lock", default=None)
    if made == "governance":
        bucket.set_default("GOVERNANCE", 1)

    archive = BucketArchive(bucket.client, bucket.name)
    with pytest.raises(ArchiveUnfit):
        archive.check()
    with pytest.raises(ArchiveUnfit):
        put(archive, b"although nobody asked first", far)


def test_a_bucket_that_is_not_there_is_unfit(ceph):
    """Nor does it count as empty."""
    client = ceph.client()

    with pytest.raises(ArchiveUnfit):
        BucketArchive(client, "never-made").check()
    with pytest.raises(ArchiveUnreachable):
        BucketArchive(client, "never-made").stat(named(b""))


def test_a_store_that_is_away_is_unreachable(far):
    """Whoever waits for it is told to send the same again; no host or key is in the message."""
    client = Client(
        "s3",
        endpoint="http://127.0.0.1:9",
        credentials=Credentials(access_key="AKNOBODY", secret="s3cret"),
    )

    with pytest.raises(ArchiveUnreachable) as caught:
        put(BucketArchive(client, "somewhere"), b"x", far)

    assert "127.0.0.1" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_an_object_of_many_pieces_is_locked_like_a_small_one(archive, far):
    """It is one request: uploads in parts have been seen to lose their lock."""
    data = bytes(range(256)) * 20_000

    stored = put_large(archive, data, far)

    assert stored.size == len(data)
    assert b"".join(archive.get(stored.name)) == data


def put_large(archive, data, until):
    chunks = [data[i : i + 2**20] for i in range(0, len(data), 2**20)]
    return archive.put(named(data), chunks, until=until)
