# SPDX-License-Identifier: GPL-3.0-or-later
"""What every archive must do, whichever storage is behind it: one suite, run against each driver.

A subclass gives the fixtures `archive`, `far`, a date after all tests, and `later`: a function that
takes seconds and returns a date that is so far away, whether it has passed, and how to wait for it.
"""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from ledger.archive.store import (
    ArchiveLocked,
    ArchiveNameRefused,
    ObjectMissing,
    ObjectTooLarge,
)
from ledger.errors import Refused

#: Long after the tests: a lock that is on for as long as they run.
FAR_S = 86_400

#: What the fixture's archive takes; its default is a gigabyte, which takes long to refuse.
LIMIT = 8 * 2**20


def named(data):
    return sha256(data).hexdigest()


def put(archive, data, until):
    return archive.put(named(data), [data[i : i + 7] for i in range(0, len(data), 7)], until=until)


def lock_for_a_while(archive, data, later):
    """Lock an object for seconds and see that it is: for longer if this machine stood still.

    Returns it, its bytes, and a function that waits until the lock has run out.
    """
    for seconds in (2, 10, 60):
        until, passed, wait = later(seconds)
        tried = data + b" %d" % seconds
        try:
            stored = put(archive, tried, until)
            archive.delete(stored.name)
        except ArchiveLocked:
            return stored, tried, wait
        except Refused:
            pass
        assert passed(), "an object went before its date"
    raise AssertionError("this machine is too slow to lock anything for a minute")


class ArchiveContract:
    def test_an_object_is_read_back_as_it_was_written(self, archive, far):
        """Bytes, size, date and hold are what was asked; the pieces need not be."""
        data = b"sealed bytes, as far as the archive knows"

        stored = put(archive, data, far)

        assert b"".join(archive.get(stored.name)) == data
        assert (stored.size, stored.held) == (len(data), False)
        assert stored.until is not None
        assert stored.until >= far
        assert archive.stat(stored.name) == stored
        assert stored.name in set(archive.names())

    def test_an_empty_object_is_an_object(self, archive, far):
        """Nothing has a digest, too."""
        stored = put(archive, b"", far)

        assert list(archive.get(stored.name)) == []
        assert archive.stat(stored.name).size == 0

    def test_bytes_under_another_name_are_refused(self, archive, far):
        """And nothing is left under that name."""
        with pytest.raises(ArchiveNameRefused):
            archive.put(named(b"these"), [b"those"], until=far)

        assert archive.stat(named(b"these")) is None

    @pytest.mark.parametrize("name", ["", "ab", "AB" * 32, "ab" * 32 + "\n", "../" + "ab" * 31])
    def test_a_name_is_a_digest_and_nothing_else(self, archive, far, name):
        """A name becomes a path or a key, so nothing else is ever one."""
        for call in (archive.get, archive.stat, archive.delete):
            with pytest.raises(ArchiveNameRefused):
                call(name)
        with pytest.raises(ArchiveNameRefused):
            archive.put(name, [b""], until=far)

    def test_what_is_not_there_is_missing(self, archive, far):
        """Each question about it says so, and deleting it again does no harm."""
        name = named(b"never written")

        assert archive.stat(name) is None
        archive.delete(name)
        for call in (
            lambda: list(archive.get(name)),
            lambda: archive.extend(name, far),
            lambda: archive.hold(name, True),
        ):
            with pytest.raises(ObjectMissing):
                call()

    def test_a_locked_object_cannot_be_deleted_until_its_date(self, archive, later):
        """Not a second before; afterwards it goes for good."""
        stored, _, wait = lock_for_a_while(archive, b"for a while", later)

        wait()
        archive.delete(stored.name)

        assert archive.stat(stored.name) is None
        assert stored.name not in set(archive.names())

    def test_a_lock_is_made_longer_and_never_shorter(self, archive, later, far):
        """By extending it, or by writing the object again; a shorter date changes nothing."""
        extended, _, _ = lock_for_a_while(archive, b"for a while, then for longer", later)
        _, data, wait = lock_for_a_while(archive, b"written twice", later)

        longer = archive.extend(extended.name, far)
        again = put(archive, data, far)

        assert longer.until >= far
        assert again.until >= far
        assert archive.extend(extended.name, far - timedelta(seconds=60)) == longer
        assert put(archive, data, far - timedelta(seconds=60)) == again
        wait()
        for stored in (longer, again):
            with pytest.raises(ArchiveLocked):
                archive.delete(stored.name)
        assert b"".join(archive.get(again.name)) == data

    def test_a_held_object_stays_after_its_date(self, archive, later):
        """A hold has no date; taking it off gives the object back to its lock."""
        stored, _, wait = lock_for_a_while(archive, b"wanted by a court", later)
        archive.hold(stored.name, True)
        archive.hold(stored.name, True)
        wait()

        assert archive.stat(stored.name).held
        with pytest.raises(ArchiveLocked):
            archive.delete(stored.name)
        archive.hold(stored.name, False)
        archive.hold(stored.name, False)
        archive.delete(stored.name)

        assert archive.stat(stored.name) is None

    def test_a_lock_needs_a_date_in_the_future_with_a_time_zone(self, archive):
        """A lock that has run out before it began is a mistake of the caller's."""
        for until in (datetime(2001, 1, 1, tzinfo=UTC), datetime(2100, 1, 1)):  # noqa: DTZ001
            with pytest.raises(Refused):
                put(archive, b"never locked", until)

    def test_an_object_over_the_limit_is_refused(self, archive, far):
        """It is told while it arrives, not after a disk is full."""
        piece = bytes(2**20)

        def endless():
            for _ in range(LIMIT // len(piece) + 1):
                yield piece
            raise AssertionError("nobody asked for more")

        with pytest.raises(ObjectTooLarge):
            archive.put(named(b"whatever"), endless(), until=far)
