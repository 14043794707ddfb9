# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the fault matrix: the keystore, which is written when an epoch ends."""

import pytest
from answers import kept, refused
from failing_disk import failing, full
from house import attempt, house_in
from served_house import serving

from anchoring.fsck import Fsck
from ledger import durable
from ledger.keys import chain_key

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

DEPENDENCY = "Keystore"


@pytest.fixture
def short(pattern, tmp_path):
    """The API of one tenant whose next entry ends an epoch."""
    with house_in(pattern, tmp_path, epoch_entries=4) as house, serving(house) as made:
        for _ in range(3):
            assert made.post(attempt()).status_code == 201
        yield made


@pytest.fixture
def keys(short):
    return short.house.directory / "keystore"


def is_sound(service, request, size):
    """The request is recorded once, and the chain goes on under the next key."""
    assert kept(service, request)["position"] >= size
    for _ in range(5):
        kept(service, attempt())
    house = service.house
    assert Fsck(house.book, first_key=house.first_key()).run().damage == []
    assert house.second_process().book(house.tenant).reader.head().epoch >= 1


def test_a_next_key_that_was_not_written(short, keys):
    """The disk refuses the key of the epoch that is about to begin.

    Kind: failed, not persisted
    Write: next chain key
    Ingest: refused with 503 until the keystore takes it
    Lost: nothing; the epoch ends later
    Operator: 503 `keystore-unreachable`
    """
    request, size = attempt(), short.size
    with failing("fsync", keys):
        problems = {refused(short, request) for _ in range(2)}

    assert problems == {"keystore-unreachable"}
    assert short.size == size
    is_sound(short, request, size)


def test_a_next_key_that_was_written_and_nobody_knows(short, keys):
    """The next epoch's key is in its place, but the disk does not confirm its name.

    Kind: reported as failed, persisted
    Write: next chain key
    Ingest: this request is refused with 503; sent again it is recorded
    Lost: nothing; the key that is found is the same one
    Operator: 503 `keystore-unreachable`
    """
    request, size = attempt(), short.size
    with failing("fsync of the directory", keys, times=1) as disk:
        problem = refused(short, request)

    assert (problem, disk.count) == ("keystore-unreachable", 1)
    is_sound(short, request, size)


def test_an_old_key_that_was_not_destroyed(short, keys):
    """The epoch has ended, and the disk refuses the mark that its key is destroyed.

    Kind: failed, not persisted
    Write: destruction of the old chain key
    Ingest: goes on; no receipt waits for a destruction
    Lost: nothing; forward security comes later, with the next batch that finds the disk sound
    Operator: a warning in the log
    """
    destroyed_later(short, keys, "fsync")


def test_an_old_key_whose_destruction_nobody_confirmed(short, keys):
    """The mark that the old key is destroyed is in its place; the disk does not confirm its name.

    Kind: reported as failed, persisted
    Write: destruction of the old chain key
    Ingest: goes on; no receipt waits for a destruction
    Lost: nothing; the key itself is overwritten with the next batch
    Operator: a warning in the log
    """
    destroyed_later(short, keys, "fsync of the directory")


def destroyed_later(service, keys, call):
    request = attempt()
    with failing(call, keys, skip=1, times=1) as disk:  # The next key is written before.
        answer = service.post(request)
    old = chain_key(service.house.origin, 0)
    there = list(keys.glob(f"{durable.safe_name(old)}.key"))

    assert (answer.status_code, disk.count, len(there)) == (201, 1, 1)
    is_sound(service, request, answer.json()["position"])
    assert not service.house.second_process().keys.has(old)
    assert list(keys.glob(f"{durable.safe_name(old)}.key")) == []


def test_a_full_disk(short, keys):
    """There is no room for another key when the epoch must end.

    Kind: full disk
    Ingest: refused with 503 until there is room
    Lost: nothing
    Operator: 503 `keystore-unreachable`
    """
    request, size = attempt(), short.size
    with full(keys):
        problem = refused(short, request)

    assert problem == "keystore-unreachable"
    is_sound(short, request, size)
