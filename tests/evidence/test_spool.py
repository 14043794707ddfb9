# SPDX-License-Identifier: GPL-3.0-or-later
"""Finished packets wait to be fetched: whole, private, of one Book, and not for ever."""

import os
import stat

import pytest

from evidence.spool import Spool
from ledger import clock
from ledger.errors import NotFound, Unavailable

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

ID = "0123456789abcdef0123456789abcdef"
OTHER = ID[::-1]


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "new" / "packets"


@pytest.fixture
def spool(directory):
    return Spool(directory, ttl_s=3_600)


def age(path, seconds):
    then = clock.now_ms() / 1000 - seconds
    os.utime(path, (then, then))


def test_a_packet_comes_back_as_it_was_put(spool):
    """Byte for byte, as often as it is fetched."""
    spool.put(ID, "acme", b"first")
    spool.put(OTHER, "acme", b"second")

    assert [spool.get(ID, "acme"), spool.get(OTHER, "acme"), spool.get(ID, "acme")] == [
        b"first",
        b"second",
        b"first",
    ]


def test_a_packet_belongs_to_the_book_it_was_built_from(spool):
    """Whoever may read another Book gets nothing by its id."""
    spool.put(ID, "acme", b"mine")

    for book in ("acme-access", "other", "acm"):
        with pytest.raises(NotFound):
            spool.get(ID, book)


def test_only_the_ledger_itself_can_read_what_lies_there(spool, directory):
    """A packet may hold disclosures: directory 0700, file 0600, whatever the umask."""
    before = os.umask(0)
    try:
        spool.put(ID, "acme", b"mine")
    finally:
        os.umask(before)

    (file,) = directory.iterdir()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_packet_is_gone_when_its_time_is_over(spool, directory):
    """Asked for too late it is refused and removed."""
    spool.put(ID, "acme", b"old")
    (file,) = directory.iterdir()
    age(file, 3_601)

    with pytest.raises(NotFound, match="expired"):
        spool.get(ID, "acme")
    assert list(directory.iterdir()) == []


def test_what_nobody_fetched_goes_with_the_next_packet(spool, directory):
    """So do files that a crash left half-written; younger ones stay."""
    spool.put(ID, "acme", b"old")
    age(directory / f"acme.{ID}.zip", 3_601)
    for name, seconds in (("left", 3_601), ("writing", 10)):
        partial = directory / f".acme.{name}.zip.tmp"
        partial.write_bytes(b"half")
        age(partial, seconds)

    spool.put(OTHER, "acme", b"new")

    assert {path.name for path in directory.iterdir()} == {
        ".acme.writing.zip.tmp",
        f"acme.{OTHER}.zip",
    }
    assert spool.expire() == 0


def test_a_half_written_packet_is_never_handed_out(spool, directory):
    """A process that died while writing leaves nothing under the packet's name."""
    directory.mkdir(parents=True)
    (directory / f".acme.{ID}.zip.tmp").write_bytes(b"half")

    with pytest.raises(NotFound):
        spool.get(ID, "acme")

    spool.put(ID, "acme", b"whole")
    assert spool.get(ID, "acme") == b"whole"


@pytest.mark.parametrize(
    ("packet_id", "book"),
    [("../" + ID, "acme"), (ID.upper(), "acme"), (ID, "../acme"), (ID, "acme/x"), ("", "acme")],
)
def test_no_name_leads_out_of_the_directory(spool, directory, packet_id, book):
    """Ids and Books have one form; anything else is nowhere, and nothing is written for it."""
    with pytest.raises(NotFound):
        spool.get(packet_id, book)
    with pytest.raises(NotFound):
        spool.put(packet_id, book, b"")
    assert not directory.exists()


def test_a_directory_that_cannot_be_written_is_said_to_be(tmp_path):
    """The caller is told to try again later, not given an id that leads nowhere."""
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(Unavailable):
        Spool(tmp_path / "file" / "packets", ttl_s=60).put(ID, "acme", b"")
