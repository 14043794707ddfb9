# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive in a directory: the contract, and what a file system adds to it."""

from datetime import timedelta

import pytest
from archive_contract import FAR_S, LIMIT, ArchiveContract, named, put
from house import Hand

from ledger import clock
from ledger.archive.directory import DirectoryArchive
from ledger.archive.store import ArchiveUnfit, ArchiveUnreachable, ObjectDamaged


@pytest.fixture
def hand():
    return Hand(clock.now_ms())


@pytest.fixture
def archive(tmp_path, hand):
    return DirectoryArchive(tmp_path / "archive", object_max=LIMIT, now_ms=hand)


@pytest.fixture
def far(hand):
    return clock.from_ms(hand.ms) + timedelta(seconds=FAR_S)


@pytest.fixture
def later(hand):
    def made(seconds):
        until = clock.from_ms(hand.ms) + timedelta(seconds=seconds)
        return until, lambda: False, lambda: hand.move(seconds=seconds + 1)

    return made


class TestDirectoryArchive(ArchiveContract):
    pass


def object_path(tmp_path, data):
    return tmp_path / "archive" / "sha256" / named(data)[:2] / named(data)


def test_a_directory_that_others_can_reach_is_unfit(tmp_path, archive):
    """Whoever can write there can delete; a looser mode is refused before anything is archived."""
    archive.check()
    (tmp_path / "archive").chmod(0o755)

    with pytest.raises(ArchiveUnfit):
        archive.check()


def test_a_directory_that_cannot_be_made_is_unreachable_and_may_come_back(tmp_path, far):
    """A disk that is not mounted keeps no server from starting."""
    (tmp_path / "disk").write_bytes(b"in the way")
    archive = DirectoryArchive(tmp_path / "disk" / "archive")
    for call in (archive.check, lambda: put(archive, b"x", far)):
        with pytest.raises(ArchiveUnreachable):
            call()
    assert list(archive.names()) == []

    (tmp_path / "disk").unlink()

    assert put(archive, b"x", far).until >= far


def test_check_removes_what_a_crash_left_and_nothing_that_is_being_written(tmp_path, archive, far):
    """A writer holds a lock on the file that it writes; a dead one holds none."""
    archive.check()
    left = tmp_path / "archive" / "incoming" / "0123"
    left.write_bytes(b"half of an object")
    during = []

    def chunks():
        yield b"one"
        archive.check()
        during.extend(left.parent.iterdir())
        yield b"two"

    archive.put(named(b"onetwo"), chunks(), until=far)

    assert [path == left for path in during] == [False]
    assert list(left.parent.iterdir()) == []


def test_a_lock_that_is_gone_or_changed_to_nonsense_is_damage(tmp_path, archive, far):
    """An object without its lock is never deleted as if it had been free."""
    data = b"an object"
    put(archive, data, far)
    lock = object_path(tmp_path, data).with_suffix(".lock")

    for content in (b"", b"{}", b'{"held":false,"until":"2001-01-01","v":1}', None):
        lock.unlink()
        if content is not None:
            lock.write_bytes(content)
        with pytest.raises(ObjectDamaged):
            archive.delete(named(data))
        if content is None:
            break

    assert object_path(tmp_path, data).exists()


def test_a_symbolic_link_is_not_an_object(tmp_path, archive, far):
    """Whoever puts one there does not make the archive read another file."""
    data = b"an object"
    put(archive, data, far)
    path = object_path(tmp_path, data)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ArchiveUnreachable):
        list(archive.get(named(data)))


def test_a_lock_survives_a_crash_between_lock_and_object(tmp_path, archive, far):
    """The lock is written first; a lock without an object is no object."""
    data = b"an object"
    path = object_path(tmp_path, data)
    path.parent.mkdir(parents=True)
    path.with_suffix(".lock").write_bytes(b"cut off by a cra")

    assert archive.stat(named(data)) is None
    assert put(archive, data, far).until >= far
    assert path.stat().st_mode & 0o777 == 0o400
